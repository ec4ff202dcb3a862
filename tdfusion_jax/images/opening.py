"""Files opened as images: only regular ones, only of the kinds we read, under one limit of size."""

import importlib
import io
import os
import stat
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TypeVar

from PIL import Image

from tdfusion_jax.files import UsageError

MAX_PIXELS = 200_000_000
MAX_SIDE = 65_536
_PLUGINS = {
  "PNG": "Png",
  "JPEG": "Jpeg",
  "BMP": "Bmp",
  "TIFF": "Tiff",
  "WEBP": "WebP",
  "PPM": "Ppm",
  "JPEG2000": "Jpeg2K",
  "AVIF": "Avif",
}
_SPECIAL = (
  (stat.S_ISDIR, "a folder"),
  (stat.S_ISFIFO, "a pipe"),
  (stat.S_ISSOCK, "a socket"),
  (stat.S_ISCHR, "a device"),
  (stat.S_ISBLK, "a device"),
)

_open_lock = threading.Lock()
_T = TypeVar("_T")


class ImageError(UsageError):
  """An image that cannot be used, with the file and the reason."""


@cache
def formats() -> tuple[str, ...]:
  """The only formats that Pillow is asked for, whatever a file is called.

  It would run Ghostscript for PostScript. AVIF is there from Pillow 11.3 on.
  """
  found = []
  for name, plugin in _PLUGINS.items():
    try:
      importlib.import_module(f"PIL.{plugin}ImagePlugin")
    except ImportError:
      continue
    found.append(name)
  return tuple(name for name in found if name in Image.OPEN)


def require_file(path: str | Path) -> None:
  """Raises unless `path` is a regular file: opening a pipe or a device may wait for ever.

  Raises:
    ImageError: a folder, pipe, socket or device.
    OSError: missing.
  """
  mode = os.stat(path).st_mode
  if stat.S_ISREG(mode):
    return
  what = next((name for test, name in _SPECIAL if test(mode)), "something else")
  raise ImageError(f"{path} is {what}, not an image file.")


def read_bytes(path: str | Path) -> bytes:
  """The whole file; see `require_file`."""
  require_file(path)
  return Path(path).read_bytes()


def check_size(width: int, height: int, name: str) -> None:
  """Raises unless an image of this size may be decoded.

  Raises:
    ImageError: no pixels, more than `MAX_PIXELS`, or a side longer than `MAX_SIDE`.
  """
  if min(width, height) < 1:
    raise ImageError(f"{name}: {width}x{height} pixels, there is no image in it")
  if width * height > MAX_PIXELS:
    raise ImageError(
      f"{name}: {width}x{height} pixels, more than the limit of {MAX_PIXELS // 10**6} million"
    )
  if max(width, height) > MAX_SIDE:
    raise ImageError(f"{name}: {width}x{height} pixels, a side longer than the limit of {MAX_SIDE}")


def open_image(path: str | Path, content: bytes | None = None) -> Image.Image:
  """The image, not yet decoded; the size that it claims is within `MAX_PIXELS` and `MAX_SIDE`.

  Args:
    path: the file, also for messages.
    content: its bytes where they were read already.

  Raises:
    ImageError: too large, or no regular file.
    OSError: missing, or no image of a kind that is read.
  """
  if content is None:
    require_file(path)
  image = open_unchecked(path if content is None else io.BytesIO(content))
  try:
    check_size(*image.size, str(path))
  except ImageError:
    image.close()
    raise
  return image


def open_unchecked(file: str | Path | io.BytesIO) -> Image.Image:
  """The image, not yet decoded, of whatever size it claims.

  Pillow's own limit is a process-wide setting and only warns: `check_size` replaces it.
  """
  with _open_lock:
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
      return Image.open(file, formats=formats())
    finally:
      Image.MAX_IMAGE_PIXELS = limit


def decode(
  path: str | Path, convert: Callable[[Image.Image], _T], content: bytes | None = None
) -> _T:
  """`convert(image)` of the opened image; every failure is an `ImageError` that names the file.

  Args:
    path: the file, also for messages.
    convert: what to make of the image, which is closed afterwards.
    content: see `open_image`.
  """

  def work() -> _T:
    with open_image(path, content) as image:
      return convert(image)

  return named(path, work)


def named(path: str | Path, work: Callable[[], _T]) -> _T:
  """`work()`; every failure is an `ImageError` that names the file."""
  try:
    return work()
  except FileNotFoundError:
    raise ImageError(f"{path} does not exist.") from None
  except MemoryError:
    raise ImageError(
      f"{path}: not enough memory to decode it; --stream-from computes large pairs tile by tile."
    ) from None
  except UsageError:  # an own message
    raise
  except Exception as error:  # decoders of damaged files raise nearly anything
    raise ImageError(f"{path}: cannot be read as an image ({error})") from error
