"""The `tdfusion` command: `tdfusion train`, `tdfusion fuse`."""

import argparse
import subprocess
import sys
import time
from collections.abc import Iterable

from rich import progress as bars
from rich.console import Console
from rich.text import Text

from tdfusion_jax import build
from tdfusion_jax.checkpoint import CheckpointError
from tdfusion_jax.fuse import fuse_folder, make_fuse_fn
from tdfusion_jax.imageio import ImageError

_LINE_EVERY = 15.0  # seconds between plain progress lines
_FUSE_EXAMPLE = "example: tdfusion fuse --ir photos/ir --vi photos/vi --out fused --checkpoint runs/first"
_TRAIN_EXAMPLE = "example: tdfusion train --config=configs/synthetic_det.py:runlocal --workdir=runs/first"


def main(argv: list[str] | None = None) -> int:
  """Runs a verb. Returns 0, or 1 if some files failed, or 2 for an error, told in one line."""
  arguments = list(sys.argv[1:] if argv is None else argv)
  if arguments[:1] == ["train"] and not {"-h", "--help"} & set(arguments):
    return _train(arguments[1:])
  parser = argparse.ArgumentParser("tdfusion", description="Task-driven infrared and visible image fusion.")
  verbs = parser.add_subparsers(dest="verb", required=True)
  formatter = argparse.RawDescriptionHelpFormatter
  verbs.add_parser(
    "train", help="train F, G and T", epilog=_TRAIN_EXAMPLE, formatter_class=formatter,
    description="Trains as `python -m tdfusion_jax.main` does, with the same arguments.",
  )  # fmt: skip
  fuse = verbs.add_parser(
    "fuse", help="fuse two folders of images", epilog=_FUSE_EXAMPLE, formatter_class=formatter,
    description="Fuses infrared and visible images of equal names, gray or colour, of any size.",
  )  # fmt: skip
  fuse.add_argument("--ir", required=True, metavar="DIR", help="infrared images")
  fuse.add_argument("--vi", required=True, metavar="DIR", help="visible images of the same names and sizes")
  fuse.add_argument("--out", required=True, metavar="DIR", help="where the PNG files go")
  which = fuse.add_mutually_exclusive_group(required=not build.shipped_weights().is_file())
  which.add_argument("--checkpoint", metavar="RUN", help="run folder of a training")
  which.add_argument("--weights", metavar="FILE", help=".safetensors file of F")
  fuse.add_argument("--stretch", action="store_true", help="stretch each fused image to the full range")
  fuse.add_argument("--skip-existing", action="store_true", help="leave outputs that are there already")
  options = parser.parse_args(arguments)
  try:
    return _fuse(options)
  except (ImageError, CheckpointError) as error:
    print(f"error: {error}", file=sys.stderr)
    return 2
  except KeyboardInterrupt:
    print("interrupted; --skip-existing goes on from here", file=sys.stderr)
    return 130


def _train(arguments: list[str]) -> int:
  # A process of its own, because config flags read the arguments from sys.argv.
  with subprocess.Popen([sys.executable, "-m", "tdfusion_jax.main", *arguments]) as training:
    while True:
      try:
        return training.wait()
      except KeyboardInterrupt:
        continue  # Ctrl-C reaches the training too, which saves its state before it ends


def _fuse(options: argparse.Namespace) -> int:
  fuse_fn, params = build.load_fusion(checkpoint_dir=options.checkpoint, weights=options.weights)
  fuse = make_fuse_fn(fuse_fn, params, stretch=options.stretch)
  report = fuse_folder(fuse, options.ir, options.vi, options.out, skip_existing=options.skip_existing, track=_progress)
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


if __name__ == "__main__":
  sys.exit(main())
