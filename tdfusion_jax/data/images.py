"""Reading the images and label images of data sets: 8 bits, as they are stored."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from tdfusion_jax.data.fields import short
from tdfusion_jax.data.source import DatasetError
from tdfusion_jax.images import reading
from tdfusion_jax.images.listing import EXTENSIONS, composed, list_files
from tdfusion_jax.images.reading import ImageError

FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
"""The only ones tried, whatever a file is called: Pillow would run Ghostscript for PostScript."""


def open_image(path: Path) -> Image.Image:
  """The image, not yet decoded; `DatasetError` if it claims to be too large."""
  try:
    return reading.open_image(path, formats=FORMATS)
  except ImageError as error:
    raise DatasetError(str(error)) from None


def decode(path: Path, convert: Callable, content: bytes | None = None) -> np.ndarray:
  """`convert(image)` of `path` (or `content`) as an array; every failure names the file.

  EXIF orientation is not applied, on purpose: it would turn one image of a registered pair only.
  """
  try:
    return reading.decode(path, lambda image: np.array(convert(image)), content, FORMATS)
  except ImageError as error:
    raise DatasetError(str(error)) from None


def _check_8bit(path: Path, image: Image.Image) -> None:
  if image.mode.startswith(("I", "F")):
    raise DatasetError(
      f"{path}: mode {image.mode} has more than 8 bits per channel; convert it to 8 bits first"
    )


def read_gray(path: Path, content: bytes | None = None) -> np.ndarray:
  """[H, W] uint8. Colour files give their BT.601 luminance, three equal channels the channel.

  Raises:
    DatasetError: missing, damaged, too large, or more than 8 bits per channel.
  """

  def convert(image: Image.Image) -> Image.Image:
    _check_8bit(path, image)
    coloured = image.convert("RGB") if image.mode == "P" else image
    return coloured.convert("L")

  return decode(path, convert, content)


def read_visible(path: Path, content: bytes | None = None) -> np.ndarray:
  """[H, W, 3] uint8 RGB, or [H, W] uint8 where the file has one channel. Transparency is dropped.

  Raises:
    DatasetError: see `read_gray`.
  """

  def convert(image: Image.Image) -> Image.Image:
    _check_8bit(path, image)
    return image.convert("L" if image.mode in ("L", "LA", "1") else "RGB")

  return decode(path, convert, content)


def require_equal_size(first: Path, first_size: tuple, second: Path, second_size: tuple) -> None:
  """Raises unless both (height, width) agree."""
  if tuple(first_size) != tuple(second_size):
    a, b = (f"{size[1]}x{size[0]}" for size in (first_size, second_size))
    raise DatasetError(f"sizes differ: {first} is {a}, {second} is {b} (width x height)")


def files_by_stem(folder: Path, extensions: tuple[str, ...] = EXTENSIONS) -> dict[str, Path]:
  """Files of a folder by stem, in name order; `DatasetError` for two files of one stem."""
  listing = list_files(folder, extensions)
  for first, second in listing.clashes:
    raise DatasetError(f"two files share a name: {first} and {second}")
  return listing.files


def safe_stem(name: str, origin: Path) -> str:
  """The stem of a file name taken from a label file; refuses anything that is not a plain name."""
  # No file system takes more than 255 bytes.
  enormous = len(name.encode("utf-8", "replace")) > 255
  if name in ("", ".", "..") or any(letter in name for letter in "\x00/\\:") or enormous:
    raise DatasetError(f"{origin}: {short(name)} is not a plain file name")
  name = composed(name)
  suffix = Path(name).suffix
  return name[: -len(suffix)] if suffix.lower() in EXTENSIONS else name
