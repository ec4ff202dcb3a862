"""One video fused by several processes: each fuses a segment of it, and the last one joins them.

Needs PyAV (FFmpeg).

A segment is a block of frames, coded from a key frame of its own on, in a file beside the result.
Which frames it has follows from the times of all, which every process reads for itself. Joining
copies what is coded.
"""

import contextlib
import itertools
import json
import math
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tdfusion_jax.cluster.shards import Shard
from tdfusion_jax.files import atomic_write, reason
from tdfusion_jax.fusing.footage import joining
from tdfusion_jax.fusing.footage.pairing import Pairing
from tdfusion_jax.fusing.footage.pyav import VideoError
from tdfusion_jax.fusing.footage.schedule import Moments, Schedule, pairs_of, schedule
from tdfusion_jax.fusing.footage.sources import Footage
from tdfusion_jax.fusing.footage.writer import Place, Writer, check_playable
from tdfusion_jax.fusing.ranges import SETTLED, SteadyRange, Units, bytes_of
from tdfusion_jax.fusing.video import Done, Sides, VideoOptions, apart, fused_frames, paired


class Division(NamedTuple):
  """A video that is fused by segments."""

  out: Path
  """The whole."""
  options: VideoOptions
  made: dict[str, Any]
  """How it is fused, JSON values: equal in all segments that are joined."""


class Film:
  """Two videos that are open, of which the first pair has been read.

  Args:
    ir: infrared.
    vi: visible.
    division: what is made of them.

  Raises:
    VideoError: they cannot be divided, or cannot be fused at all.
  """

  def __init__(self, ir: Footage, vi: Footage, division: Division):
    self.ir, self.vi, self.division = ir, vi, division
    for source in (ir, vi):
      if source.live:
        raise VideoError(
          f"{source.name} is a camera or an address, which can be read once; only files are "
          "divided."
        )
    self.pairing: Pairing = paired(ir, vi, division.out, division.options)
    pairs = iter(self.pairing)
    if next(pairs, None) is None:
      raise apart(ir, vi)

  def plan(self, known: tuple[Moments, Moments] | None = None) -> Schedule:
    """All pairs.

    Args:
      known: the times of both, where they have been read before.

    Raises:
      VideoError: the times are not known beforehand.
    """
    options = self.division.options
    return schedule(known or (Moments(self.ir), Moments(self.vi)), options.shift, options.frames)

  @property
  def place(self) -> Place:
    """What the result takes over."""
    return Place(self.ir, self.vi, self.pairing, self.division.out)

  @property
  def remarks(self) -> list[str]:
    """What the user should know of the frames that were read."""
    return [*self.ir.remarks, *self.vi.remarks]


@contextlib.contextmanager
def opened(ir: Footage, vi: Footage, division: Division) -> Iterator[Film]:
  """A `Film`, for as long as the context lasts."""
  try:
    yield Film(ir, vi, division)
  finally:
    ir.close()
    vi.close()


def segment_file(out: Path, shard: Shard) -> Path:
  """Where a segment is until all are there."""
  return out.with_name(f"{out.name}.shard_{shard.index}_of_{shard.count}.nut")


def is_there(division: Division, shard: Shard) -> bool:
  """Whether a segment has been made, in the way that is asked for."""
  file = segment_file(division.out, shard)
  try:
    return file.exists() and joining.read_about(file)["made"] == division.made
  except (VideoError, KeyError):
    return False


def fuse_segment(
  fuse: Callable,
  film: Film,
  planned: Schedule,
  shard: Shard,
  *,
  told: Callable[[int], None] = lambda done: None,
) -> Done:
  """Fuses a segment into its file, which appears when it is complete.

  Args:
    fuse: as for `fuse_video`.
    film: what is fused.
    planned: of it.
    shard: which segment.
    told: called with the number of finished frames.

  Raises:
    VideoError: as `fuse_video`; and there are fewer frames than segments.
  """
  total, out = len(planned.meetings), segment_file(film.division.out, shard)
  span = shard.span(total)
  if total < shard.count:
    raise VideoError(f"{shard.count} segments of {total} frames: each needs one; name fewer.")
  notes: list[str] = []
  writer, done, began = None, 0, time.monotonic()
  try:
    with atomic_write(out) as temporary:
      with contextlib.closing(_images(fuse, film, planned, span)) as images:
        for image, seconds in images:
          if writer is None:
            about = _about(film.division, shard, planned, image.shape[:2])
            writer = Writer(temporary, image.shape[:2], film.place, notes, json.dumps(about))
            began = time.monotonic()
          writer.add(image, seconds)
          done += 1
          told(done)
      assert writer is not None
      writer.close()
      check_playable(temporary)
  except OSError as error:
    raise VideoError(f"{out} cannot be written: {reason(error)}") from error
  return Done(done, time.monotonic() - began, [*notes, *film.remarks], float(planned.rate))


def _images(
  fuse: Callable, film: Film, planned: Schedule, span: range
) -> Generator[tuple[np.ndarray, float]]:
  """The frames of a segment, [H, W, 1 or 3] uint8, with their times in the whole.

  Ranges that follow the scene have settled when it begins, by frames before it.
  """
  options, rate = film.division.options, float(planned.rate)
  unit, bright = Units(options.scale, rate), SteadyRange(rate) if options.stretch else None
  follows = options.stretch or options.scale.kind == "percentile"
  before = min(span.start, math.ceil(SETTLED * rate)) if follows else 0
  first = span.start - before
  pairs = pairs_of(film.ir, film.vi, planned, planned.meetings[first : span.stop])
  if not options.stretch:  # infrared's range alone, for which nothing needs to be fused
    for pair in itertools.islice(pairs, before):
      unit(pair.ir, film.ir.name)
    first, before = span.start, 0
  sides = Sides(film.ir, film.vi, pairs, first + 1)
  with contextlib.closing(fused_frames(fuse, sides, unit, options)) as frames:
    for number, (fused, seconds) in enumerate(frames):
      image = bytes_of(fused, bright)
      if number >= before:
        yield image, seconds


def _about(
  division: Division, shard: Shard, planned: Schedule, size: tuple[int, ...]
) -> dict[str, Any]:
  span = shard.span(len(planned.meetings))
  return {
    "index": shard.index,
    "count": shard.count,
    "first": span.start,
    "frames": len(span),
    "total": len(planned.meetings),
    "size": list(size),
    "notes": planned.notes,
    "made": division.made,
  }


def missing(out: Path, count: int) -> list[Shard]:
  """Segments that are not there."""
  shards = [Shard(index, count) for index in range(count)]
  return [shard for shard in shards if not segment_file(out, shard).exists()]


def join(film: Film, count: int) -> Done:
  """Joins all segments into the whole, with sound and all that `fuse_video` writes beside pictures.

  They are removed when it is there.

  Args:
    film: whose segments they are.
    count: of segments.

  Raises:
    VideoError: one is missing, damaged, or was made in another way; the whole cannot be written.
  """
  out, began = film.division.out, time.monotonic()
  absent = missing(out, count)
  if absent:
    others = f", and {len(absent) - 1} more" if len(absent) > 1 else ""
    raise VideoError(
      f"{segment_file(out, absent[0])} is missing{others}: fuse it by --shard {absent[0]}, then "
      f"join by --join {count}."
    )
  files = [segment_file(out, Shard(index, count)) for index in range(count)]
  abouts = [joining.read_about(file) for file in files]
  for file, about in zip(files, abouts, strict=True):
    _check(file, about, abouts[0], film.division)
  notes: list[str] = []
  frames = [about["frames"] for about in abouts]
  try:
    with atomic_write(out) as temporary:
      writer = Writer(temporary, tuple(abouts[0]["size"]), film.place, notes)
      joining.join(writer, files, frames)
      writer.close()
      check_playable(temporary)
  except OSError as error:
    raise VideoError(f"{out} cannot be written: {reason(error)}") from error
  for file in files:
    file.unlink(missing_ok=True)  # another process may do the same
  notes += [*abouts[0]["notes"], *film.remarks]
  return Done(sum(frames), time.monotonic() - began, notes, float(film.pairing.rate))


def _check(file: Path, about: dict[str, Any], first: dict[str, Any], division: Division) -> None:
  """Raises unless a segment belongs to the others."""
  again = "remove it, and start its shard again."
  own, made = about.get("made"), division.made
  if own != made:
    own = own if isinstance(own, dict) else {}
    names = sorted(name for name in made.keys() | own.keys() if made.get(name) != own.get(name))
    raise VideoError(f"{file} was made with another {' and '.join(names)}; {again}")
  for name in ("total", "size"):
    if about[name] != first[name]:
      raise VideoError(f"{file} has another {name} than the first ({about[name]}); {again}")
