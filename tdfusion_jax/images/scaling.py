"""How the numbers of a file become [0, 1]."""

from typing import NamedTuple

import numpy as np

from tdfusion_jax.files import UsageError
from tdfusion_jax.images.opening import ImageError


class Scale(NamedTuple):
  """How a file's numbers become [0, 1], and which of them."""

  kind: str = "linear"
  """linear: the whole range of the file's type; percentile: `low` and `high` percent of the image's
  values become 0 and 1; range: the values `low` and `high` do."""
  low: float = 0.0
  high: float = 100.0
  celsius: bool = False
  """`low` and `high` are degrees: a radiometric file's counts become degrees first."""
  channels: tuple[int, ...] = ()
  """One or three channels to take, counted from 1; none: the picture, as every viewer shows it."""
  fill: bool = False
  """What is no data (NaN, or the value that the file declares) becomes the lowest other value;
  otherwise such a file is refused."""
  nodata: float | None = None
  """A value that is no data besides."""

  @property
  def counts(self) -> bool:
    """Whether a radiometric file gives its counts: they have no range of their own."""
    return self.kind != "linear" or self.celsius


LINEAR = Scale()
_FORMS = "linear, percentile, percentile:LOW:HIGH, LOW:HIGH with LOW < HIGH, celsius:LOW:HIGH"


def parse_scale(text: str, channels: str = "", nodata: str = "") -> Scale:
  """What the options of the command line say.

  Args:
    text: `linear`, `percentile` (1 to 99), `percentile:LOW:HIGH`, `LOW:HIGH` in the file's own
      units, or `celsius:LOW:HIGH` of radiometric files.
    channels: "4" or "1,2,3": the channels to take; "" for the picture.
    nodata: "fill", or a value that is no data; "" to refuse files with such values.

  Raises:
    UsageError: anything else.
  """
  scale = _range(text)
  return scale._replace(channels=_channels(channels), fill=bool(nodata), nodata=_nodata(nodata))


def _range(text: str) -> Scale:
  kinds = ("percentile", "celsius")
  name, *ends = text.split(":") if text.startswith(kinds) else ("range", *text.split(":"))
  if text == "linear":
    return LINEAR
  if text == "percentile":
    return Scale("percentile", 1, 99)
  try:
    low, high = (float(end) for end in ends)
  except ValueError:
    low = high = np.nan
  if name not in ("range", *kinds) or not (np.isfinite(low + high) and low < high):
    raise UsageError(f"scale {text!r} is none of {_FORMS}.")
  if name == "percentile" and not 0 <= low < high <= 100:
    raise UsageError(f"scale {text!r}: percentages are from 0 to 100.")
  return Scale("range", low, high, celsius=True) if name == "celsius" else Scale(name, low, high)


def _channels(text: str) -> tuple[int, ...]:
  parts = text.split(",") if text else []
  if len(parts) not in (0, 1, 3) or not all(part.strip().isdecimal() for part in parts):
    raise UsageError(f"channels {text!r}: one number or three, counted from 1, such as 4 or 1,2,3.")
  numbers = tuple(int(part) for part in parts)
  if 0 in numbers:
    raise UsageError(f"channels {text!r}: they are counted from 1.")
  return numbers


def _nodata(text: str) -> float | None:
  if text in ("", "fill"):
    return None
  try:
    return float(text)
  except ValueError:
    raise UsageError(f"--nodata {text}: fill, or a number.") from None


class Pixels(NamedTuple):
  """An image in its file's own numbers, converted a few rows at a time."""

  array: np.ndarray
  """[H, W, 1 or 3], whole or floating point numbers."""
  bottom: float
  top: float
  """The numbers that become 0 and 1."""
  remarks: tuple[str, ...] = ()
  """What was left out of the file, or looks wrong with it: a line each."""

  def rows(self, start: int, stop: int) -> np.ndarray:
    """Rows as [stop - start, W, C] float32 in [0, 1]."""
    part = self.array[start:stop]
    if part.dtype == np.uint8 and (self.bottom, self.top) == (0, 255):
      unit = part.astype(np.float32)
      unit /= 255
      return unit
    if self.top <= self.bottom:  # a flat image has no range to stretch
      return np.full(part.shape, 0.5, np.float32)
    unit = (part.astype(np.float64) - self.bottom) / (self.top - self.bottom)
    return np.clip(unit, 0, 1, out=unit).astype(np.float32)

  def whole(self) -> np.ndarray:
    """All rows."""
    return self.rows(0, self.array.shape[0])


def to_unit(array: np.ndarray, name: str, scale: Scale = LINEAR) -> np.ndarray:
  """Numbers of any type as [H, W, C] float32 in [0, 1].

  Args:
    array: [H, W] or [H, W, C], whole or floating point numbers.
    name: for errors.
    scale: see `Scale`.

  Raises:
    ImageError: see `pixels`.
  """
  return pixels(array, name, scale).whole()


def pixels(
  array: np.ndarray,
  name: str,
  scale: Scale = LINEAR,
  *,
  most: float | None = None,
  nodata: float | None = None,
) -> Pixels:
  """An array with the numbers that become 0 and 1, found by looking at all of it.

  Args:
    array: [H, W] or [H, W, C], whole or floating point numbers.
    name: for errors.
    scale: which numbers become 0 and 1, and what becomes of values that are no data.
    most: the largest number that the file's form allows, if it is not that of the type.
    nodata: the value that the file declares as no data.

  Raises:
    ImageError: no pixels, no-data values and no `scale.fill`, or values that `scale` does not fit.
  """
  array = array if array.ndim == 3 else array[..., None]
  if 0 in array.shape:
    raise ImageError(f"{name} is empty.")
  array = _filled(array, name, scale, nodata)
  if array.dtype == np.uint8 and scale.kind == "linear":
    return Pixels(array, 0, 255 if most is None else most)
  if scale.kind == "range":
    return Pixels(array, scale.low, scale.high)
  low, high = float(array.min()), float(array.max())
  if scale.kind == "percentile":
    wide = array.astype(np.float32) if array.dtype == np.float16 else array
    bottom, top = (float(x) for x in np.percentile(wide, [scale.low, scale.high]))
    if top <= bottom:  # a few hot pixels on an even ground
      bottom, top = low, high
    return Pixels(array, bottom, top)
  return Pixels(array, 0.0, _linear_top(array, name, (low, high), most))


def _linear_top(
  array: np.ndarray, name: str, values: tuple[float, float], most: float | None
) -> float:
  """The number that becomes 1 where the file's form alone says so."""
  low, high = values
  whole = array.dtype.kind in "iub"
  if array.dtype.kind == "i" and array.dtype.itemsize == 1:
    raise ImageError(
      f"{name}: signed 8-bit numbers have no usual range; give a scale (percentile or LOW:HIGH)."
    )
  top = most if most is not None and most < 65535 else 65535.0 if whole else 1.0
  if low < 0 or high > top:
    reason = "do not fit 16 bits" if top == 65535 else f"leave [0, {top:g}]"
    raise ImageError(
      f"{name}: values from {low:g} to {high:g} {reason}; give a scale (percentile or LOW:HIGH)."
    )
  return float(top)


def missing(array: np.ndarray, *values: float | None) -> np.ndarray | None:
  """Where an array holds no data: NaN, infinite, or one of `values`; None if nowhere."""
  masks = [~np.isfinite(array)] if array.dtype.kind == "f" else []
  for value in values:
    if value is not None and np.isfinite(value):
      # As the array's own type rounds it: -3.4e38 is written with fewer digits than it has.
      masks.append(array == (array.dtype.type(value) if array.dtype.kind == "f" else value))
  mask = np.logical_or.reduce(masks) if masks else None
  return mask if mask is not None and mask.any() else None


def _filled(array: np.ndarray, name: str, scale: Scale, nodata: float | None) -> np.ndarray:
  """The array without values that are no data.

  Raises:
    ImageError: there are some and `scale` does not say to fill them, or there is nothing else.
  """
  mask = missing(array, nodata, scale.nodata)
  if mask is None:
    return array
  if not scale.fill:
    what = "that are not finite" if nodata is None else f"that are no data ({nodata:g})"
    raise ImageError(
      f"{name} holds values {what}, {mask.mean():.2%} of all; --nodata=fill leaves them out of the "
      "range and gives them the lowest other value."
    )
  if mask.all():
    raise ImageError(f"{name}: holds nothing but values that are no data.")
  array = array.copy()
  array[mask] = array[~mask].min()
  return array
