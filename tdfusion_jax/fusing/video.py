"""Fusing videos: two files, stacks, folders of frames, cameras or addresses into one file.

Needs PyAV (FFmpeg).

F itself has no memory of earlier frames and none is needed: what flickers in fused videos is
normalising every frame by itself. Here each range, of the thermal input and of the result, follows
the scene slowly (`ranges.SteadyRange`).
"""

import contextlib
import itertools
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tdfusion_jax.files import atomic_write, reason
from tdfusion_jax.fusing.footage.pairing import Pair, Pairing, check_names
from tdfusion_jax.fusing.footage.pyav import VideoError
from tdfusion_jax.fusing.footage.sources import Footage
from tdfusion_jax.fusing.footage.writer import CODECS, Place, Writer, check_playable
from tdfusion_jax.fusing.ranges import SteadyRange, Units, bytes_of
from tdfusion_jax.images.colour import false_colours, spread_of
from tdfusion_jax.images.opening import ImageError
from tdfusion_jax.images.scaling import Scale


class VideoOptions(NamedTuple):
  """How two videos become one."""

  scale: Scale = Scale()
  """Of infrared values; `percentile` follows the scene."""
  stretch: bool = False
  """Stretch the fused brightness to the full range but for half a percent at its ends, following
  the scene."""
  align: Callable | None = None
  """(ir, vi) -> the same in equal size."""
  frames: int | None = None
  """Stop after so many."""
  shift: float = 0.0
  """Seconds that infrared's clock is behind; added to its times."""
  vi_scale: Scale = Scale()
  """Of visible values."""


class Done(NamedTuple):
  """What became of a video."""

  frames: int
  seconds: float
  """That it took, compilation left out."""
  notes: list[str]
  rate: float
  """Frames per second of the result, the mean."""


def fuse_video(
  fuse: Callable,
  ir: Footage,
  vi: Footage,
  out: str | Path,
  options: VideoOptions = VideoOptions(),  # noqa: B008 (a named tuple does not change)
  *,
  told: Callable[[int], None] = lambda done: None,
) -> Done:
  """Fuses two videos frame by frame into one.

  The result has the frame times, the shape of pixels, the colours and the sound of the visible one,
  else infrared's sound. A frame of the visible video meets the infrared frame nearest to it in
  time. Colour as in `fusing.make_fuse_fn`.

  Args:
    fuse: from `fusing.make_fuse_fn`, without stretch.
    ir: infrared; closed when done.
    vi: visible; closed when done.
    out: .mp4, .mkv, .mov, .avi, .webm or .ts; complete when it appears under this name. What stood
      there before stays until a frame of the result can be played.
    options: scaling, stretching, aligning, length.
    told: called with the number of finished frames.

  Raises:
    VideoError: `out` is a source; frames that cannot be read, written, or differ in size. What was
      fused before that is in `out`.
  """
  out, notes = Path(out), []
  broken: KeyboardInterrupt | ImageError | None = None
  try:
    pairing = paired(ir, vi, out, options)
    with atomic_write(out) as temporary:
      output = _Output(temporary, Place(ir, vi, pairing, out), notes)
      try:
        pairs = itertools.islice(pairing, options.frames)
        unit = Units(options.scale, float(pairing.rate))
        with contextlib.closing(fused_frames(fuse, Sides(ir, vi, pairs), unit, options)) as frames:
          for fused, seconds in frames:
            output.add(bytes_of(fused, output.bright if options.stretch else None), seconds)
            told(output.count)
        output.finish()
      except (KeyboardInterrupt, ImageError) as error:
        if not output.salvage():
          raise
        broken = error
  except OSError as error:
    raise VideoError(f"{out} cannot be written: {reason(error)}") from error
  finally:
    ir.close()
    vi.close()
  if isinstance(broken, KeyboardInterrupt):
    raise broken
  if broken is not None:
    raise VideoError(f"{broken} (The {output.count} frames before it are in {out}.)") from broken
  notes += [*pairing.notes(), *ir.remarks, *vi.remarks]
  return Done(output.count, time.monotonic() - output.began, notes, float(pairing.rate))


def paired(ir: Footage, vi: Footage, out: Path, options: VideoOptions) -> Pairing:
  """The pairs of two videos, which are made ready to be read.

  Raises:
    VideoError: `out` is a source or has a name that is not written; folders do not fit together.
  """
  if out.suffix.lower() not in CODECS:
    raise VideoError(f"{out} should end in one of {', '.join(CODECS)}.")
  for source in (ir, vi):
    if source.holds(out):
      raise VideoError(
        f"{out} is part of {source.name}, which the result would replace; name another file."
      )
  check_names(ir, vi)
  ir.scale, vi.scale = options.scale, options.vi_scale
  return Pairing(ir, vi, options.shift)


def apart(ir: Footage, vi: Footage) -> VideoError:
  """Of two videos without a pair."""
  return VideoError(
    f"{ir.name} and {vi.name} have no frames in common; --shift moves infrared in time."
  )


class Sides(NamedTuple):
  """Two videos and their pairs."""

  ir: Footage
  vi: Footage
  pairs: Iterator[Pair]
  """Those that are fused."""
  first: int = 1
  """The number of the first of them, for messages."""


def fused_frames(
  fuse: Callable, sides: Sides, unit: Units, options: VideoOptions
) -> Generator[tuple[np.ndarray, float], None, None]:
  """(fused frame [H, W, 1 or 3] in [0, 1], its time in seconds).

  While one frame is computed, the next one is decoded and the one before it is handed on. A frame
  that cannot be read raises its error when all frames before it have been handed on.

  Args:
    fuse: as for `fuse_video`.
    sides: what is fused.
    unit: makes numbers in [0, 1] of infrared frames.
    options: aligning.
  """
  size: tuple[int, ...] | None = None
  waiting: tuple[Any, float] | None = None
  broken: ImageError | None = None
  with ThreadPoolExecutor(1) as decoder:
    following = decoder.submit(next, sides.pairs, None)
    for number in itertools.count(sides.first):
      started = None
      try:
        pair = following.result()
        if pair is not None:
          following = decoder.submit(next, sides.pairs, None)
          a, b = _prepared(pair, unit, sides, options.align, tell=size is None)
          size = size or b.shape[:2]
          if b.shape[:2] != size:
            raise VideoError(f"{sides.vi.name}: frame {number} has another size than the first.")
          started = fuse(a[None], b[None]), pair.seconds
      except ImageError as error:
        broken = error
      if waiting is not None:
        yield np.asarray(waiting[0])[0], waiting[1]
      if broken is not None:
        raise broken
      if started is None:
        return
      waiting = started


def _prepared(
  pair: Pair, unit: Units, sides: Sides, align: Callable | None, *, tell: bool
) -> tuple[np.ndarray, np.ndarray]:
  """Both frames in [0, 1] and of equal size."""
  ir, vi = sides.ir, sides.vi
  seen_ir, seen_vi = unit(pair.ir, ir.name), pair.vi.pixels(vi.name, vi.scale)
  if tell:  # what is left out of one frame is left out of all
    ir.say(*seen_ir.remarks, false_colours(spread_of(seen_ir), ir.name))
    vi.say(*seen_vi.remarks)
  a, b = seen_ir.whole(), seen_vi.whole()
  if align is not None:
    a, b = align(a, b)
  if a.shape[:2] != b.shape[:2]:
    sizes = " and ".join(f"{x.shape[1]}x{x.shape[0]}" for x in (a, b))
    raise VideoError(
      f"{ir.name} and {vi.name} differ in size ({sizes}); register them first, or see --align."
    )
  return a, b


class _Output:
  """The file that is written, under another name until it is complete."""

  def __init__(self, temporary: Path, place: Place, notes: list[str]):
    self._temporary, self._place, self._notes = temporary, place, notes
    self._writer: Writer | None = None
    self.bright = SteadyRange(float(place.pairing.rate))
    """Of the result."""
    self.count = 0
    self.began = time.monotonic()
    """When the first frame was fused, so that compilation does not count."""

  def add(self, image: np.ndarray, seconds: float) -> None:
    """The next frame, [H, W, 1 or 3] uint8, shown from `seconds` on."""
    if self._writer is None:
      self._writer = Writer(self._temporary, image.shape[:2], self._place, self._notes)
      self.began = time.monotonic()
    self._writer.add(image, seconds)
    self.count += 1

  def finish(self) -> None:
    """Completes the file.

    Raises:
      VideoError: it has no frame, or cannot be played.
    """
    if self._writer is None:
      raise apart(self._place.ir, self._place.vi)
    self._writer.close()
    check_playable(self._temporary)

  def salvage(self) -> bool:
    """Whether the frames so far can be played, and should be put in place."""
    if self._writer is None or self.count == 0:
      return False
    try:
      with contextlib.suppress(VideoError):  # a full disk; what is there may be played still
        self._writer.close()
      check_playable(self._temporary)
    except (VideoError, OSError):
      return False
    return True
