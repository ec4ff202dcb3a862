"""Files that hold several images: stacks (TIFF) and animations (WebP), page by page.

Scientific and thermal cameras record TIFF stacks, of 16 bits mostly, one page an image.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tdfusion_jax.images import tiff
from tdfusion_jax.images.opening import ImageError, named, open_image
from tdfusion_jax.images.plain import of_pillow
from tdfusion_jax.images.stored import Stored


class Page(NamedTuple):
  """One image of several."""

  stored: Stored
  seconds: float | None
  """When it is shown, from the first on; None where the file does not say."""


def kind_of(path: Path) -> str:
  """`tiff`, `webp`, or an empty text of any other file, by its first bytes.

  Raises:
    OSError: it cannot be read.
  """
  with path.open("rb") as file:
    head = file.read(12)
  if head[:4] in tiff.MAGIC:
    return "tiff"
  return "webp" if head[:4] == b"RIFF" and head[8:] == b"WEBP" else ""


def count_pages(path: Path) -> int:
  """The number of images in a TIFF or WebP file.

  Raises:
    ImageError: it cannot be read.
  """

  def work() -> int:
    if kind_of(path) == "tiff":
      return tiff.count_pages(path)
    with open_image(path) as image:
      return getattr(image, "n_frames", 1)

  return named(path, work)


def read_pages(path: Path) -> Iterator[Page]:
  """The images in a TIFF or WebP file, in order.

  Raises:
    ImageError: one cannot be read; its number is named.
  """
  pages = _tiff(path) if kind_of(path) == "tiff" else _webp(path)
  number = 0
  try:
    for page in pages:
      yield page
      number += 1
  except ImageError as error:
    raise ImageError(f"{path}, image {number + 1}: {error}") from error
  except Exception as error:  # readers of damaged files raise nearly anything
    raise ImageError(f"{path}, image {number + 1}: cannot be read ({error})") from error


def _webp(path: Path) -> Iterator[Page]:
  with open_image(path) as image:
    seconds = 0.0
    for number in range(getattr(image, "n_frames", 1)):
      image.seek(number)
      yield Page(of_pillow(image, str(path)), seconds)
      seconds += image.info.get("duration", 0) / 1000


def _tiff(path: Path) -> Iterator[Page]:
  for stored in tiff.read_pages(path):
    yield Page(stored, None)
