"""`tdfusion video`: two videos into one."""

import argparse
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from tdfusion_jax.cluster.choice import Cluster, cluster_of
from tdfusion_jax.cluster.shards import Shard, parse_shard
from tdfusion_jax.commands import options as shared
from tdfusion_jax.commands.video_options import ABOUT, CLUSTERS, EXAMPLE, add_arguments
from tdfusion_jax.files import UsageError
from tdfusion_jax.fusing.film_spread import segments_on_ray
from tdfusion_jax.fusing.footage.pyav import VideoError
from tdfusion_jax.fusing.footage.schedule import Moments
from tdfusion_jax.fusing.footage.sources import Footage
from tdfusion_jax.fusing.pairs import make_frame_fn
from tdfusion_jax.fusing.segments import (
  Division,
  fuse_segment,
  is_there,
  join,
  missing,
  opened,
  segment_file,
)
from tdfusion_jax.fusing.video import Done, VideoOptions, fuse_video
from tdfusion_jax.images.registration import aligner
from tdfusion_jax.progress import Progress

__all__ = ["ABOUT", "EXAMPLE", "INTERRUPTED", "add_arguments", "run"]

INTERRUPTED = "the frames so far are written, but of a segment none"
# Options that segments of one video must have in common, beside the names of its sources.
_SAME = (
  *("run", "weights", "network", "rate", "shift", "frames", "stretch", "align", "dtype"),
  *("scale", "ir_channel", "nodata", "vi_scale", "vi_channels"),
)


def run(options: argparse.Namespace) -> int:
  """Fuses."""
  shard, cluster = parse_shard(options.shard), cluster_of(options, CLUSTERS, options.workers)
  _check(options, cluster)
  shared.use_cache(options)
  if options.join:
    return _joined(options, options.join)
  if cluster is not None:
    return _on_cluster(options, cluster)
  if options.shard:
    return _segment(options, shard)
  ir, vi = _sources(options)
  fuse = _fuser(options)
  totals = [n for n in (ir.total, vi.total, options.frames) if n]
  with Progress(min(totals, default=None), "fusing", unit="frames") as progress:
    done = fuse_video(fuse, ir, vi, options.out, _how(options), told=progress.update)
  _tell(done, options.out)
  return 0


def _check(options: argparse.Namespace, cluster: Cluster | None) -> None:
  if options.frames is not None and options.frames < 1:
    raise VideoError(f"--frames {options.frames}: at least 1.")
  if options.join is not None and options.join < 1:
    raise UsageError(f"--join {options.join}: the number of segments, at least 1.")
  given = {"--shard": options.shard, "--join": options.join, "--cluster": cluster}
  chosen = [name for name, value in given.items() if value]
  if len(chosen) > 1:
    raise UsageError(f"{' and '.join(chosen)}: only one of them divides a video.")
  if options.workers is not None and cluster is None:
    raise UsageError("--workers is for --cluster.")
  if options.skip_existing and not (options.shard or cluster):
    raise UsageError("--skip-existing is for segments: of --shard or --cluster.")


def _how(options: argparse.Namespace) -> VideoOptions:
  scale, vi_scale = shared.scales(options)
  align = aligner(options.align)
  return VideoOptions(scale, options.stretch, align, options.frames, options.shift, vi_scale)


def _sources(options: argparse.Namespace) -> tuple[Footage, Footage]:
  return Footage(options.ir, options.rate), Footage(options.vi, options.rate)


def _fuser(options: argparse.Namespace) -> Callable:
  return make_frame_fn(*shared.load_network(options), dtype=shared.dtype(options))


def _division(options: argparse.Namespace) -> Division:
  made = {name: getattr(options, name) for name in _SAME}
  made |= {side: Path(getattr(options, side)).name for side in ("ir", "vi")}
  return Division(Path(options.out), _how(options), made)


def _segment(options: argparse.Namespace, shard: Shard) -> int:
  """One segment, and if all others are there, the whole."""
  division = _division(options)
  file = segment_file(division.out, shard)
  if options.skip_existing and is_there(division, shard):
    print(f"shard {shard}: {file} is there")
  else:
    with opened(*_sources(options), division) as film:
      planned = film.plan()
      with Progress(len(shard.span(len(planned.meetings))), "fusing", unit="frames") as progress:
        done = fuse_segment(_fuser(options), film, planned, shard, told=progress.update)
    _tell(done, file)
  absent = missing(division.out, shard.count)
  if absent:
    print(f"shard {shard}: {len(absent)} segments are to come; the last one joins them")
    return 0
  return _joined(options, shard.count)


def _joined(options: argparse.Namespace, count: int, notes: Sequence[str] = ()) -> int:
  with opened(*_sources(options), _division(options)) as film:
    done = join(film, count)
  for note in dict.fromkeys([*notes, *done.notes]):
    print(f"note: {note}")
  print(f"{done.frames} frames in {count} segments joined to {options.out}: {done.seconds:.1f} s")
  return 0


def _on_cluster(options: argparse.Namespace, cluster: Cluster) -> int:
  began = time.monotonic()
  division = _division(options)
  with opened(*_sources(options), division) as film:
    planned = film.plan()
    make = partial(_on_worker, options, str(Path.cwd()))
    with Progress(len(planned.meetings), "fusing", unit="frames") as progress:
      count, notes = segments_on_ray(
        make, division, planned, cluster, skip=options.skip_existing, told=progress.update
      )
  print(f"{count} segments fused: {time.monotonic() - began:.1f} s")
  return _joined(options, count, notes)


def _on_worker(options: argparse.Namespace, here: str) -> Callable[[Shard], list[str]]:
  """On a worker of a cluster: what fuses a segment in the folder of the command."""
  os.chdir(here)
  shared.use_cache(options)
  fuse, division = _fuser(options), _division(options)
  known: list[tuple[Moments, Moments]] = []  # read once, for all segments of this worker

  def do(shard: Shard) -> list[str]:
    with opened(*_sources(options), division) as film:
      planned = film.plan(*known[:1])
      known[:] = [planned.sides]
      return fuse_segment(fuse, film, planned, shard).notes

  return do


def _tell(done: Done, out: str | Path) -> None:
  for note in done.notes:
    print(f"note: {note}")
  speed = done.frames / max(done.seconds, 1e-9)
  times = speed / done.rate
  print(f"{done.frames} frames written to {out}: {speed:.2f} frames/s, {times:.2f} x real time")
