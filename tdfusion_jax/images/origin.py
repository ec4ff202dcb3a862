"""What a visible image's file says besides its pixels, for the fused image to keep.

Kept are EXIF (camera, time, place), the colour profile and the position of a GeoTIFF. Not kept is
what holds for the pixels or the layout of that one file alone: orientation (pixels are upright
here), sizes, thumbnails, makers' notes (their offsets count from places that change), no-data
values and statistics.
"""

import io
import re
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from tdfusion_jax.images import tags
from tdfusion_jax.images.opening import open_image, require_file
from tdfusion_jax.images.orientation import png_chunks

ORIENTATION, PROFILE = 274, 34675
_EXIF, _GPS = 34665, 34853
_SAID = (
  *(270, 271, 272, 282, 283, 296, 305, 306, 315, 316),  # title, camera, resolution, time, author
  *(33432, 40091, 40092, 40093, 40094, 40095, 50735),  # copyright, the same as Windows has it
)
_NOT_OF_EXIF = (37500, 40962, 40963, 40965)  # maker's note, width, height, interoperability
_POSITION = (33550, 33920, 33922, 34264, 34735, 34736, 34737, 50844, 42112)
_GDAL = 42112
_OF_PIXELS = re.compile(
  rb"<Item\b[^>]*(?:\bsample\s*=|name\s*=\s*[\"']STATISTICS_)[^>]*?(?:/>|>.*?</Item\s*>)", re.S
)
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_DESCRIBED = (b"{", b"<", b"ImageJ=")  # an ImageDescription that programs read as the layout


class Origin(NamedTuple):
  """What accompanies the pixels of a visible image."""

  said: tags.Directory = {}  # noqa: RUF012 - never changed
  """Tags of EXIF, by their numbers; `_EXIF` and `_GPS` are directories."""
  position: tags.Directory = {}  # noqa: RUF012 - never changed
  """Tags of a GeoTIFF."""
  profile: bytes = b""
  """The ICC profile."""
  lost: str = ""
  """What cannot be kept and why, for a warning."""

  def exif(self) -> bytes:
    """A block of EXIF as files other than TIFF hold it, or nothing."""
    if not self.said:
      return b""
    directory = {**self.said, ORIENTATION: tags.shorts(1)}
    return b"Exif\0\0II*\0\x08\0\0\0" + tags.directory_bytes(directory, 8)

  def profile_of(self, channels: int) -> bytes:
    """The colour profile if it is one for an image of `channels` (ICC.1, bytes 16 to 19)."""
    return self.profile if self.profile[16:20] == {1: b"GRAY", 3: b"RGB "}[channels] else b""


def is_placed(path: str | Path) -> bool:
  """Whether the file is a GeoTIFF: one that says where on Earth its pixels are."""
  return Path(path).suffix.lower() in (".tif", ".tiff") and bool(origin_of(path).position)


def origin_of(path: str | Path) -> Origin:
  """What the file says besides its pixels; where that is damaged, `lost` says so."""
  try:
    require_file(path)
    with Path(path).open("rb") as file:
      if file.read(4) in _TIFF:
        return _of_tiff(tags.Reader(file))
    with open_image(path) as image:
      return _of_others(image)
  except Exception as error:  # tags of damaged files; the pixels are read, and reported, elsewhere
    return Origin(lost=f"what {path} says besides its pixels cannot be read ({error})")


def _of_tiff(reader: tags.Reader) -> Origin:
  first = reader.directory(reader.first)
  position = {number: first[number] for number in _POSITION if number in first}
  if _GDAL in position:
    kept = _OF_PIXELS.sub(b"", position[_GDAL].data)
    position[_GDAL] = position[_GDAL]._replace(data=kept)
  lost = ""
  if not position.keys() & {33922, 34264, 34735, 50844}:
    position = {}
  elif ORIENTATION in first and first[ORIENTATION].first not in (0, 1):
    position, lost = {}, "its position on Earth is of the image as stored, which is not upright"
  profile = first[PROFILE].data if PROFILE in first else b""
  return Origin(_said(reader, first), position, profile, lost)


def _of_others(image: Image.Image) -> Origin:
  profile = image.info.get("icc_profile") or b""
  block = image.info.get("exif") or b""
  if not block and image.format == "PNG":  # the chunk may stand behind the pixels
    block = next((data for _, data in png_chunks(getattr(image, "fp", None))), b"")
  block = block.removeprefix(b"Exif\0\0")
  if not block:
    return Origin(profile=profile)
  reader = tags.Reader(io.BytesIO(block))
  return Origin(_said(reader, reader.directory(reader.first)), profile=profile)


def _said(reader: tags.Reader, first: dict[int, tags.Tag]) -> tags.Directory:
  said: dict[int, tags.Tag | tags.Directory] = {
    number: first[number] for number in _SAID if number in first
  }
  if 270 in first and first[270].data.startswith(_DESCRIBED):
    del said[270]
  for number, left_out in ((_EXIF, _NOT_OF_EXIF), (_GPS, ())):
    if number in first:
      found = reader.directory(first[number].first)
      if kept := {n: tag for n, tag in found.items() if n not in left_out}:
        said[number] = kept
  return said
