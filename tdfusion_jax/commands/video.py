"""`tdfusion video`: two videos into one."""

import argparse

from tdfusion_jax.commands import options as shared
from tdfusion_jax.fusing.footage.pyav import VideoError
from tdfusion_jax.fusing.footage.sources import Footage
from tdfusion_jax.fusing.pairs import make_frame_fn
from tdfusion_jax.fusing.video import VideoOptions, fuse_video
from tdfusion_jax.images.registration import aligner
from tdfusion_jax.progress import Progress

ABOUT = """Fuses two videos, stacks of images, folders of frames, cameras or addresses frame by
frame into one file, with the frame times and the sound of the visible one (or infrared's, if only
that has sound)."""
EXAMPLE = "tdfusion video --ir thermal.mp4 --vi visible.mp4 --out fused.mp4 --run runs/first"
INTERRUPTED = "the frames so far are written"


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """The options of `tdfusion video`."""
  add = parser.add_argument
  whose = (
    "infrared: a video file, a TIFF stack, a folder of frames, a camera's number or path, or an "
    "address (rtsp://, http://, udp://)"
  )
  add("--ir", required=True, metavar="SOURCE", help=whose)
  add("--vi", required=True, metavar="SOURCE", help="visible, likewise")
  add("--out", required=True, metavar="FILE", help=".mp4, .mkv, .mov, .avi, .webm or .ts")
  shared.add_network(parser)
  add("--rate", type=float, metavar="FPS", help="of folders and stacks (default: the other side's)")
  add(
    "--shift",
    type=float,
    default=0.0,
    metavar="SECONDS",
    help="added to infrared's times, where its clock is behind",
  )
  add("--frames", type=int, metavar="N", help="stop after N frames")
  add("--stretch", action="store_true", help="stretch the brightness, slowly following the scene")
  shared.add_scale(parser)
  shared.add_vi_scale(parser)
  sizes = ("none", "resize")
  add("--align", choices=sizes, default="none", help="make infrared's size fit")
  shared.add_computing(parser)


def run(options: argparse.Namespace) -> int:
  """Fuses."""
  shared.use_cache(options)
  if options.frames is not None and options.frames < 1:
    raise VideoError(f"--frames {options.frames}: at least 1.")
  scale, vi_scale = shared.scales(options)
  how = VideoOptions(
    scale,
    options.stretch,
    aligner(options.align),
    options.frames,
    options.shift,
    vi_scale,
  )
  ir, vi = Footage(options.ir, options.rate), Footage(options.vi, options.rate)
  fuse = make_frame_fn(*shared.load_network(options), dtype=shared.dtype(options))
  totals = [n for n in (ir.total, vi.total, options.frames) if n]
  with Progress(min(totals, default=None), "fusing", unit="frames") as progress:
    done = fuse_video(fuse, ir, vi, options.out, how, told=progress.update)
  for note in done.notes:
    print(f"note: {note}")
  speed = done.frames / max(done.seconds, 1e-9)
  times = speed / done.rate
  print(
    f"{done.frames} frames written to {options.out}: {speed:.2f} frames/s, {times:.2f} x real time"
  )
  return 0
