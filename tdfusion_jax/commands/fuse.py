"""`tdfusion fuse`: two folders of images into one."""

import argparse
import sys
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from rich import progress as bars
from rich.console import Console
from rich.text import Text

from tdfusion_jax import fusers
from tdfusion_jax.fusing.arrays import make_fuse_fn
from tdfusion_jax.fusing.backends import BACKENDS, make_fuser
from tdfusion_jax.fusing.folders import Huge, Reading, fuse_folder, unequal
from tdfusion_jax.fusing.pairs import PairFuser
from tdfusion_jax.fusing.streaming import finish, fuse_streamed
from tdfusion_jax.images.files import ImageError, parse_scale, read_pixels
from tdfusion_jax.images.registration import aligner, doubt
from tdfusion_jax.ops import compiling

ABOUT = "Fuses infrared and visible images of equal names, gray or colour, of any size."
EXAMPLE = "tdfusion fuse --ir photos/ir --vi photos/vi --out fused --checkpoint runs/first"
INTERRUPTED = "--skip-existing goes on from here"

_LINE_EVERY = 15.0  # seconds between plain progress lines
CACHE = Path.home() / ".cache" / "tdfusion"


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """The options of `tdfusion fuse`."""
  parser.add_argument("--ir", required=True, metavar="DIR", help="infrared images")
  parser.add_argument(
    "--vi", required=True, metavar="DIR", help="visible images of the same names and sizes"
  )
  parser.add_argument("--out", required=True, metavar="DIR", help="where the PNG files go")
  which = parser.add_mutually_exclusive_group(required=not fusers.shipped_weights().is_file())
  which.add_argument("--checkpoint", metavar="RUN", help="run folder of a training")
  which.add_argument("--weights", metavar="FILE", help=".safetensors file of F")
  parser.add_argument(
    "--stretch", action="store_true", help="stretch each fused image to the full range"
  )
  parser.add_argument(
    "--skip-existing", action="store_true", help="leave outputs that are there already"
  )
  parser.add_argument(
    "--scale",
    default="linear",
    metavar="HOW",
    help="range of infrared values: linear (of the file's type, the default), percentile (1 to 99), "
    "percentile:LOW:HIGH, or LOW:HIGH in the file's units, such as 29000:31500",
  )
  parser.add_argument(
    "--vi-scale", default="linear", metavar="HOW", help="the same for visible values"
  )
  parser.add_argument(
    "--align",
    choices=("none", "resize", "homography"),
    default="none",
    help="make infrared fit: resize it where sizes differ, or find the homography of every pair (needs OpenCV)",
  )
  parser.add_argument(
    "--no-check", action="store_true", help="do not look for pairs that seem unregistered"
  )
  parser.add_argument(
    "--dtype", choices=("float32", "bfloat16"), default="float32", help="what F computes in"
  )
  parser.add_argument(
    "--backend",
    choices=BACKENDS,
    default="auto",
    help="auto (the default): ONNX Runtime if it is installed and clearly beats JAX on the first pair, on a CPU",
  )
  parser.add_argument(
    "--batch",
    type=int,
    default=1,
    metavar="N",
    help="fuse N pairs of equal size at once (for GPUs); each size that occurs N times is then compiled by itself",
  )
  parser.add_argument(
    "--stream-from",
    type=float,
    default=12,
    metavar="MP",
    help="compute pairs of this many megapixels and more tile by tile, in less than 2 GB and with a temporary file of "
    "128 bytes a pixel (default 12)",
  )
  parser.add_argument(
    "--scratch", metavar="DIR", help="for that file (default: the system's temporary folder)"
  )
  parser.add_argument(
    "--cache", default=str(CACHE), metavar="DIR", help="keeps compiled programs; '' keeps none"
  )


def run(options: argparse.Namespace) -> int:
  """Fuses; 1 if some pairs failed."""
  if options.batch < 1:
    raise ImageError(f"--batch {options.batch}: at least 1.")
  if not options.stream_from >= 0:
    raise ImageError(f"--stream-from {options.stream_from:g}: at least 0.")
  reading = Reading(
    scale=parse_scale(options.scale),
    vi_scale=parse_scale(options.vi_scale),
    align=aligner(options.align),
    check=None if options.no_check else doubt,
  )
  compiling.use_cache(options.cache)
  fuse_fn, params = fusers.load_fusion(checkpoint_dir=options.checkpoint, weights=options.weights)
  how = {"stretch": options.stretch, "dtype": jnp.bfloat16 if options.dtype == "bfloat16" else None}
  fuser = make_fuser(options.backend, fuse_fn, params, **how)
  huge = None
  if fusers.is_f(fuse_fn) and options.dtype == "float32":
    if options.scratch and not Path(options.scratch).is_dir():
      raise ImageError(f"--scratch {options.scratch} is not a folder.")
    fuse_huge = partial(_fuse_huge, params, options.scratch, options.stretch)
    huge = Huge(int(min(options.stream_from, 1e6) * 1e6), fuse_huge)
  began = time.monotonic()
  report = fuse_folder(
    fuser,
    options.ir,
    options.vi,
    options.out,
    skip_existing=options.skip_existing,
    reading=reading,
    batch=options.batch,
    fuse_batch=make_fuse_fn(fuse_fn, params, **how) if options.batch > 1 else None,
    huge=huge,
    track=_progress,
  )
  skipped = f", {len(report.skipped)} were there" if report.skipped else ""
  print(f"{len(report.written)} written to {options.out}{skipped}, {len(report.failed)} failed")
  if report.written:
    if note := getattr(fuser, "note", ""):
      print(note)
    print(_speed(len(report.written), time.monotonic() - began, fuser))
  for line in report.warnings:
    print(f"warning: {line}", file=sys.stderr)
  if report.failed:
    print("failed:", file=sys.stderr)
  for line in report.failed:
    print(f"  {line}", file=sys.stderr)
  return 1 if report.failed else 0


def _fuse_huge(
  params: Any, scratch: str | None, stretch: bool, ir: Path, vi: Path, reading: Reading
) -> np.ndarray:
  if reading.align is not None:
    raise ImageError(
      f"{vi} is to be computed tile by tile, and such pairs cannot be aligned; see --stream-from."
    )
  a, b = read_pixels(ir, reading.scale), read_pixels(vi, reading.vi_scale)
  if a.array.shape[:2] != b.array.shape[:2]:
    raise unequal(ir, vi, a.array.shape, b.array.shape)
  last = time.monotonic()

  def told(done: float) -> None:
    nonlocal last
    if time.monotonic() - last >= _LINE_EVERY:
      last = time.monotonic()
      print(f"{vi.stem}: {done:.0%}", file=sys.stderr)

  return finish(fuse_streamed(params, a, b, folder=scratch, told=told), a, b, stretch=stretch)


def _speed(images: int, seconds: float, fuser: PairFuser) -> str:
  compiling_s = sum(fuser.compiled)
  programs = f"{len(fuser.compiled)} program{'s' if len(fuser.compiled) != 1 else ''}"
  rate = images / max(seconds - compiling_s, 1e-9)
  return f"{seconds:.1f} s, of these {compiling_s:.1f} s compiling {programs}; {rate:.2f} images/s besides"


class _Speed(bars.ProgressColumn):
  def render(self, task: bars.Task) -> Text:
    return Text(f"{task.speed or 0:.2f} images/s")


def _progress(pairs: Iterable, total: int) -> Iterable:
  console = Console(stderr=True)
  if not console.is_terminal:
    yield from _lines(pairs, total)
    return
  columns = (
    bars.TextColumn("fusing"),
    bars.BarColumn(),
    bars.MofNCompleteColumn(),
    _Speed(),
    bars.TimeRemainingColumn(),
  )
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
