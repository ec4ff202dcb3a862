"""Which way up an image is shown: EXIF orientation, found without decoding, applied once."""

import io
import struct
from collections.abc import Iterator
from typing import IO

import numpy as np
from PIL import Image

TAG = 0x0112
TURNED = (5, 6, 7, 8)
"""Orientations that exchange height and width."""
_LONGEST = 1 << 20  # bytes of a chunk that is read: EXIF has 64 kB at most
PNG = b"\x89PNG\r\n\x1a\n"


def orientation_of(image: Image.Image) -> int:
  """1 to 8 of an opened image, 1 where nothing or nonsense is stated. Nothing is decoded.

  Not for TIFF files, which Pillow turns by itself.
  """
  exif = None
  if image.format == "PNG":
    # Pillow's own look for an eXIf chunk decodes all pixels, since it may come behind them.
    exif = next((data for kind, data in png_chunks(file_of(image)) if kind == b"eXIf"), None)
  try:
    if exif is None:
      found = Image.Image.getexif(image).get(TAG, 1)
    else:
      tags = Image.Exif()
      tags.load(exif)
      found = tags.get(TAG) or Image.Image.getexif(image).get(TAG, 1)
  except Exception:  # damaged tags: the pixels may still be whole
    return 1
  return found if found in range(1, 9) else 1


def file_of(image: Image.Image) -> IO[bytes] | io.BytesIO | None:
  """What an image is being read from; None of one that was made or is read already."""
  return getattr(image, "fp", None)


def png_chunks(
  file: IO[bytes] | io.BytesIO | None, wanted: tuple[bytes, ...] = (b"eXIf",)
) -> Iterator[tuple[bytes, bytes]]:
  """(kind, content) of the wanted chunks of a PNG file; of others the heads alone are read."""
  if file is None:
    return
  here = file.tell()
  try:
    size = file.seek(0, io.SEEK_END)
    file.seek(len(PNG))
    while len(head := file.read(8)) == 8:
      length, kind = struct.unpack(">I4s", head)
      if kind in wanted and length <= min(_LONGEST, size - file.tell()):
        yield kind, file.read(length)
        file.seek(4, io.SEEK_CUR)
      else:
        file.seek(length + 4, io.SEEK_CUR)
      if kind == b"IEND":
        return
  finally:
    file.seek(here)


def turn(array: np.ndarray, orientation: int) -> np.ndarray:
  """[H, W, ...] as stored -> as shown; of orientations 5 to 8 height and width change places.

  EXIF 2.3 (CIPA DC-008), tag 0x0112: where row 0 and column 0 of the stored image are to be seen.
  """
  if orientation in TURNED:
    array = array.swapaxes(0, 1)
  if orientation in (3, 4, 7, 8):  # row 0 is seen at the bottom (of 7 and 8: once transposed)
    array = array[::-1]
  if orientation in (2, 3, 6, 7):  # column 0 is seen on the right
    array = array[:, ::-1]
  return array
