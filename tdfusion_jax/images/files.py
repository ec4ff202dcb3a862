"""Reading and writing image files for fusion: gray, RGB, RGBA and palette of 8 to 32 bits, paired by name."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from tdfusion_jax.files import UsageError, atomic_write

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
_MAX_PIXELS = 150_000_000  # Pillow refuses on its own from 179 million
_ORIENTATION = 0x0112  # EXIF


class ImageError(UsageError):
  """An image that cannot be used, with the file and the reason."""


class Scale(NamedTuple):
  """How a file's numbers become [0, 1]."""

  kind: str = "linear"
  """linear: the whole range of the file's type; percentile: `low` and `high` percent of the image's values become 0
  and 1; range: the values `low` and `high` do."""
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
      f"scale {text!r} is none of linear, percentile, percentile:LOW:HIGH, LOW:HIGH with LOW < HIGH."
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
  """[H, W, 1] or [H, W, 3] float32 in [0, 1]: gray files stay gray, colour and palette become RGB, alpha is dropped.

  EXIF orientation is applied. Of a file with several images the first is read.

  Args:
    path: 8 or 16 bits, or 32-bit whole or floating point numbers.
    scale: by default 8 bits are divided by 255, more whole bits by 65535 whatever range they use,
      and floats must lie in [0, 1].

  Raises:
    ImageError: missing, corrupt, larger than 150 megapixels, or values that `scale` does not fit.
  """
  return read_pixels(path, scale).whole()


def read_pixels(path: str | Path, scale: Scale = LINEAR) -> Pixels:
  """`read_image` without converting: a quarter of the memory for 8 bits."""
  path = Path(path)
  try:
    with Image.open(path) as image:
      return _pixels_of(image, str(path), scale)
  except FileNotFoundError:
    raise ImageError(f"{path} does not exist.") from None
  except (
    OSError,
    UnidentifiedImageError,
    ValueError,
    SyntaxError,
    Image.DecompressionBombError,
  ) as error:
    if isinstance(error, ImageError):
      raise
    raise ImageError(f"{path} cannot be read as an image: {error}") from error


def image_size(path: str | Path) -> tuple[int, int] | None:
  """(height, width) as the file's head says, upright; None if it cannot be read."""
  try:
    with Image.open(path) as image:
      turned = image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
      return (image.width, image.height) if turned else (image.height, image.width)
  except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
    return None


def from_pil(image: Image.Image, name: str, scale: Scale = LINEAR) -> np.ndarray:
  """A PIL image as `read_image` gives it; `name` is for errors. The image itself stays as it is."""
  if image.getexif().get(_ORIENTATION, 1) != 1:
    image = ImageOps.exif_transpose(image)
  return _pixels_of(image, name, scale).whole()


def _pixels_of(image: Image.Image, name: str, scale: Scale) -> Pixels:
  if image.width * image.height > _MAX_PIXELS:
    raise ImageError(
      f"{name}: {image.width}x{image.height} pixels are more than {_MAX_PIXELS // 10**6} million."
    )
  ImageOps.exif_transpose(
    image, in_place=True
  )  # in place, since what it returns otherwise is a copy
  if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
    mode = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    image = image if image.mode == mode else image.convert(mode)
  return pixels(np.asarray(image), name, scale)


def to_unit(array: np.ndarray, name: str, scale: Scale = LINEAR) -> np.ndarray:
  """Numbers of any type as [H, W, C] float32 in [0, 1], see `read_image`; `name` is for errors.

  Args:
    array: [H, W] or [H, W, C], uint8, uint16, int32 or floating point.
  """
  return pixels(array, name, scale).whole()


def pixels(array: np.ndarray, name: str, scale: Scale = LINEAR) -> Pixels:
  """Looks at the numbers of [H, W] or [H, W, C] and says what becomes 0 and 1; errors as in `read_image`."""
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


def write_image(path: str | Path, image: np.ndarray) -> None:
  """Writes [H, W, 1] or [H, W, 3] as 8 bits, whole or not at all: uint8 as it is, [0, 1] rounded and clipped.

  Raises:
    ImageError: it could not be written.
  """
  path = Path(path)
  byte = image if image.dtype == np.uint8 else to_bytes(image)
  try:
    with atomic_write(path) as temporary:
      # Pillow's own level 6 takes three times as long for files 4 % smaller.
      Image.fromarray(byte[..., 0] if byte.shape[-1] == 1 else byte).save(
        temporary, compress_level=3
      )
  except OSError as error:
    raise ImageError(f"{path} cannot be written: {error.strerror or error}.") from error


def to_bytes(image: np.ndarray) -> np.ndarray:
  """[0, 1] as uint8, rounded and clipped."""
  return np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)


def list_pairs(ir_dir: str | Path, vi_dir: str | Path) -> list[tuple[str, Path, Path]]:
  """(name, infrared file, visible file) of two folders, paired by equal file stems, in name order.

  Raises:
    ImageError: a folder is missing or empty, two files share a stem, or files have no partner
      (listed).
  """
  ir, vi = _by_stem(Path(ir_dir)), _by_stem(Path(vi_dir))
  lonely = [f"{ir[n]} has no partner in {vi_dir}" for n in sorted(ir.keys() - vi.keys())]
  lonely += [f"{vi[n]} has no partner in {ir_dir}" for n in sorted(vi.keys() - ir.keys())]
  if lonely:
    more = f"\n  and {len(lonely) - 10} more" if len(lonely) > 10 else ""
    raise ImageError("files are paired by equal names, but\n  " + "\n  ".join(lonely[:10]) + more)
  return [(name, ir[name], vi[name]) for name in sorted(ir)]


def _by_stem(folder: Path) -> dict[str, Path]:
  if not folder.is_dir():
    raise ImageError(f"{folder} is not a folder.")
  found: dict[str, Path] = {}
  for path in sorted(folder.iterdir()):
    if path.suffix.lower() in EXTENSIONS and not path.name.startswith("."):
      if path.stem in found:
        raise ImageError(f"{found[path.stem]} and {path} have the same name.")
      found[path.stem] = path
  if not found:
    raise ImageError(f"{folder} holds no image ({', '.join(EXTENSIONS)}).")
  return found
