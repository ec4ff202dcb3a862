"""`tdfusion video`: two videos into one."""

import argparse
import sys
import time

import jax.numpy as jnp

from tdfusion_jax import fusers
from tdfusion_jax.commands.fuse import CACHE
from tdfusion_jax.fusing.arrays import make_fuse_fn
from tdfusion_jax.fusing.footage import Footage, VideoError
from tdfusion_jax.fusing.video import fuse_video
from tdfusion_jax.images.files import parse_scale
from tdfusion_jax.images.registration import aligner
from tdfusion_jax.ops import compiling

ABOUT = """Fuses two videos, two folders of frames, or two cameras (their numbers) frame by frame into one file, with
the frame rate and the sound of the visible one (or infrared's, if only that has sound)."""
EXAMPLE = "tdfusion video --ir thermal.mp4 --vi visible.mp4 --out fused.mp4 --checkpoint runs/first"
INTERRUPTED = "the frames so far are written"

_LINE_EVERY = 10.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """The options of `tdfusion video`."""
  parser.add_argument(
    "--ir", required=True, metavar="SOURCE", help="infrared: a file, a folder, or a camera's number"
  )
  parser.add_argument("--vi", required=True, metavar="SOURCE", help="visible, likewise")
  parser.add_argument(
    "--out", required=True, metavar="FILE", help=".mp4, .mkv, .mov, .avi or .webm"
  )
  which = parser.add_mutually_exclusive_group(required=not fusers.shipped_weights().is_file())
  which.add_argument("--checkpoint", metavar="RUN", help="run folder of a training")
  which.add_argument("--weights", metavar="FILE", help=".safetensors file of F")
  parser.add_argument("--rate", type=float, metavar="FPS", help="of folders (default 25)")
  parser.add_argument("--frames", type=int, metavar="N", help="stop after N frames")
  parser.add_argument(
    "--stretch", action="store_true", help="stretch the brightness, slowly following the scene"
  )
  parser.add_argument(
    "--scale",
    default="linear",
    metavar="HOW",
    help="range of infrared values, as for tdfusion fuse",
  )
  parser.add_argument(
    "--align", choices=("none", "resize"), default="none", help="make infrared's size fit"
  )
  parser.add_argument(
    "--dtype", choices=("float32", "bfloat16"), default="float32", help="what F computes in"
  )
  parser.add_argument(
    "--cache", default=str(CACHE), metavar="DIR", help="keeps compiled programs; '' keeps none"
  )


def run(options: argparse.Namespace) -> int:
  """Fuses."""
  compiling.use_cache(options.cache)
  if options.frames is not None and options.frames < 1:
    raise VideoError(f"--frames {options.frames}: at least 1.")
  scale, align = parse_scale(options.scale), aligner(options.align)
  ir, vi = Footage(options.ir, options.rate), Footage(options.vi, options.rate)
  fuse_fn, params = fusers.load_fusion(checkpoint_dir=options.checkpoint, weights=options.weights)
  fuse = make_fuse_fn(fuse_fn, params, dtype=jnp.bfloat16 if options.dtype == "bfloat16" else None)
  totals = [n for n in (ir.total, vi.total, options.frames) if n]
  progress = _Progress(min(totals) if totals else None, float(vi.rate))
  how = {"scale": scale, "stretch": options.stretch, "align": align, "frames": options.frames}
  done = fuse_video(fuse, ir, vi, options.out, told=progress, **how)
  for note in done.notes:
    print(f"note: {note}")
  speed = done.frames / max(done.seconds, 1e-9)
  times = speed / float(vi.rate)
  print(
    f"{done.frames} frames written to {options.out}: {speed:.2f} frames/s, {times:.2f} x real time"
  )
  return 0


class _Progress:
  """A line now and then."""

  def __init__(self, total: int | None, rate: float):
    self._total, self._rate = total, rate
    self._first = self._last = time.monotonic()

  def __call__(self, done: int) -> None:
    now = time.monotonic()
    if done == 1:
      self._first = now
    if now - self._last < _LINE_EVERY or done < 2:
      return
    self._last = now
    speed = (done - 1) / max(now - self._first, 1e-9)
    left = f"/{self._total}, {(self._total - done) / speed:.0f} s left" if self._total else ""
    print(
      f"{done}{left}, {speed:.2f} frames/s, {speed / self._rate:.2f} x real time", file=sys.stderr
    )
