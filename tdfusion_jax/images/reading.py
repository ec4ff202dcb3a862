"""Image files: opened under one limit, read for fusion.

Read are gray, RGB, RGBA and palette files of 8 to 32 bits.
"""

import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from PIL import Image, ImageOps

from tdfusion_jax.files import UsageError

MAX_PIXELS = 200_000_000
MAX_SIDE = 65_536
_ORIENTATION = 0x0112  # EXIF

_open_lock = threading.Lock()
_T = TypeVar("_T")


class ImageError(UsageError):
  """An image that cannot be used, with the file and the reason."""


class Scale(NamedTuple):
  """How a file's numbers become [0, 1]."""

  kind: str = "linear"
  """linear: the whole range of the file's type; percentile: `low` and `high` percent of the image's
  values become 0 and 1; range: the values `low` and `high` do."""
  low: float = 0.0
  high: float = 100.0


LINEAR = Scale()


def parse_scale(text: str) -> Scale:
  """`linear`, `percentile` (1 to 99), `percentile:LOW:HIGH`, or `LOW:HIGH` in the file's own units.

  Raises:
    ImageError: anything else.
  """
  name, *ends = text.split(":") if text.startswith("percentile") else ("range", *text.split(":"))
  if text == "linear":
    return LINEAR
  if text == "percentile":
    return Scale("percentile", 1, 99)
  try:
    low, high = (float(end) for end in ends)
  except ValueError:
    low = high = np.nan
  if name not in ("range", "percentile") or not (np.isfinite(low + high) and low < high):
    raise ImageError(
      f"scale {text!r} is none of linear, percentile, percentile:LOW:HIGH, "
      "LOW:HIGH with LOW < HIGH."
    )
  if name == "percentile" and not 0 <= low < high <= 100:
    raise ImageError(f"scale {text!r}: percentages are from 0 to 100.")
  return Scale(name, low, high)


class Pixels(NamedTuple):
  """An image in its file's own numbers, converted a few rows at a time."""

  array: np.ndarray
  """[H, W, 1 or 3] of uint8, uint16, int32 or floating point."""
  bottom: float
  top: float
  """The numbers that become 0 and 1."""

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


def read_image(path: str | Path, scale: Scale = LINEAR) -> np.ndarray:
  """[H, W, 1] or [H, W, 3] float32 in [0, 1] from a file.

  Gray files stay gray, colour and palette become RGB, alpha is dropped. EXIF orientation is
  applied. Of a file with several images the first is read.

  Args:
    path: 8 or 16 bits, or 32-bit whole or floating point numbers.
    scale: by default 8 bits are divided by 255, more whole bits by 65535 whatever range they use,
      and floats must lie in [0, 1].

  Raises:
    ImageError: missing, corrupt, larger than 200 megapixels, or values that `scale` does not fit.
  """
  return read_pixels(path, scale).whole()


def read_pixels(path: str | Path, scale: Scale = LINEAR) -> Pixels:
  """`read_image` without converting: a quarter of the memory for 8 bits."""
  return decode(path, lambda image: _pixels_of(image, str(path), scale))


def open_image(
  path: str | Path, content: bytes | None = None, formats: tuple[str, ...] | None = None
) -> Image.Image:
  """The image, not yet decoded; the size that it claims is within `MAX_PIXELS` and `MAX_SIDE`.

  Args:
    path: the file, also for messages.
    content: its bytes where they were read already.
    formats: the only ones to try, as Pillow names them; None for all.

  Raises:
    ImageError: too large.
    OSError: missing, or no image.
  """
  # Pillow's own limit is a process-wide setting and only warns: ours replaces it while the header
  # is read.
  with _open_lock:
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
      image = Image.open(path if content is None else io.BytesIO(content), formats=formats)
    finally:
      Image.MAX_IMAGE_PIXELS = limit
  try:
    _check_size(image, str(path))
  except ImageError:
    image.close()
    raise
  return image


def decode(
  path: str | Path,
  convert: Callable[[Image.Image], _T],
  content: bytes | None = None,
  formats: tuple[str, ...] | None = None,
) -> _T:
  """`convert(image)` of the opened image; every failure is an `ImageError` that names the file.

  Args:
    path: the file, also for messages.
    convert: what to make of the image, which is closed afterwards.
    content: see `open_image`.
    formats: see `open_image`.
  """
  try:
    with open_image(path, content, formats) as image:
      return convert(image)
  except FileNotFoundError:
    raise ImageError(f"{path} does not exist.") from None
  except UsageError:  # an own message of `open_image` or `convert`
    raise
  except Exception as error:  # decoders of damaged files raise nearly anything
    raise ImageError(f"{path}: cannot be read as an image ({error})") from error


def _check_size(image: Image.Image, name: str) -> None:
  width, height = image.size
  if width * height > MAX_PIXELS:
    raise ImageError(
      f"{name}: {width}x{height} pixels, more than the limit of {MAX_PIXELS // 10**6} million"
    )
  if max(width, height) > MAX_SIDE:
    raise ImageError(f"{name}: {width}x{height} pixels, a side longer than the limit of {MAX_SIDE}")


def image_size(path: str | Path) -> tuple[int, int] | None:
  """(height, width) as the file's head states, upright; None if it cannot be read."""
  try:
    with open_image(path) as image:
      turned = image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
      return (image.width, image.height) if turned else (image.height, image.width)
  except (OSError, ValueError, SyntaxError):
    return None


def from_pil(image: Image.Image, name: str, scale: Scale = LINEAR) -> np.ndarray:
  """A PIL image as `read_image` gives it; `name` is for errors. The image itself stays as it is."""
  if image.getexif().get(_ORIENTATION, 1) != 1:
    image = ImageOps.exif_transpose(image)
  return _pixels_of(image, name, scale).whole()


def _pixels_of(image: Image.Image, name: str, scale: Scale) -> Pixels:
  _check_size(image, name)  # of an image that `open_image` did not open
  ImageOps.exif_transpose(image, in_place=True)  # what it returns otherwise is a copy
  if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
    mode = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    image = image if image.mode == mode else image.convert(mode)
  return pixels(np.asarray(image), name, scale)


def to_unit(array: np.ndarray, name: str, scale: Scale = LINEAR) -> np.ndarray:
  """Numbers of any type as [H, W, C] float32 in [0, 1].

  Args:
    array: [H, W] or [H, W, C], uint8, uint16, int32 or floating point.
    name: for errors.
    scale: see `read_image`.

  Raises:
    ImageError: see `pixels`.
  """
  return pixels(array, name, scale).whole()


def pixels(array: np.ndarray, name: str, scale: Scale = LINEAR) -> Pixels:
  """An array with the numbers that become 0 and 1, found by looking at all of it.

  Args:
    array: [H, W] or [H, W, C], uint8, uint16, int32 or floating point.
    name: for errors.
    scale: see `read_image`.

  Raises:
    ImageError: no pixels, values that are not finite, or that `scale` does not fit.
  """
  array = array if array.ndim == 3 else array[..., None]
  if 0 in array.shape:
    raise ImageError(f"{name} is empty.")
  if array.dtype == np.uint8 and scale.kind == "linear":
    return Pixels(array, 0, 255)
  low, high = float(array.min()), float(array.max())
  if not np.isfinite(low + high):
    raise ImageError(f"{name} holds values that are not finite.")
  if scale.kind == "percentile":
    bottom, top = (float(x) for x in np.percentile(array, [scale.low, scale.high]))
    if top <= bottom:  # a few hot pixels on an even ground
      bottom, top = low, high
    return Pixels(array, bottom, top)
  if scale.kind == "range":
    return Pixels(array, scale.low, scale.high)
  whole = np.issubdtype(array.dtype, np.integer)
  bottom, top = 0.0, 65535.0 if whole else 1.0
  if low < bottom or high > top:
    reason = "do not fit 16 bits" if whole else "leave [0, 1]"
    raise ImageError(
      f"{name}: values from {low:g} to {high:g} {reason}; give a scale (percentile or LOW:HIGH)."
    )
  return Pixels(array, bottom, top)
