"""`tdfusion fuse`: two folders of images into one, or one pair of files."""

import argparse
import sys
import time
from collections.abc import Iterable
from typing import Any

from tdfusion_jax import progress
from tdfusion_jax.commands import options as shared
from tdfusion_jax.fusing.arrays import make_fuse_fn
from tdfusion_jax.fusing.backends import BACKENDS, make_fuser
from tdfusion_jax.fusing.folders import FolderOptions, fuse_folder
from tdfusion_jax.fusing.huge import USUAL_MEGAPIXELS, huge_pairs
from tdfusion_jax.fusing.jobs import FORMATS
from tdfusion_jax.fusing.outcome import summary, troubles
from tdfusion_jax.fusing.reading import Reading
from tdfusion_jax.images.listing import passed_over
from tdfusion_jax.images.opening import ImageError
from tdfusion_jax.images.registration import aligner, doubt

ABOUT = """Fuses infrared and visible images of equal names, or one pair of files: gray or colour,
of any size."""
EXAMPLE = "tdfusion fuse --ir photos/ir --vi photos/vi --out fused --run runs/first"
INTERRUPTED = "--skip-existing goes on from here"


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """The options of `tdfusion fuse`."""
  add = parser.add_argument
  add("--ir", required=True, metavar="PATH", help="infrared images: a folder, or one file")
  add("--vi", required=True, metavar="PATH", help="visible ones of the same names and sizes")
  add("--out", required=True, metavar="PATH", help="where the results go: a folder, or one file")
  add(
    "--format",
    choices=FORMATS,
    default="",
    help="png and jpg have 8 bits, png16 has 16; tif has 8, or 16 where an image has more, or "
    "floats where the visible one has. Default: PNG of 8 bits, or of 16 where an image has more; "
    "TIFF where the visible image is a GeoTIFF. All keep its EXIF and colour profile",
  )
  shared.add_network(parser)
  add("--stretch", action="store_true", help="stretch each fused image to the full range")
  add("--skip-existing", action="store_true", help="keep outputs that are there already")
  shared.add_scale(parser)
  shared.add_vi_scale(parser)
  add(
    "--align",
    choices=("none", "resize", "homography"),
    default="none",
    help="make infrared fit: resize it where sizes differ, or find the homography of every pair "
    "(needs OpenCV)",
  )
  add("--no-check", action="store_true", help="do not look for pairs that seem unregistered")
  shared.add_computing(parser)
  add(
    "--backend",
    choices=BACKENDS,
    default="auto",
    help="auto (the default): ONNX Runtime if it is installed and clearly beats JAX on the first "
    "pair, on a CPU",
  )
  add(
    "--batch",
    type=int,
    default=1,
    metavar="N",
    help="fuse N pairs of equal size at once (for GPUs); each size that occurs N times is then "
    "compiled by itself",
  )
  add(
    "--stream-from",
    type=float,
    metavar="MP",
    help="compute pairs of this many megapixels and more tile by tile, in less than 2 GB and with "
    f"a temporary file of 128 bytes a pixel (default {USUAL_MEGAPIXELS:g}; F in float32 alone)",
  )
  add("--scratch", metavar="DIR", help="for that file (default: the system's temporary folder)")


def run(options: argparse.Namespace) -> int:
  """Fuses; 1 if some pairs failed."""
  if options.batch < 1:
    raise ImageError(f"--batch {options.batch}: at least 1.")
  align, check = aligner(options.align), None if options.no_check else doubt
  scale, vi_scale = shared.scales(options)
  shared.use_cache(options)
  fuse_fn, params = shared.load_network(options)
  how: dict[str, Any] = {"stretch": options.stretch, "dtype": shared.dtype(options)}
  fuser = make_fuser(options.backend, fuse_fn, params, **how)
  huge = huge_pairs(
    fuse_fn,
    params,
    megapixels=options.stream_from,
    scratch=options.scratch,
    told=progress.Lines().part,
    **how,
  )
  fuse_batch = make_fuse_fn(fuse_fn, params, **how) if options.batch > 1 else None
  reading = Reading(scale, vi_scale, align, check)
  how_folder = FolderOptions(
    options.skip_existing, reading, options.batch, fuse_batch, huge, options.format
  )
  began = time.monotonic()
  report = fuse_folder(fuser, options.ir, options.vi, options.out, how_folder, track=_track)
  for line in passed_over(options.ir, options.vi):
    print(f"note: {line}", file=sys.stderr)
  print("\n".join(summary(report, options.out, fuser, time.monotonic() - began)))
  print(*troubles(report), sep="", end="", file=sys.stderr)
  return 1 if report.failed else 0


def _track(outputs: Iterable, total: int) -> Iterable:
  with progress.Progress(total, "fusing", unit="images") as display:
    yield from display.track(outputs)
