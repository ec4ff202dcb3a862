"""Reading the images and label images of data sets: 8 bits, upright, nothing cut or guessed."""

from pathlib import Path

import numpy as np
from PIL import Image

from tdfusion_jax.data.fields import short
from tdfusion_jax.data.source import DatasetError
from tdfusion_jax.images import kinds, opening
from tdfusion_jax.images.listing import EXTENSIONS, composed, list_files
from tdfusion_jax.images.opening import ImageError
from tdfusion_jax.images.scaling import missing
from tdfusion_jax.images.stored import Stored, picture

_GUESSES = ("extra-images", "dropped-channel")
"""Remarks on files of which a training would see a part that nobody chose."""


class RefusedError(DatasetError):
  """An image that a training must not use, and which kind of finding it is."""

  def __init__(self, kind: str, text: str):
    super().__init__(text)
    self.kind = kind


def open_image(path: Path) -> Image.Image:
  """The image, not yet decoded and not turned; `DatasetError` if it claims to be too large."""
  try:
    return opening.open_image(path)
  except ImageError as error:
    raise DatasetError(str(error)) from None


def image_size(path: Path) -> tuple[int, int]:
  """(height, width), upright, of the file's head; `DatasetError` if it cannot be read."""
  size = kinds.image_size(path)
  if size is None:
    raise DatasetError(f"{path}: cannot be read as an image")
  return size


def read_stored(
  path: Path, content: bytes | None = None, *, gray: bool = False, indices: bool = False
) -> Stored:
  """All that a file stores (`images.kinds.read_stored`); every failure is a `DatasetError`."""
  try:
    return kinds.read_stored(path, content=content, gray=gray, indices=indices)
  except ImageError as error:
    raise DatasetError(str(error)) from None


def read_picture(
  path: Path, content: bytes | None = None, *, gray: bool = False
) -> tuple[np.ndarray, Stored]:
  """([H, W, 1 or 3] uint8, all that the file stores, with remarks) of an image for training.

  Args:
    path: the file, also for messages.
    content: its bytes where they were read already.
    gray: luminance in place of colours, where that is cheaper.

  Raises:
    RefusedError: more than 8 bits, no-data values, or a picture that is one of several.
    DatasetError: missing, damaged, too large, or of a kind that cannot be read in full.
  """
  stored = read_stored(path, content, gray=gray)
  try:
    shown = picture(stored, str(path))
  except ImageError as error:
    raise RefusedError("dropped-channel", str(error)) from None
  for remark in shown.remarks:
    if remark.kind in _GUESSES:
      raise RefusedError(remark.kind, f"{remark.text}; store the one that is meant")
  return _eight_bits(shown, path), stored._replace(remarks=shown.remarks)


def _eight_bits(shown: Stored, path: Path) -> np.ndarray:
  array = shown.array
  if array.dtype != np.uint8:
    if array.dtype.kind == "f" and np.isnan(array).any():
      raise RefusedError("no-data", f"{path}: holds NaN; fill them and convert it to 8 bits first")
    text = f"{path}: {array.dtype} has more than 8 bits per channel; convert it to 8 bits first"
    raise RefusedError("bit-depth", text)
  if missing(array, shown.nodata) is not None:
    raise RefusedError(
      "no-data", f"{path}: holds its no-data value {shown.nodata:g}; fill it first"
    )
  if shown.most not in (None, 255):
    array = np.round(array * (255 / shown.most)).astype(np.uint8)
  return np.ascontiguousarray(array)


def read_mask(path: Path, content: bytes | None = None) -> np.ndarray:
  """[H, W, channels] of a label image, upright; of a palette the indices.

  Raises:
    DatasetError: see `read_picture`; more than 8 bits are taken.
  """
  stored = read_stored(path, content, indices=True)
  for remark in stored.remarks:
    if remark.kind == "extra-images":
      raise RefusedError(remark.kind, f"{remark.text}; store the one that is meant")
  return stored.array


def read_gray(path: Path, content: bytes | None = None) -> np.ndarray:
  """[H, W] uint8, upright. Colour files give their BT.601 luminance, gray ones are as they are.

  Raises:
    DatasetError: see `read_picture`.
  """
  return luminance_of(read_picture(path, content, gray=True)[0])


def luminance_of(array: np.ndarray) -> np.ndarray:
  """[H, W, 1 or 3] uint8 -> [H, W] uint8: BT.601 as Pillow rounds it."""
  if array.shape[-1] == 1:
    return array[..., 0]
  return np.asarray(Image.fromarray(np.ascontiguousarray(array)).convert("L"))


def read_visible(path: Path, content: bytes | None = None) -> np.ndarray:
  """[H, W, 3] uint8 RGB, or [H, W] uint8 where the file has one channel; upright.

  Raises:
    DatasetError: see `read_picture`.
  """
  array = read_picture(path, content)[0]
  return array if array.shape[-1] == 3 else array[..., 0]


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
