"""Fusing videos: two files, two folders of frames, or two cameras into one file.

Needs PyAV (FFmpeg).

F itself has no memory of earlier frames and none is needed: what flickers in fused videos is
normalising every frame by itself. Here each range, of the thermal input and of the result, follows
the scene slowly (`SteadyRange`).
"""

import contextlib
import itertools
import os
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tdfusion_jax.fusing.footage.pairing import check_names, pairs
from tdfusion_jax.fusing.footage.pyav import VideoError
from tdfusion_jax.fusing.footage.sources import Footage
from tdfusion_jax.fusing.footage.writer import CODECS, Writer
from tdfusion_jax.images.reading import ImageError, Pixels, Scale, pixels
from tdfusion_jax.images.writing import to_bytes

_SECONDS = 2.0  # after which a range has followed a sudden change by two thirds
# Percent of the pixels darker than black and brighter than white: single ones do not count.
_OUTSIDE = 0.5


class SteadyRange:
  """A range of values that follows a scene slowly: an average of each frame's, fading with time.

  Args:
    rate: frames per second.
  """

  def __init__(self, rate: float):
    self._keep = float(np.exp(-1 / (_SECONDS * rate)))
    self._ends: tuple[float, float] | None = None

  def follow(self, low: float, high: float) -> tuple[float, float]:
    """Takes in a frame's own range and returns the one to use."""
    if self._ends is None:
      self._ends = (low, high)
    kept, new = self._keep, 1 - self._keep
    before_low, before_high = self._ends
    self._ends = (kept * before_low + new * low, kept * before_high + new * high)
    return self._ends


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


class Done(NamedTuple):
  """What became of a video."""

  frames: int
  seconds: float
  """That it took, compilation left out."""
  notes: list[str]


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

  The result has the frame times and the sound of the visible one, else infrared's sound. A frame of
  the visible video meets the infrared frame nearest to it in time. Colour as in
  `fusing.make_fuse_fn`.

  Args:
    fuse: from `fusing.make_fuse_fn`, without stretch.
    ir: infrared; closed when done.
    vi: visible; closed when done.
    out: .mp4, .mkv, .mov, .avi or .webm; complete when it appears under this name.
    options: scaling, stretching, aligning, length.
    told: called with the number of finished frames.

  Raises:
    VideoError: `out` is a source; frames that cannot be read, written, or differ in size. What was
      fused before that is in `out`.
  """
  out = Path(out)
  _check_out(out, ir, vi)
  check_names(ir, vi)
  output = _Output(out, ir, vi, options.stretch)
  try:
    with contextlib.closing(_fused(fuse, ir, vi, options)) as frames:
      for fused, seconds in frames:
        output.add(fused, seconds)
        told(output.count)
    if output.count == 0:
      raise VideoError(f"{ir.name} and {vi.name} have no frames in common.")
    output.finish()
  except (KeyboardInterrupt, ImageError) as error:
    if not output.salvage() or isinstance(error, KeyboardInterrupt):
      raise
    raise VideoError(f"{error} (The {output.count} frames before it are in {out}.)") from error
  finally:
    output.discard()
    ir.close()
    vi.close()
  return Done(output.count, time.monotonic() - output.began, output.notes)


def _check_out(out: Path, ir: Footage, vi: Footage) -> None:
  """A name that can be written and is no source; its folder is made."""
  if out.suffix.lower() not in CODECS:
    raise VideoError(f"{out} should end in one of {', '.join(CODECS)}.")
  for source in (ir, vi):
    if source.holds(out):
      raise VideoError(
        f"{out} is part of {source.name}, which the result would replace; name another file."
      )
  try:
    out.parent.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise VideoError(f"{out.parent} cannot be made: {error.strerror}.") from error


def _fused(
  fuse: Callable, ir: Footage, vi: Footage, options: VideoOptions
) -> Generator[tuple[np.ndarray, float], None, None]:
  """(fused frame [H, W, 1 or 3] in [0, 1], its time in seconds).

  While one frame is computed, the next one is decoded and the one before it is handed on. A frame
  that cannot be read raises its error when all frames before it have been handed on.
  """
  unit = _Units(options.scale, float(vi.rate))
  first: tuple[int, ...] | None = None
  waiting: tuple[Any, float] | None = None
  broken: ImageError | None = None
  with ThreadPoolExecutor(1) as decoder:
    both = itertools.islice(pairs(ir, vi), options.frames)
    following = decoder.submit(next, both, None)
    for number in itertools.count(1):
      started = None
      try:
        pair = following.result()
        if pair is not None:
          following = decoder.submit(next, both, None)
          a, b = _prepared(pair, unit, ir, vi, options.align)
          first = first or b.shape[:2]
          if b.shape[:2] != first:
            raise VideoError(f"{vi.name}: frame {number} has another size than the first.")
          started = fuse(a[None], b[None]), pair[2]
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
  pair: tuple[np.ndarray, np.ndarray, float],
  unit: "_Units",
  ir: Footage,
  vi: Footage,
  align: Callable | None,
) -> tuple[np.ndarray, np.ndarray]:
  """Both frames in [0, 1] and of equal size."""
  a, b = unit(pair[0]), pixels(pair[1], vi.name).whole()
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

  def __init__(self, out: Path, ir: Footage, vi: Footage, stretch: bool):
    self._out, self._ir, self._vi = out, ir, vi
    self._temporary = out.with_name(f".{os.getpid()}.tmp{out.suffix}")
    self._bright = SteadyRange(float(vi.rate)) if stretch else None
    self._writer: Writer | None = None
    self.notes: list[str] = []
    self.count = 0
    self.began = time.monotonic()
    """When the first frame was fused, so that compilation does not count."""

  def add(self, fused: np.ndarray, seconds: float) -> None:
    """The next frame, [H, W, 1 or 3] in [0, 1], shown from `seconds` on."""
    image = _bytes(fused, self._bright)
    if self._writer is None:
      self._writer = Writer(self._temporary, image.shape[:2], self._vi, self._ir, self.notes)
      self.began = time.monotonic()
    self._writer.add(image, seconds)
    self.count += 1

  def finish(self) -> None:
    """Puts the complete file in its place."""
    assert self._writer is not None, "add first"
    self._writer.close()
    os.replace(self._temporary, self._out)

  def salvage(self) -> bool:
    """Whether the frames so far could be put in place, to be looked at."""
    if self._writer is None:
      return False
    try:
      self.finish()
    except (VideoError, OSError):
      return False
    return True

  def discard(self) -> None:
    """Removes what is not in its place."""
    with contextlib.suppress(OSError):
      self._temporary.unlink(missing_ok=True)


class _Units:
  """Infrared frames in [0, 1], by a range that is steady over time."""

  def __init__(self, scale: Scale, rate: float):
    self._scale, self._steady = scale, SteadyRange(rate)

  def __call__(self, array: np.ndarray) -> np.ndarray:
    found = pixels(array, "an infrared frame", self._scale)
    if self._scale.kind == "percentile":
      found = Pixels(array, *self._steady.follow(found.bottom, found.top))
    return found.whole()


def _bytes(fused: np.ndarray, bright: SteadyRange | None) -> np.ndarray:
  if bright is not None:
    gray = fused.mean(axis=-1)
    low, high = bright.follow(*(float(x) for x in np.percentile(gray, [_OUTSIDE, 100 - _OUTSIDE])))
    fused = (fused - low) / max(high - low, 1e-6)
  return to_bytes(fused)
