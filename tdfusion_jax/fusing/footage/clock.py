"""Times of frames: put in order as they are read, fitted to what a file can say."""

from collections.abc import Sequence
from fractions import Fraction

FINE = Fraction(1, 90000)  # of a second: frame times that fit all usual rates
_AVI_TERM = 65535  # MPEG-4 stores its rate as two numbers of 16 bits
_AVI_ERROR = 0.005  # seconds by which a frame may be shown early or late
_AVI_RATES = (30, 50, 60, 100)


def fitted(rate: Fraction, largest: int = _AVI_TERM) -> Fraction:
  """The fraction next to `rate` of which neither term exceeds `largest`."""
  rate = min(max(rate, Fraction(1, largest)), Fraction(largest))
  if rate.numerator <= largest and rate.denominator <= largest:
    return rate
  if rate < 1:
    return 1 / fitted(1 / rate, largest)
  most = max(1, int(largest / rate))
  found = rate.limit_denominator(most)
  while found.numerator > largest:
    most -= 1
    found = rate.limit_denominator(most)
  return found


def avi_rate(rate: Fraction, times: Sequence[float] | None) -> Fraction:
  """Frames per second of an .avi file, in which each frame lasts equally long.

  Longer ones are followed by empty ones, so uneven times need a rate at which each is met.

  Args:
    rate: the mean.
    times: of all frames, in order, from the first on; None where they are not known.
  """
  rate = fitted(rate)
  for wanted in (rate, *(Fraction(r) for r in _AVI_RATES if r > rate)):
    if times is not None and _meets(wanted, times):
      return wanted
  # A hundred frames a second meet all times to within `_AVI_ERROR`, unless they are closer.
  factor = max(1, round(100 / rate))
  return Fraction(100) if rate < 100 else fitted(rate * factor)


def _meets(rate: Fraction, times: Sequence[float]) -> bool:
  ticks = [round(seconds * rate) for seconds in times]
  near = all(
    abs(seconds - tick / rate) <= _AVI_ERROR for seconds, tick in zip(times, ticks, strict=True)
  )
  return near and all(a < b for a, b in zip(ticks, ticks[1:], strict=False))


class Ascending:
  """Times that rise from frame to frame, whatever a file says.

  Recordings that were joined, or a clock that was set, let them jump back; from there on frames
  follow at the mean rate.
  """

  def __init__(self, rate: Fraction):
    self._period, self._last, self._shift = float(1 / rate), None, 0.0
    self.jumps = 0

  def __call__(self, seconds: float | None) -> float:
    """The time of the next frame; None is one that the file gives no time."""
    last = self._last
    if seconds is None:
      now = 0.0 if last is None else last + self._period
    else:
      now = seconds + self._shift
      if last is not None and now <= last:
        self._shift += last + self._period - now
        now = last + self._period
        self.jumps += 1
    self._last = now
    return now
