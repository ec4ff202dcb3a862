"""Measures this package beside PyTorch, ONNX Runtime and OpenVINO on this machine, in one run.

  python tools/benchmark.py [--quick] [--json=FILE] [--update] [--only=WORD] [--cpu-time]
  python tools/benchmark.py --gpu [--quick] [--json=FILE] [--update] [--only=WORD]

Every side of every piece of work runs in a process of its own, which reports its peak memory; the
sides take turns, and medians of the turns are compared. PyTorch's side is the independent
counterpart in `tests/oracles`; columns of packages that are not installed stay empty. `--update`
replaces the table in docs/project/benchmarks.md.

With `--gpu` the rows are others, see `benchmark_gpu.py`: F, the fast F and the learning steps on a
GPU, in float32 and bfloat16, beside PyTorch on the same card. Without it the CPU is measured.
"""

import argparse
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import benchmark_gpu
import numpy as np
from benchmark_side import WORKER, Side

ROOT = Path(__file__).resolve().parent.parent
MARKERS = "<!-- {}: begin -->", "<!-- {}: end -->"

# name, worker's work, size, sides beside ours, turns
WORK = [
  ("F forward 256x256", "forward", ("256", "256", "1"), ("eager", "compile", "ort", "openvino"), 7),
  ("F forward 480x640", "forward", ("480", "640", "1"), ("eager", "compile", "ort", "openvino"), 5),
  ("F forward 480x640 in bfloat16", "forward_half", ("480", "640", "1"), ("openvino",), 15),
  ("fast F forward 480x640", "forward_fast", ("480", "640", "1"), (), 15),
  ("fast F gradient 480x640", "gradient_fast", ("480", "640", "1"), (), 15),
  ("F forward 1024x1280", "forward", ("1024", "1280", "1"), ("eager", "ort"), 3),
  ("F forward 2048x2048", "forward", ("2048", "2048", "1"), (), 3),
  ("F step 256x256, batch 2", "f_step", ("256", "256", "2"), ("eager", "compile"), 5),
  ("meta-gradient 256x256, batch 2, small T", "meta_small", ("256", "256", "2"), ("eager",), 3),
  ("meta-gradient 256x256, batch 2, SegFormer-B0", "meta_segformer_b0", ("256", "256", "2"), (), 3),
  ("meta-gradient 256x256, batch 2, YOLOv8n", "meta_yolov8n", ("256", "256", "2"), (), 3),
  ("G-step of llvip_det", "g_step", ("llvip_det",), ("eager",), 3),
  ("F/T-step of llvip_det", "ft_step", ("llvip_det",), (), 3),
  ("G-step of msrs_seg", "g_step", ("msrs_seg",), ("eager",), 3),
  ("F/T-step of msrs_seg", "ft_step", ("msrs_seg",), (), 3),
]
PIPELINE = "input pipeline"  # rows of tools/benchmark_pipeline.py, a second a pair
QUICK = ("F forward 256x256", "F forward 480x640", "F step 256x256, batch 2")
FLOPS_PER_PIXEL = 2 * 59_856  # F applies nearly each of its parameters once per pixel
FAST_FLOPS = 8715  # of the fast network, a pixel
# Channels that the strips of F must read and write, inputs and outputs of each pass.
FLOATS_PER_PIXEL = 900
NEEDS = {
  "eager": ("torch",),
  "compile": ("torch",),
  "ort": ("torch", "onnx", "onnxscript", "onnxruntime"),
  "openvino": ("openvino", "onnx"),
}


def measure(
  name: str,
  work: str,
  size: tuple[str, ...],
  sides: tuple[str, ...],
  turns: int,
  seconds: str = "s",
) -> dict[str, Any]:
  """One row: medians of interleaved turns, peak memory of each side.

  Args:
    name: of the row.
    work: what the worker calls it.
    size: the worker's further arguments.
    sides: beside ours, where their packages are installed.
    turns: of each side that count.
    seconds: which of the worker's answers: "s" by the clock, "cpu_s" of the processor.
  """
  usable = [s for s in sides if all(importlib.util.find_spec(m) for m in NEEDS[s])]
  running = {s: Side(s, work, size, seconds) for s in ("ours", *usable)}
  for turn in range(turns + 1):  # the first turn warms up
    for side in running.values():
      if not side.failed:
        side.turn(counts=turn > 0)
  row: dict[str, Any] = {"work": name, "size": "x".join(size), "backend": running["ours"].backend}
  for s, side in running.items():
    broken = side.end()
    if broken:
      print(f"  {name}, {s}: {broken}", file=sys.stderr)
    if side.seconds:
      row[f"{s}_s"] = statistics.median(side.seconds)
      row[f"{s}_mb"], row[f"{s}_process_mb"] = side.mb, side.process_mb
      row[f"{s}_spread"] = (max(side.seconds) - min(side.seconds)) / row[f"{s}_s"]
      row[f"{s}_compile_s"] = side.compile_s
  for column in (*(f"{s}_s" for s in ("ours", *NEEDS)), "ours_mb", "eager_mb"):
    row.setdefault(column, None)
  if work.startswith("forward") and row["ours_s"]:
    row["images_per_s"] = int(size[2]) / row["ours_s"]
    pixels = int(size[0]) * int(size[1]) * int(size[2])
    fast = work == "forward_fast"
    row["gflops"] = (FAST_FLOPS if fast else FLOPS_PER_PIXEL) * pixels / row["ours_s"] / 1e9
    row["gbytes"] = None if fast else 4 * FLOATS_PER_PIXEL * pixels / row["ours_s"] / 1e9
  return row


def pipeline() -> list[dict[str, Any]]:
  """Rows of the input pipeline: pairs decoded, cropped and resized.

  `tools/benchmark_pipeline.py` has more options.
  """
  tool = str(WORKER.with_name("benchmark_pipeline.py"))
  with tempfile.TemporaryDirectory() as folder:
    file = Path(folder) / "rows.json"
    command = [sys.executable, tool, "--pairs=16", "--seconds=3", f"--json={file}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    measured = json.loads(file.read_text())["rows"]
  rows = []
  for row in measured:
    name = row["work"].removeprefix("pipeline ")
    new: dict[str, Any] = dict.fromkeys((*(f"{s}_s" for s in NEEDS), "ours_mb", "eager_mb"))
    new["work"] = f"{PIPELINE}, {name}, {row['source']}, {row['workers']} workers"
    new["ours_s"], new["images_per_s"] = 1 / row["pairs_per_s"], row["pairs_per_s"]
    new["backend"] = "cpu"
    rows.append(new)
  return rows


def machine() -> dict[str, Any]:
  """What this machine can do at best: matrix products and copies."""
  a = np.random.default_rng(0).random((2048, 2048), np.float32)
  big = np.ones(1 << 26, np.float32)
  target = np.empty_like(big)

  def best(run) -> float:
    times = []
    for _ in range(5):
      began = time.perf_counter()
      run()
      times.append(time.perf_counter() - began)
    return min(times)

  return {
    "cpu": platform.processor() or platform.machine(),
    "cores": os.cpu_count(),
    "gflops": 2 * 2048**3 / best(lambda: a @ a) / 1e9,
    "copy_gbytes": 2 * big.nbytes / best(lambda: np.copyto(target, big)) / 1e9,
  }


def table(rows: list[dict[str, Any]], about: dict[str, Any]) -> str:
  """Markdown."""
  installed = [
    m for m in ("jax", "torch", "onnxruntime", "openvino") if importlib.util.find_spec(m)
  ]
  versions = ", ".join(f"{module} {_version(module)}" for module in installed)
  lines = [
    f"{about['cores']} CPU cores ({about['cpu']}), float32{about['seconds']}; {versions}. "
    f"At best this machine multiplies matrices at {about['gflops']:.0f} GFLOP/s and copies "
    f"{about['copy_gbytes']:.0f} GB/s.",
    "",
    "| work | ours | eager | compile | ONNX Runtime | OpenVINO | eager/ours | ours MiB | eager MiB "
    "| start s | images/s | GFLOP/s | GB/s |",
    "|" + 13 * "---|",
  ]

  def number(x, form):
    return "" if x is None else format(x, form)

  for row in rows:
    ratio = row["eager_s"] / row["ours_s"] if row["eager_s"] and row["ours_s"] else None
    cells = [
      row["work"],
      *(number(row[f"{s}_s"], ".3f") for s in ("ours", *NEEDS)),
      number(ratio, ".1f"),
      number(row["ours_mb"], ".0f"),
      number(row["eager_mb"], ".0f"),
      number(row.get("ours_compile_s"), ".0f"),
      number(row.get("images_per_s"), ".1f"),
      number(row.get("gflops"), ".0f"),
      number(row.get("gbytes"), ".1f"),
    ]
    lines.append("| " + " | ".join(cells) + " |")
  return "\n".join(lines)


def _version(module: str) -> str:
  from importlib.metadata import version

  return version(module)


def update(text: str, name: str) -> None:
  """Replaces what stands between the markers of `name` in docs/project/benchmarks.md."""
  path = ROOT / "docs" / "project" / "benchmarks.md"
  begin, end = (marker.format(name) for marker in MARKERS)
  head, rest = path.read_text().split(begin)
  _, tail = rest.split(end)
  path.write_text(f"{head}{begin}\n{text}\n{end}{tail}")


def on_gpu(options: argparse.Namespace) -> None:
  """Measures the rows of `benchmark_gpu`, and prints them."""
  chosen = [row for row in benchmark_gpu.ROWS if options.only in row.name]
  if options.quick:
    chosen = [row for row in chosen if row.size[2] in (1, 16) and row.network == "f"]

  def keep(measured: benchmark_gpu.Measured) -> None:
    if options.json:
      Path(options.json).write_text(json.dumps(measured._asdict(), indent=1))

  text = benchmark_gpu.report(benchmark_gpu.measure(chosen, tell=keep))
  print(text)
  if options.update:
    update(text, "gpu")


def on_cpu(options: argparse.Namespace) -> None:
  """Measures the rows of `WORK` and the input pipeline, and prints them."""
  os.environ.setdefault("JAX_PLATFORMS", "cpu")  # where the others compute
  if options.cpu_time:  # PyTorch's threads shall not count the time that they wait for each other
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
  seconds = "cpu_s" if options.cpu_time else "s"
  chosen = [w for w in WORK if options.only in w[0] and (not options.quick or w[0] in QUICK)]
  about, rows = machine(), []
  about["seconds"] = ", in seconds of the processor" if options.cpu_time else ""

  def keep() -> None:
    if options.json:
      Path(options.json).write_text(json.dumps(rows, indent=1))

  for name, work, size, sides, turns in chosen:
    if options.quick:  # torch.compile takes half a minute to start
      sides = tuple(side for side in sides if side != "compile")
    print(f"{name} ...", file=sys.stderr, flush=True)
    rows.append(measure(name, work, size, sides, turns, seconds))
    keep()
  if not options.quick and (options.only in PIPELINE or PIPELINE in options.only):
    rows += pipeline()
    keep()
  print(table(rows, about))
  if options.update:
    update(table(rows, about), "benchmark")


def main() -> None:
  """Runs from the command line."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--gpu", action="store_true", help="measure this machine's GPU")
  parser.add_argument("--quick", action="store_true", help="few rows, in minutes")
  parser.add_argument("--only", default="", metavar="WORD", help="rows whose name contains this")
  parser.add_argument("--json", metavar="FILE", help="write the rows")
  parser.add_argument(
    "--update", action="store_true", help="replace the table in docs/project/benchmarks.md"
  )
  parser.add_argument(
    "--cpu-time",
    action="store_true",
    help="seconds of the processor instead of the clock's, for a machine with other work to do",
  )
  options = parser.parse_args()
  if not options.gpu:
    on_cpu(options)
    return
  if options.cpu_time:
    parser.error("--cpu-time: a GPU's time is the clock's; leave it out with --gpu.")
  found = benchmark_gpu.platform()
  if found != "gpu":
    parser.error(
      f"--gpu: JAX finds no GPU here (its devices are: {found}). On a machine with an NVIDIA GPU "
      'install pip install -e ".[cuda12]"; without --gpu this machine\'s CPU is measured.'
    )
  on_gpu(options)


if __name__ == "__main__":
  main()
