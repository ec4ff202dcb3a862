"""Times the paper's six fusion metrics beside NumPy, SciPy and scikit-image: 50 pairs of 480x640.

  python tools/benchmark_metrics.py [--pairs=N] [--turns=N] [--all] [--json=FILE]

The other side are the oracles of the tests (`tests/oracles/numpy_metrics.py`), one image after
another, as scripts in the field do it. The sides take turns. Needs `pip install -e ".[test]"`.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "oracles"))
from numpy_metrics import ORACLES  # pyright: ignore[reportMissingImports]

from tdfusion_jax.data import get_source
from tdfusion_jax.data.transforms import luminance
from tdfusion_jax.metrics.fusion import METRICS, PAPER, fusion_metrics

SIZE = (480, 640)


def scenes(pairs: int) -> list[np.ndarray]:
  """ir, vi, fused [pairs, 480, 640] uint8 of the synthetic world; fused is the mean."""
  world = get_source("synthetic_det", size=SIZE, count=pairs)
  samples = [world[i] for i in range(pairs)]
  ir, vi = (
    np.stack([np.round(luminance(getattr(s, side)) * 255) for s in samples])
    for side in ("ir", "vi")
  )
  return [x.astype(np.uint8) for x in (ir, vi, np.round((ir + vi) / 2))]


def seconds(function: Callable) -> float:
  """What one call takes."""
  began = time.perf_counter()
  function()
  return time.perf_counter() - began


def main() -> None:
  """Runs from the command line."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument(
    "--pairs", type=int, default=50, metavar="N", help="images to measure (default 50)"
  )
  parser.add_argument("--turns", type=int, default=3, metavar="N", help="of each side (default 3)")
  parser.add_argument("--all", action="store_true", help="all metrics, not only the paper's six")
  parser.add_argument("--json", metavar="FILE", help="write the row")
  options = parser.parse_args()
  names = list(METRICS) if options.all else list(PAPER)
  images = scenes(options.pairs)
  doubles = [image.astype(np.float64) for image in images]

  def ours():
    fusion_metrics(*images, metrics=names)

  def theirs():
    for pair in zip(*doubles, strict=True):
      for name in names:
        ORACLES[name](*pair)

  start = seconds(ours)
  times: dict[str, list[float]] = {"ours": [], "theirs": []}
  for _ in range(options.turns):
    times["ours"].append(seconds(ours))
    times["theirs"].append(seconds(theirs))
  a, b = (statistics.median(times[side]) for side in ("ours", "theirs"))
  work = f"{len(names)} metrics, {options.pairs} images {SIZE[0]}x{SIZE[1]}"
  row = {"work": work, "ours_s": a, "numpy_s": b, "ratio": b / a, "start_s": start - a}
  print(
    "| work | ours s | NumPy, SciPy, scikit-image s | ratio | compiling s |\n|---|---|---|---|---|"
  )
  print(f"| {work} | {a:.2f} | {b:.2f} | {b / a:.1f} | {start - a:.1f} |")
  if options.json:
    Path(options.json).write_text(json.dumps([row], indent=1))


if __name__ == "__main__":
  main()
