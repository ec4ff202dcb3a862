"""Fusing videos: two files, two folders of frames, or two cameras into one file. Needs PyAV (FFmpeg).

F itself has no memory of earlier frames and none is needed: what flickers in fused videos is
normalising every frame by itself. Here each range, of the thermal input and of the result, follows
the scene slowly (`SteadyRange`).
"""

import contextlib
import itertools
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tdfusion_jax.fusing.footage import CODECS, Footage, VideoError, Writer
from tdfusion_jax.images.files import ImageError, Pixels, Scale, pixels, to_bytes

_SECONDS = 2.0  # after which a range has followed a sudden change by two thirds
_OUTSIDE = 0.5  # percent of the pixels darker than black and brighter than white, so that single ones do not count


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
    pairs = zip(self._ends, (low, high), strict=True)
    self._ends = tuple(self._keep * old + (1 - self._keep) * new for old, new in pairs)  # pyright: ignore
    return self._ends  # pyright: ignore


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
  *,
  scale: Scale = Scale(),  # noqa: B008
  stretch: bool = False,
  align: Callable | None = None,
  frames: int | None = None,
  told: Callable[[int], None] = lambda done: None,
) -> Done:
  """Fuses two videos frame by frame into one with the frame times and the sound of the visible one, else infrared's.

  A frame of the visible video meets the infrared frame nearest to it in time. Colour as in
  `fusing.make_fuse_fn`.

  Args:
    fuse: from `fusing.make_fuse_fn`, without stretch.
    ir, vi: closed when done.
    out: .mp4, .mkv, .mov, .avi or .webm; complete when it appears under this name.
    scale: of infrared values; `percentile` follows the scene.
    stretch: stretch the fused brightness to the full range but for half a percent at its ends,
      following the scene.
    align: (ir, vi) -> the same in equal size.
    frames: stop after so many.
    told: called with the number of finished frames.

  Raises:
    VideoError: `out` is a source; frames that cannot be read, written, or differ in size. What was
      fused before that is in `out`.
  """
  out, notes = Path(out), []
  if out.suffix.lower() not in CODECS:
    raise VideoError(f"{out} should end in one of {', '.join(CODECS)}.")
  for source in (ir, vi):
    if source.holds(out):
      raise VideoError(
        f"{out} is part of {source.name}, which the result would replace; name another file."
      )
  _check_names(ir, vi)
  try:
    out.parent.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise VideoError(f"{out.parent} cannot be made: {error.strerror}.") from error
  temporary = out.with_name(f".{os.getpid()}.tmp{out.suffix}")
  unit = _Units(scale, float(vi.rate))
  bright = SteadyRange(float(vi.rate)) if stretch else None
  count, began = 0, time.monotonic()
  writer: Writer | None = None
  broken: ImageError | None = None
  try:
    with ThreadPoolExecutor(1) as decoder:
      pairs = itertools.islice(_pairs(ir, vi), frames)
      waiting, following = None, decoder.submit(next, pairs, None)
      seconds = now = 0.0
      while True:
        try:
          pair = following.result()
        except ImageError as error:
          pair, broken = None, error  # the frame before it is still to be written
        if pair is not None:
          following = decoder.submit(next, pairs, None)
          a, b, now = unit(pair[0]), pixels(pair[1], vi.name).whole(), pair[2]
          if align is not None:
            a, b = align(a, b)
          if a.shape[:2] != b.shape[:2]:
            sizes = " and ".join(f"{x.shape[1]}x{x.shape[0]}" for x in (a, b))
            raise VideoError(
              f"{ir.name} and {vi.name} differ in size ({sizes}); register them first, or see --align."
            )
          if writer is not None and (b.shape[0], b.shape[1]) != writer.size:
            raise VideoError(f"{vi.name}: frame {count + 1} has another size than the first.")
          started = fuse(a[None], b[None])
        if waiting is not None:
          image = _bytes(np.asarray(waiting)[0], bright)
          if writer is None:
            writer, began = Writer(temporary, image.shape[:2], vi, ir, notes), time.monotonic()
          writer.add(image, seconds)
          count += 1
          told(count)
        if pair is None:
          if broken is not None:
            raise broken
          break
        waiting, seconds = started, now
    if writer is None:
      raise VideoError(f"{ir.name} and {vi.name} have no frames in common.")
    writer.close()
    os.replace(temporary, out)
  except (KeyboardInterrupt, ImageError) as error:
    if writer is None:
      raise
    try:  # what is done can be looked at
      writer.close()
      os.replace(temporary, out)
    except (VideoError, OSError):
      raise error from None
    if isinstance(error, KeyboardInterrupt):
      raise
    raise VideoError(f"{error} (The {count} frames before it are in {out}.)") from error
  finally:
    with contextlib.suppress(OSError):
      temporary.unlink(missing_ok=True)
    ir.close()
    vi.close()
  return Done(count, time.monotonic() - began, notes)


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


def _check_names(ir: Footage, vi: Footage) -> None:
  """Frames in two folders belong together by place; where they share names, a missing one would shift all others."""
  names = [set(source.names) for source in (ir, vi)]
  shared, lonely = names[0] & names[1], sorted(names[0] ^ names[1])
  if shared and lonely:
    where = [ir.name if name in names[0] else vi.name for name in lonely]
    shown = ", ".join(
      f"{name} (in {folder} only)" for name, folder in zip(lonely[:3], where, strict=False)
    )
    raise VideoError(
      f"{len(lonely)} frames have no partner: {shown}{', ...' if len(lonely) > 3 else ''}."
    )


def _pairs(ir: Footage, vi: Footage) -> Iterator[tuple[np.ndarray, np.ndarray, float]]:
  """Of every visible frame, the infrared frame nearest in time, and the time; ends with the shorter of the two."""
  half = 0.5 / float(ir.rate)
  others = iter(ir)
  here = next(others, None)
  following = next(others, None)
  first: tuple[float, float] | None = None
  for frame in vi:
    if here is None:
      return
    if first is None:
      first = (here.seconds, frame.seconds)  # cameras and cut files start at any time
    now = frame.seconds - first[1]
    while following is not None and following.seconds - first[0] <= now + half:
      here, following = following, next(others, None)
    if following is None and now - (here.seconds - first[0]) > 2 * half:
      return
    yield here.array, frame.array, now
