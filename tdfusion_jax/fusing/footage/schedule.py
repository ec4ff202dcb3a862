"""Which frames of two video files meet, known before any is decoded: what divides them needs."""

import itertools
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from tdfusion_jax.fusing.footage.decoding import Index
from tdfusion_jax.fusing.footage.frames import Frame
from tdfusion_jax.fusing.footage.pairing import Pair, Pairing
from tdfusion_jax.fusing.footage.pyav import VideoError
from tdfusion_jax.fusing.footage.sources import Footage


class _Moment(NamedTuple):
  """A frame of which only the time is known."""

  seconds: float
  number: int


class Moments:
  """The times of a video's frames; for `Pairing` what the video itself is.

  Args:
    footage: whose first frame has been read.

  Raises:
    VideoError: its times are not known without decoding it.
  """

  stream = None

  def __init__(self, footage: Footage):
    self.name, self.rate = footage.name, footage.rate
    self.index: Index | None = footage.index()
    """Where the frames are."""
    seconds = footage.moments(self.index)
    if not seconds:
      raise VideoError(
        f"{self.name} does not state when each of its frames is shown, so that it cannot be "
        "divided; fuse it without --shard and --cluster."
      )
    self._seconds = seconds

  def __iter__(self) -> Iterator[_Moment]:
    for number, seconds in enumerate(self._seconds):
      yield _Moment(seconds, number)

  def times(self) -> list[float]:
    """See `Footage.times`."""
    return [seconds - self._seconds[0] for seconds in self._seconds]

  def count(self) -> int:
    """Frames."""
    return len(self._seconds)


class Schedule(NamedTuple):
  """All pairs of two videos."""

  meetings: list[Pair]
  """With the numbers of frames, counted from 0, in the place of the frames."""
  sides: tuple[Moments, Moments]
  """Infrared, visible."""
  rate: Fraction
  """Frames per second, the mean."""
  notes: list[str]
  """See `Pairing.notes`."""


def schedule(sides: tuple[Moments, Moments], shift: float, most: int | None) -> Schedule:
  """The pairs that `Pairing` makes of two videos, from their times alone.

  Args:
    sides: infrared, visible.
    shift: as for `Pairing`.
    most: stop after so many.
  """
  pairing = Pairing(*sides, shift)
  meetings = [
    Pair(pair.ir.number, pair.vi.number, pair.seconds) for pair in itertools.islice(pairing, most)
  ]
  return Schedule(meetings, sides, pairing.rate, pairing.notes())


def pairs_of(
  ir: Footage, vi: Footage, planned: Schedule, meetings: Sequence[Pair]
) -> Iterator[Pair]:
  """Some pairs of a schedule that follow each other, with their frames.

  Args:
    ir: infrared.
    vi: visible.
    planned: of both.
    meetings: those of its meetings that are read.

  Raises:
    ImageError: a frame cannot be read.
  """
  if not meetings:
    return
  first, (of_ir, of_vi) = meetings[0], planned.sides
  sides = _At(ir, first.ir, of_ir.index), _At(vi, first.vi, of_vi.index)
  for meeting in meetings:
    yield Pair(sides[0].take(meeting.ir), sides[1].take(meeting.vi), meeting.seconds)


class _At:
  """A video that is read forwards, frame by number."""

  def __init__(self, footage: Footage, number: int, index: Index | None):
    self._footage, self._number = footage, number - 1
    self._frames = footage.since(number, index)
    self._frame: Any = None

  def take(self, number: int) -> Frame:
    while self._number < number:
      self._frame = next(self._frames, None)
      self._number += 1
      if self._frame is None:
        raise VideoError(f"{self._footage.name} ends before frame {number + 1}, which it states.")
    return self._frame
