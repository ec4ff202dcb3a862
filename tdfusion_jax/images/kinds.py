"""Every kind of image file, read by what gives all its numbers."""

from pathlib import Path

from tdfusion_jax.images import flir, pnm, tiff
from tdfusion_jax.images.opening import (
  ImageError,
  named,
  open_image,
  read_bytes,
  require_file,
)
from tdfusion_jax.images.orientation import TURNED, orientation_of
from tdfusion_jax.images.plain import read_plain
from tdfusion_jax.images.stored import Stored

_START = 512  # bytes that say what a file is


def read_stored(
  path: str | Path,
  *,
  content: bytes | None = None,
  counts: bool = False,
  celsius: bool = False,
  indices: bool = False,
  gray: bool = False,
) -> Stored:
  """All that a file stores, upright.

  Args:
    path: the file, also for messages.
    content: its bytes where they were read already.
    counts: of a radiometric file the sensor's numbers in place of the picture made of them.
    celsius: these as degrees.
    indices: of a palette the indices in place of the colours.
    gray: of 8-bit colours that Pillow decodes their luminance (BT.601).

  Raises:
    ImageError: missing, damaged, too large, not a regular file, or stored in a way that cannot be
      read in full.
  """

  def work() -> Stored:
    start = _start(path, content)
    if start[:4] in tiff.MAGIC:
      stored = tiff.read_tiff(path, content, indices=indices)
    elif pnm.is_deep(start):
      stored = pnm.read_deep(read_bytes(path) if content is None else content, str(path))
    else:
      with open_image(path, content) as image:
        if flir.is_radiometric(image):
          return flir.read(image, str(path), counts=counts, celsius=celsius, gray=gray)
        stored = read_plain(image, str(path), indices=indices, gray=gray)
    if celsius:
      raise ImageError(f"{path}: holds no counts of a thermal sensor; celsius: is for those.")
    return stored

  return named(path, work)


def image_size(path: str | Path, *, counts: bool = False) -> tuple[int, int] | None:
  """(height, width) as the file's head states, upright; None if it cannot be read.

  Args:
    path: the file.
    counts: as for `read_stored`; None then for a radiometric file, whose sensor may have another
      size than its picture.
  """
  try:
    if _start(path, None)[:4] in tiff.MAGIC:
      return tiff.tiff_size(path)
    with open_image(path) as image:
      if counts and flir.is_radiometric(image):
        return None
      turned = orientation_of(image) in TURNED
      return (image.width, image.height) if turned else (image.height, image.width)
  except Exception:  # heads of damaged files raise nearly anything; reading will say what
    return None


def _start(path: str | Path, content: bytes | None) -> bytes:
  if content is not None:
    return content[:_START]
  require_file(path)
  with open(path, "rb") as file:
    return file.read(_START)
