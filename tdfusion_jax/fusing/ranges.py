"""Ranges of values that follow a video's scene slowly, so that nothing flickers."""

import numpy as np

from tdfusion_jax.fusing.footage.frames import Frame
from tdfusion_jax.images.scaling import Pixels, Scale
from tdfusion_jax.images.writing import to_bytes

_SECONDS = 2.0  # after which a range has followed a sudden change by two thirds
SETTLED = 10 * _SECONDS
"""Seconds after which what a range began with counts for less than 0.00005."""
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


class Units:
  """Infrared frames with a range that is steady over time."""

  def __init__(self, scale: Scale, rate: float):
    self._scale, self._steady = scale, SteadyRange(rate)

  def __call__(self, frame: Frame, name: str) -> Pixels:
    """The next frame's pixels, with the range to use."""
    found = frame.pixels(name, self._scale)
    if self._scale.kind == "percentile":
      bottom, top = self._steady.follow(found.bottom, found.top)
      found = found._replace(bottom=bottom, top=top)
    return found


def bytes_of(fused: np.ndarray, bright: SteadyRange | None) -> np.ndarray:
  """A fused frame as uint8, stretched to the range that `bright` follows, if there is one."""
  if bright is not None:
    gray = fused.mean(axis=-1)
    low, high = bright.follow(*(float(x) for x in np.percentile(gray, [_OUTSIDE, 100 - _OUTSIDE])))
    fused = (fused - low) / max(high - low, 1e-6)
  return to_bytes(fused)
