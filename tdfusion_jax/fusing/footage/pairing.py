"""Which infrared frame meets which visible one."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any, NamedTuple, Protocol, runtime_checkable

from tdfusion_jax.fusing.footage.decoding import DEFAULT_RATE, Stream
from tdfusion_jax.fusing.footage.pyav import VideoError
from tdfusion_jax.fusing.footage.sources import Footage

_ROUNDING = 1e-6  # seconds


class Pair(NamedTuple):
  """What is fused into one frame."""

  ir: Any
  """`Frame`, or what else the side has that is shown at a time."""
  vi: Any
  seconds: float
  """From the first pair on."""


@runtime_checkable
class Side(Protocol):
  """What is paired: `Footage`, or its times alone."""

  @property
  def name(self) -> str:
    """For messages."""
    ...

  @property
  def rate(self) -> Fraction | None:
    """Frames per second; None of images without a rate."""
    ...

  @property
  def stream(self) -> Stream | None:
    """What FFmpeg decodes."""
    ...

  def __iter__(self) -> Iterator[Any]:
    """Frames, each with its `seconds`, in order."""
    ...

  def times(self) -> list[float] | None:
    """See `Footage.times`."""
    ...

  def count(self) -> int | None:
    """See `Footage.count`."""
    ...


class Pairing:
  """The pairs of two videos, in order; ends with the shorter of the two.

  A visible frame meets the infrared frame nearest in time. Images without a rate of their own have
  no time: they are paired by number, at the other's times. Two cameras have the machine's clock.

  Args:
    ir: infrared.
    vi: visible.
    shift: seconds that infrared's clock is behind; added to its times.
  """

  def __init__(self, ir: Side, vi: Side, shift: float = 0.0):
    self._ir, self._vi, self._shift = ir, vi, shift
    self.by_number = ir.rate is None or vi.rate is None
    self.rate = vi.rate or ir.rate or DEFAULT_RATE
    """Frames per second of the result, the mean."""
    self.zero: dict[str, float] = {}
    """When the first pair is shown, in seconds of each video's clock, by `ir` and `vi`; known from
    then on."""
    streams = [source.stream for source in (ir, vi) if source.stream is not None]
    if len(streams) == 2 and all(stream.camera for stream in streams):
      # Opening the second takes a while, in which the first records already.
      for stream in streams:
        stream.start = 0.0
    self._ended = ""
    self._early = self._fused = self._met = self._taken = 0
    self._exhausted = False  # infrared

  def __iter__(self) -> Iterator[Pair]:
    """Pairs; an ImageError at a frame that cannot be read."""
    return self._by_number() if self.by_number else self._by_time()

  def _take(self, others: Iterator[Any]) -> Any:
    """The next infrared frame."""
    frame = next(others, None)
    self._exhausted = frame is None
    self._taken += frame is not None
    return frame

  def _by_number(self) -> Iterator[Pair]:
    others = iter(self._ir)
    first = 0.0
    for vi in self._vi:
      ir = self._take(others)
      if ir is None:
        self._ended = "ir"
        return
      now = ir.seconds if self._vi.rate is None else vi.seconds
      if not self.zero:
        first = now
        self.zero = {"ir": ir.seconds, "vi": vi.seconds}
      self._fused += 1
      self._met += 1
      yield Pair(ir, vi, now - first)
    self._ended = "vi"

  def _by_time(self) -> Iterator[Pair]:
    period = float(1 / (self._ir.rate or DEFAULT_RATE))
    others = iter(self._ir)
    here, following = self._take(others), self._take(others)
    met = False  # whether `here` has been fused
    first = 0.0
    for vi in self._vi:
      now = vi.seconds - self._shift
      while following is not None and here is not None and _is_nearer(following, here, now):
        here, following, met = following, self._take(others), False
      if here is None or (following is None and now > here.seconds + period - _ROUNDING):
        self._ended = "ir"
        return
      if here.seconds - now > period / 2 + _ROUNDING:
        self._early += 1
        continue
      if not self.zero:
        first = now
        self.zero = {"ir": now, "vi": vi.seconds}
      self._fused += 1
      self._met += not met
      met = True
      yield Pair(here, vi, now - first)
    self._ended = "vi"

  def times(self) -> list[float] | None:
    """Of the frames of the result, were no visible frame without partner; None if not known."""
    return (self._ir if self._vi.rate is None else self._vi).times()

  def notes(self) -> list[str]:
    """What was paired otherwise than frame by frame; after the last pair."""
    found = []
    if self.by_number:
      found += self._of_images()
    if not self._ended:  # stopped before
      return found
    if self._early:
      found.append(f"{self._early} visible frames at the start have no infrared partner: left out")
    total = self._vi.count() if self._ended == "ir" else None
    left = 0 if total is None else total - self._fused - self._early
    if left > 0:
      found.append(f"{left} visible frames at the end have no infrared partner: left out")
    total = self._taken if self._exhausted else self._ir.count()
    unmet = 0 if total is None else total - self._met
    if unmet > 0:
      found.append(f"{unmet} of {unmet + self._met} infrared frames met no visible frame: left out")
    repeated = self._fused - self._met
    if repeated:
      found.append(f"{repeated} visible frames met an infrared frame that another had met before")
    return found

  def _of_images(self) -> list[str]:
    without = [source.name for source in (self._ir, self._vi) if source.rate is None]
    which = " and ".join(without)
    if len(without) == 2:
      return [f"{which} have no rate: {float(self.rate):g} frames a second; see --rate"]
    other = self._ir if self._vi.rate is None else self._vi
    return [
      f"{which} has no rate: its frames are shown at the times of {other.name}'s, "
      f"{float(self.rate):.4g} a second; see --rate"
    ]


def _is_nearer(following: Any, here: Any, now: float) -> bool:
  return abs(following.seconds - now) <= abs(here.seconds - now) + _ROUNDING


def check_names(ir: Footage, vi: Footage) -> None:
  """Frames in two folders belong together by place.

  Where they share names, a missing one would shift all others.

  Raises:
    VideoError: frames of two folders have no partner by name.
  """
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
