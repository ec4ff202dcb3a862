"""`tdfusion fuse`: two folders of images into one, or one pair of files."""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from tdfusion_jax import progress
from tdfusion_jax.cluster.choice import cluster_of
from tdfusion_jax.cluster.shards import parse_shard
from tdfusion_jax.commands import options as shared
from tdfusion_jax.commands.fuse_options import ABOUT, CLUSTERS, EXAMPLE, add_arguments
from tdfusion_jax.files import UsageError
from tdfusion_jax.fusing.backends import make_fuser
from tdfusion_jax.fusing.folders import FolderOptions, fuse_folder, fuse_jobs
from tdfusion_jax.fusing.huge import huge_pairs
from tdfusion_jax.fusing.jobs import Job
from tdfusion_jax.fusing.line import Outcome
from tdfusion_jax.fusing.outcome import summary, troubles
from tdfusion_jax.fusing.pairs import PairFuser
from tdfusion_jax.fusing.reading import Reading
from tdfusion_jax.fusing.spread import Make, fuse_on_ray
from tdfusion_jax.images.listing import passed_over
from tdfusion_jax.images.opening import ImageError
from tdfusion_jax.images.registration import aligner, doubt

__all__ = ["ABOUT", "EXAMPLE", "INTERRUPTED", "add_arguments", "run"]

INTERRUPTED = "--skip-existing goes on from here"


def run(options: argparse.Namespace) -> int:
  """Fuses; 1 if some pairs failed."""
  if options.batch < 1:
    raise ImageError(f"--batch {options.batch}: at least 1.")
  cluster = cluster_of(options, CLUSTERS, options.workers)
  if options.workers is not None and cluster is None:
    raise UsageError("--workers is for --cluster.")
  sides = options.ir, options.vi, options.out
  how, fuser = _prepared(options)
  began = time.monotonic()
  if cluster is None:
    report = fuse_folder(fuser, *sides, how, track=_track)
  else:
    fuser = None
    make = partial(_on_worker, options, str(Path.cwd()))
    report = fuse_on_ray(make, sides, how, cluster, track=_track)
  for line in passed_over(options.ir, options.vi):
    print(f"note: {line}", file=sys.stderr)
  if options.shard:
    print(f"shard {how.shard}:")
  print("\n".join(summary(report, options.out, fuser, time.monotonic() - began)))
  print(*troubles(report), sep="", end="", file=sys.stderr)
  return 1 if report.failed else 0


def _prepared(options: argparse.Namespace) -> tuple[FolderOptions, PairFuser]:
  """How the options have files fused, and by what."""
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
  fuse_batch = None
  if options.batch > 1:
    from tdfusion_jax.fusing.arrays import make_fuse_fn  # loads JAX

    fuse_batch = make_fuse_fn(fuse_fn, params, **how)
  reading = Reading(scale, vi_scale, align, check)
  how_folder = FolderOptions(
    options.skip_existing, reading, options.batch, fuse_batch, huge, options.format, shard
  )
  return how_folder, fuser


def _backend(options: argparse.Namespace) -> str:
  """Which is fastest is measured anew by each process: shards would compute differently."""
  shared_work = options.shard or options.cluster
  return "jax" if options.backend == "auto" and shared_work else options.backend


def _on_worker(options: argparse.Namespace, here: str) -> Make:
  """On a worker of a cluster: the same line from files to files, in the folder of the command."""
  os.chdir(here)
  how, fuser = _prepared(options)

  def ready(sizes: list[tuple[int, int]]) -> Callable[[list[Job]], list[Outcome]]:
    fuser.plan(sizes)
    return lambda jobs: list(fuse_jobs(fuser, jobs, how))

  return ready


def _track(outputs: Iterable, total: int) -> Iterable:
  with progress.Progress(total, "fusing", unit="images") as display:
    yield from display.track(outputs)
