"""Reading image and label files: one place for modes, sizes, limits and messages."""

import io
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from tdfusion_jax.batch import IGNORE_LABEL
from tdfusion_jax.data.fields import short
from tdfusion_jax.data.source import DatasetError

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
"""What may hide behind these extensions; Pillow would also start an interpreter for a PostScript file."""
MAX_PIXELS = 200_000_000
MAX_SIDE = 65_536

_open_lock = threading.Lock()


def open_image(path: Path, content: bytes | None = None) -> Image.Image:
  """The image, not yet decoded; its claimed size is checked. `content` is read in place of the file."""
  # Pillow's own limit is a process-wide setting and only warns: ours replaces it while the header
  # is read.
  with _open_lock:
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
      image = Image.open(path if content is None else io.BytesIO(content), formats=FORMATS)
    finally:
      Image.MAX_IMAGE_PIXELS = limit
  width, height = image.size
  if width * height > MAX_PIXELS:
    image.close()
    raise DatasetError(
      f"{path}: {width}x{height} pixels, more than the limit of {MAX_PIXELS // 10**6} million"
    )
  if max(width, height) > MAX_SIDE:
    image.close()
    raise DatasetError(
      f"{path}: {width}x{height} pixels, a side longer than the limit of {MAX_SIDE}"
    )
  return image


def decode(path: Path, convert: Callable, content: bytes | None = None) -> np.ndarray:
  """Opens `path` (or `content`) and returns `convert(image)` as an array; every failure names the file."""
  try:
    with open_image(path, content) as image:
      # EXIF orientation is left alone on purpose: it would turn one image of a registered pair
      # only.
      return np.array(convert(image))
  except FileNotFoundError:
    raise DatasetError(f"{path}: file not found") from None
  except DatasetError:
    raise
  except (
    Exception
  ) as error:  # decoders of damaged files raise nearly anything; none of it may pass unnamed
    raise DatasetError(f"{path}: cannot be read as an image ({error})") from None


def _check_8bit(path: Path, image: Image.Image) -> None:
  if image.mode.startswith(("I", "F")):
    raise DatasetError(
      f"{path}: mode {image.mode} has more than 8 bits per channel; convert it to 8 bits first"
    )


def read_gray(path: Path, content: bytes | None = None) -> np.ndarray:
  """[H, W] uint8. Colour files give their BT.601 luminance; three equal channels give the channel exactly."""

  def convert(image):
    _check_8bit(path, image)
    return image.convert("RGB").convert("L") if image.mode == "P" else image.convert("L")

  return decode(path, convert, content)


def read_visible(path: Path, content: bytes | None = None) -> np.ndarray:
  """[H, W, 3] uint8 RGB, or [H, W] uint8 where the file has one channel. Transparency is dropped."""

  def convert(image):
    _check_8bit(path, image)
    return image.convert("L" if image.mode in ("L", "LA", "1") else "RGB")

  return decode(path, convert, content)


def read_labels(
  path: Path, num_classes: int, unlabelled: int | None = None, content: bytes | None = None
) -> np.ndarray:
  """[H, W] uint8 class indices, `IGNORE_LABEL` where unknown.

  Palette images give their indices, not their colours. Raises `DatasetError` for colour-coded files
  and for values that are neither below `num_classes` nor `IGNORE_LABEL`.

  Args:
    path: the label image.
    num_classes: number of classes, at most 255.
    unlabelled: a file value to be replaced by `IGNORE_LABEL`.
    content: the file's bytes, where they were read already.
  """
  values = decode(path, lambda image: image, content)
  if values.ndim == 3:
    colours = values[..., :3] if values.shape[-1] >= 3 else values[..., :1]
    if (colours != colours[..., :1]).any():
      raise DatasetError(
        f"{path}: colour-coded labels; class indices (one channel or a palette) are needed"
      )
    values = colours[..., 0]
  wrong = (
    (values >= num_classes) & (values != IGNORE_LABEL)
    if values.dtype != bool
    else np.zeros(1, bool)
  )
  if values.dtype.kind == "f" or wrong.any() or (values.dtype.kind == "i" and (values < 0).any()):
    found = ", ".join(str(v) for v in np.unique(values)[:20])
    raise DatasetError(
      f"{path}: label values must be 0 to {num_classes - 1} or {IGNORE_LABEL}, found {found}"
    )
  values = values.astype(np.uint8)
  if unlabelled is not None:
    values[values == unlabelled] = IGNORE_LABEL
  return values


def require_equal_size(first: Path, first_size: tuple, second: Path, second_size: tuple) -> None:
  """Raises unless both (height, width) agree."""
  if tuple(first_size) != tuple(second_size):
    a, b = (f"{size[1]}x{size[0]}" for size in (first_size, second_size))
    raise DatasetError(f"sizes differ: {first} is {a}, {second} is {b} (width x height)")


def files_by_stem(folder: Path, extensions: tuple[str, ...] = EXTENSIONS) -> dict[str, Path]:
  """Files of a folder by stem, sorted; hidden files are skipped. Raises on two files with one stem."""
  found: dict[str, Path] = {}
  for path in sorted(folder.iterdir()):
    if path.name.startswith(".") or path.suffix.lower() not in extensions or not path.is_file():
      continue
    if path.stem in found:
      raise DatasetError(f"two files share a name: {found[path.stem]} and {path}")
    found[path.stem] = path
  return found


def safe_stem(name: str, origin: Path) -> str:
  """The stem of a file name taken from a label file; refuses anything that is not a plain name."""
  # No file system takes more than 255 bytes.
  enormous = len(name.encode("utf-8", "replace")) > 255
  if (
    not name
    or name in (".", "..")
    or "\x00" in name
    or "/" in name
    or "\\" in name
    or ":" in name
    or enormous
  ):
    raise DatasetError(f"{origin}: {short(name)} is not a plain file name")
  suffix = Path(name).suffix
  return name[: -len(suffix)] if suffix.lower() in EXTENSIONS else name
