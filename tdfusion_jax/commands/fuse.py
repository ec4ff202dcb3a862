"""`tdfusion fuse`: two folders of images into one, or one pair of files."""

import argparse
import sys
import time
from collections.abc import Iterable
from typing import Any

from tdfusion_jax import progress
from tdfusion_jax.cluster.shards import parse_shard
from tdfusion_jax.commands import options as shared
from tdfusion_jax.commands.fuse_options import add_arguments
from tdfusion_jax.fusing.arrays import make_fuse_fn
from tdfusion_jax.fusing.backends import make_fuser
from tdfusion_jax.fusing.folders import FolderOptions, fuse_folder
from tdfusion_jax.fusing.huge import huge_pairs
from tdfusion_jax.fusing.outcome import summary, troubles
from tdfusion_jax.fusing.reading import Reading
from tdfusion_jax.images.listing import passed_over
from tdfusion_jax.images.opening import ImageError
from tdfusion_jax.images.registration import aligner, doubt

__all__ = ["ABOUT", "EXAMPLE", "INTERRUPTED", "add_arguments", "run"]

ABOUT = """Fuses infrared and visible images of equal names, or one pair of files: gray or colour,
of any size."""
EXAMPLE = "tdfusion fuse --ir photos/ir --vi photos/vi --out fused --run runs/first"
INTERRUPTED = "--skip-existing goes on from here"


def run(options: argparse.Namespace) -> int:
  """Fuses; 1 if some pairs failed."""
  if options.batch < 1:
    raise ImageError(f"--batch {options.batch}: at least 1.")
  shard = parse_shard(options.shard)
  align, check = aligner(options.align), None if options.no_check else doubt
  scale, vi_scale = shared.scales(options)
  shared.use_cache(options)
  fuse_fn, params = shared.load_network(options)
  how: dict[str, Any] = {"stretch": options.stretch, "dtype": shared.dtype(options)}
  fuser = make_fuser(_backend(options), fuse_fn, params, **how)
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
    options.skip_existing, reading, options.batch, fuse_batch, huge, options.format, shard
  )
  began = time.monotonic()
  report = fuse_folder(fuser, options.ir, options.vi, options.out, how_folder, track=_track)
  for line in passed_over(options.ir, options.vi):
    print(f"note: {line}", file=sys.stderr)
  if options.shard:
    print(f"shard {shard}:")
  print("\n".join(summary(report, options.out, fuser, time.monotonic() - began)))
  print(*troubles(report), sep="", end="", file=sys.stderr)
  return 1 if report.failed else 0


def _backend(options: argparse.Namespace) -> str:
  """Which is fastest is measured anew by each process: shards would compute differently."""
  return "jax" if options.backend == "auto" and options.shard else options.backend


def _track(outputs: Iterable, total: int) -> Iterable:
  with progress.Progress(total, "fusing", unit="images") as display:
    yield from display.track(outputs)
