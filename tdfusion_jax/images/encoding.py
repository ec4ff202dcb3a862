"""Image files that Pillow does not write: PNG of 16 bits in colour, TIFF of any depth with tags."""

import struct
import zlib
from collections.abc import Callable, Iterator
from typing import IO

import numpy as np

from tdfusion_jax.images import tags
from tdfusion_jax.images.origin import ORIENTATION, PROFILE, Origin

_LEVEL = 3  # level 6 takes three times as long for files 4 % smaller
_AT_A_TIME = 1 << 20  # bytes of pixels that are compressed together
_DEFLATE, _DIFFERENCES = 8, 2
_FLOATS = 3


def write_png16(file: IO[bytes], image: np.ndarray, origin: Origin) -> None:
  """PNG (W3C, third edition) of 16 bits.

  Args:
    file: opened for writing bytes.
    image: [H, W, 1 or 3] uint16.
    origin: EXIF and colour profile.
  """
  height, width, channels = image.shape

  def chunk(kind: bytes, data: bytes) -> None:
    file.write(struct.pack(">I", len(data)) + kind + data)
    file.write(struct.pack(">I", zlib.crc32(kind + data)))

  file.write(b"\x89PNG\r\n\x1a\n")
  colour = {1: 0, 3: 2}[channels]
  chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0))
  if profile := origin.profile_of(channels):
    chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(profile))
  if exif := origin.exif():
    chunk(b"eXIf", exif.removeprefix(b"Exif\0\0"))
  packer = zlib.compressobj(_LEVEL)
  for start, stop in _blocks(image):
    chunk(b"IDAT", packer.compress(_filtered(image, start, stop).tobytes()))
  chunk(b"IDAT", packer.flush())
  chunk(b"IEND", b"")


def _filtered(image: np.ndarray, start: int, stop: int) -> np.ndarray:
  """Rows as PNG stores them: big-endian, each less the one above (filter 2), its filter before."""
  above = max(start - 1, 0)
  rows = np.ascontiguousarray(image[above:stop].astype(">u2")).view(np.uint8)
  rows = rows.reshape(stop - above, -1)
  before = rows[:-1] if start else np.concatenate([np.zeros_like(rows[:1]), rows[:-1]])
  out = np.full((stop - start, rows.shape[1] + 1), 2, np.uint8)
  out[:, 1:] = rows[start - above :] - before
  return out


def write_tiff(file: IO[bytes], image: np.ndarray, origin: Origin) -> None:
  """TIFF (6.0, with Adobe's Deflate), with all that `origin` holds.

  Args:
    file: opened for writing bytes.
    image: [H, W, 1 or 3] uint8, uint16 or float32.
    origin: EXIF, colour profile and position.

  Raises:
    OSError: more than 4 GB, which TIFF cannot address.
  """
  height, width, channels = image.shape
  whole = image.dtype.kind == "u"
  file.write(b"II*\0" + bytes(4))  # where the directory is, is known at the end
  places, sizes, at = [], [], 8
  blocks = list(_blocks(image))
  for start, stop in blocks:
    data = zlib.compress(
      _less_left(image[start:stop]) if whole else _bytes(image[start:stop]), _LEVEL
    )
    file.write(data + b"\0" * (len(data) % 2))
    places.append(at)
    sizes.append(len(data))
    at += len(data) + len(data) % 2
  directory = {
    **origin.said,
    **origin.position,
    256: tags.longs(width),
    257: tags.longs(height),
    258: tags.shorts(*[image.dtype.itemsize * 8] * channels),
    259: tags.shorts(_DEFLATE),
    262: tags.shorts(2 if channels == 3 else 1),  # RGB, or gray with black as 0
    273: tags.longs(*places),
    ORIENTATION: tags.shorts(1),
    277: tags.shorts(channels),
    278: tags.longs(blocks[0][1]),
    279: tags.longs(*sizes),
    284: tags.shorts(1),
  }
  if whole:
    directory[317] = tags.shorts(_DIFFERENCES)
  else:
    directory[339] = tags.shorts(*[_FLOATS] * channels)
  if profile := origin.profile_of(channels):
    directory[PROFILE] = tags.Tag(7, profile)
  end = tags.directory_bytes(directory, at)
  if at + len(end) >= 1 << 32:
    raise OSError("more than 4 GB do not fit a TIFF file; --format=png16 has no such limit")
  file.write(end)
  file.seek(4)
  file.write(struct.pack("<I", at))


def _bytes(rows: np.ndarray) -> bytes:
  return rows.astype(rows.dtype.newbyteorder("<")).tobytes()


def _less_left(rows: np.ndarray) -> bytes:
  """Each pixel less the one to its left (TIFF 6.0, section 14)."""
  less = rows.copy()
  less[:, 1:] -= rows[:, :-1]
  return _bytes(less)


def _blocks(image: np.ndarray) -> Iterator[tuple[int, int]]:
  """(first row, behind the last row) of what is compressed together."""
  rows = max(1, _AT_A_TIME // max(1, image[:1].nbytes))
  for start in range(0, image.shape[0], rows):
    yield start, min(start + rows, image.shape[0])


WRITERS: dict[str, Callable[[IO[bytes], np.ndarray, Origin], None]] = {
  ".png": write_png16,
  ".tif": write_tiff,
  ".tiff": write_tiff,
}
"""By the ending of a file, in lower case."""
