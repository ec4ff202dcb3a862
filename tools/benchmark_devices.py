"""Measures a step of a training on two devices beside the same step on one, on this machine's CPU.

  python tools/benchmark_devices.py [--config=llvip_det] [--work=ft_step] [--turns=7]

The devices are emulated and share the cores, so this is what sharing a batch costs or gains on one
machine. Each side runs in a process of its own, as in `tools/benchmark.py`; they take turns, and
the median of the ratios of neighbouring turns is what other programs disturb least.
"""

import argparse
import os
import statistics
import sys

from benchmark_side import Side

_EMULATED = "--xla_force_host_platform_device_count="


def measure(work: str, config: str, turns: int) -> tuple[list[float], list[float]]:
  """Seconds by the clock of each turn on one device and on two.

  Args:
    work: "g_step" or "ft_step".
    config: name of a file in `configs`, whose batch is a multiple of two.
    turns: of each side, after one that does not count.
  """
  sides = []
  for count in ("1", "2"):
    os.environ["XLA_FLAGS"] = _EMULATED + count
    sides.append(Side("ours", work, (config, count)))
  for turn in range(turns + 1):
    for side in sides:
      if not side.failed:
        side.turn(counts=turn > 0)
  for side in sides:
    broken = side.end()
    if broken:
      sys.exit(f"{work} of {config}: {broken}")
  return sides[0].seconds, sides[1].seconds


def main() -> None:
  """Runs from the command line."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--config", default="llvip_det", help="file in configs/ without .py")
  parser.add_argument("--work", default="ft_step", choices=("ft_step", "g_step"))
  parser.add_argument("--turns", type=int, default=7, help="of each side that count")
  options = parser.parse_args()
  one, two = measure(options.work, options.config, options.turns)
  ratios = [b / a for a, b in zip(one, two, strict=True)]
  print("| step | 1 device, s | 2 devices, s | 2/1, median | 2/1, least to most |")
  print("|---|---|---|---|---|")
  print(
    f"| {options.work} of {options.config} | {statistics.median(one):.2f} "
    f"| {statistics.median(two):.2f} | {statistics.median(ratios):.2f} "
    f"| {min(ratios):.2f} to {max(ratios):.2f} |"
  )


if __name__ == "__main__":
  main()
