"""`tdfusion fuse`: two folders of images into one."""

import argparse
import sys
import time
from collections.abc import Iterable

from rich import progress as bars
from rich.console import Console
from rich.text import Text

from tdfusion_jax import build
from tdfusion_jax.folders import fuse_folder
from tdfusion_jax.fusing import make_pair_fuser

ABOUT = "Fuses infrared and visible images of equal names, gray or colour, of any size."
EXAMPLE = "tdfusion fuse --ir photos/ir --vi photos/vi --out fused --checkpoint runs/first"
INTERRUPTED = "--skip-existing goes on from here"

_LINE_EVERY = 15.0  # seconds between plain progress lines


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """The options of `tdfusion fuse`."""
  parser.add_argument("--ir", required=True, metavar="DIR", help="infrared images")
  parser.add_argument("--vi", required=True, metavar="DIR", help="visible images of the same names and sizes")
  parser.add_argument("--out", required=True, metavar="DIR", help="where the PNG files go")
  which = parser.add_mutually_exclusive_group(required=not build.shipped_weights().is_file())
  which.add_argument("--checkpoint", metavar="RUN", help="run folder of a training")
  which.add_argument("--weights", metavar="FILE", help=".safetensors file of F")
  parser.add_argument("--stretch", action="store_true", help="stretch each fused image to the full range")
  parser.add_argument("--skip-existing", action="store_true", help="leave outputs that are there already")


def run(options: argparse.Namespace) -> int:
  """Fuses; 1 if some pairs failed."""
  fuse_fn, params = build.load_fusion(checkpoint_dir=options.checkpoint, weights=options.weights)
  fuser = make_pair_fuser(fuse_fn, params, stretch=options.stretch)
  report = fuse_folder(fuser, options.ir, options.vi, options.out, skip_existing=options.skip_existing, track=_progress)
  skipped = f", {len(report.skipped)} were there" if report.skipped else ""
  print(f"{len(report.written)} written to {options.out}{skipped}, {len(report.failed)} failed")
  for line in report.failed:
    print(f"  {line}", file=sys.stderr)
  return 1 if report.failed else 0


class _Speed(bars.ProgressColumn):
  def render(self, task: bars.Task) -> Text:
    return Text(f"{task.speed or 0:.2f} images/s")


def _progress(pairs: Iterable, total: int) -> Iterable:
  console = Console(stderr=True)
  if not console.is_terminal:
    yield from _lines(pairs, total)
    return
  columns = (
    bars.TextColumn("fusing"), bars.BarColumn(), bars.MofNCompleteColumn(),
    _Speed(), bars.TimeRemainingColumn(),
  )  # fmt: skip
  with bars.Progress(*columns, console=console) as bar:
    task = bar.add_task("fusing", total=total)
    for pair in pairs:
      yield pair
      bar.advance(task)


def _lines(pairs: Iterable, total: int) -> Iterable:
  """Progress for a log file: a line now and then."""
  began = last = time.monotonic()
  for done, pair in enumerate(pairs, 1):
    yield pair
    now = time.monotonic()
    if now - last >= _LINE_EVERY:
      last = now
      print(f"fused {done}/{total}, {done / (now - began):.2f} images/s", file=sys.stderr)
