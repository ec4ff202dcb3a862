"""Strips and tiles of TIFF files that tifffile decodes only with imagecodecs."""

import io
import struct
from typing import Any

import numpy as np

from tdfusion_jax.images.opening import open_unchecked

_LZW = 5
_WHOLE = (2, 3, 4, 6, 7, 33007, 34925, 50000, 50001)  # fax, JPEG, LZMA, Zstandard, WebP
_FLOAT_PREDICTOR = 3
_USUAL_BITS = (8, 16, 32, 64)


def way_of(page: Any) -> str:
  """Who decodes a page: `tifffile`, `segments` (here), `whole` (Pillow's libtiff), or `none`."""
  from tifffile import TIFF

  usual = int(page.bitspersample) in (1, *_USUAL_BITS)
  known = page.compression in TIFF.DECOMPRESSORS
  undone = page.predictor == 1 or page.predictor in TIFF.UNPREDICTORS
  if known and usual and undone:
    return "tifffile"
  ours = page.predictor in (1, 2, _FLOAT_PREDICTOR) and page.fillorder == 1
  if ours and (known or page.compression == _LZW) and page.compression not in _WHOLE:
    return "segments"
  return "whole" if page.compression in (_LZW, *_WHOLE) else "none"


def read(file: Any, page: Any) -> np.ndarray:
  """All numbers of a page, as `page.shaped` says: [separate samples, 1, H, W, samples].

  Raises:
    Exception: damaged.
  """
  planes, _, height, width, samples = page.shaped
  out = np.zeros(page.shaped, page.dtype)
  rows, columns = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, width)
  down, across = -(-height // rows), -(-width // columns)
  if len(page.dataoffsets) != planes * down * across:
    raise ValueError(f"{len(page.dataoffsets)} strips or tiles, not {planes * down * across}")
  for index, (offset, count) in enumerate(zip(page.dataoffsets, page.databytecounts, strict=True)):
    plane, rest = divmod(index, down * across)
    top, left = rest // across * rows, rest % across * columns
    shape = (rows if page.is_tiled else min(rows, height - top), columns, samples)
    file.filehandle.seek(offset)
    data = _bytes(file.filehandle.read(count), page, shape)
    values = _numbers(data, page, shape)
    out[plane, 0, top : top + rows, left : left + columns] = values[: height - top, : width - left]
  return out


def _bytes(data: bytes, page: Any, shape: tuple[int, int, int]) -> bytes:
  """A strip or tile without its compression."""
  from tifffile import TIFF

  if page.compression in TIFF.DECOMPRESSORS:
    return bytes(TIFF.DECOMPRESSORS[page.compression](data))
  row = -(-shape[1] * shape[2] * int(page.bitspersample) // 8)
  return _by_libtiff(data, row, shape[0])


def _by_libtiff(data: bytes, width: int, height: int) -> bytes:
  """LZW undone: the same bytes in a TIFF file that says they are pixels of 8 bits."""
  tags = (
    (256, width),
    (257, height),
    (258, 8),
    (259, _LZW),
    (262, 1),
    (273, 8 + 2 + 9 * 12 + 4),
    (277, 1),
    (278, height),
    (279, len(data)),
  )
  head = b"II*\x00" + struct.pack("<IH", 8, len(tags))
  head += b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
  with open_unchecked(io.BytesIO(head + bytes(4) + data)) as image:
    return image.tobytes()


def _numbers(data: bytes, page: Any, shape: tuple[int, int, int]) -> np.ndarray:
  """Bytes of a strip or tile -> numbers of `shape` (rows, columns, samples)."""
  bits, order = int(page.bitspersample), page.parent.byteorder
  if bits not in _USUAL_BITS:
    if page.predictor != 1:
      raise ValueError(f"predictor {page.predictor} of {bits}-bit numbers")
    return _unpacked(data, bits, shape).astype(page.dtype)
  dtype = page.dtype.newbyteorder(order)
  count = shape[0] * shape[1] * shape[2]
  if page.predictor == _FLOAT_PREDICTOR:
    return _of_float_predictor(data, dtype, shape)
  values = np.frombuffer(data, dtype, count).reshape(shape)
  if page.predictor == 2:  # differences, also of floats as whole numbers (TIFF 6.0, section 14)
    whole = values.view(dtype.str.replace("f", "u").replace("i", "u"))
    sums = np.cumsum(whole, axis=1, dtype=whole.dtype.newbyteorder("="))
    return sums.view(page.dtype.newbyteorder("="))
  return values


def _unpacked(data: bytes, bits: int, shape: tuple[int, int, int]) -> np.ndarray:
  """Whole numbers of `bits` each, the highest first; every row begins with a byte."""
  rows, columns, samples = shape
  length = -(-columns * samples * bits // 8)
  lines = np.frombuffer(data, np.uint8, rows * length).reshape(rows, length)
  out = np.zeros((rows, columns * samples), np.uint32)
  for row, line in enumerate(lines):
    single = np.unpackbits(line)[: columns * samples * bits].reshape(-1, bits)
    out[row] = single @ (1 << np.arange(bits - 1, -1, -1, dtype=np.uint32))
  return out.reshape(shape)


def _of_float_predictor(data: bytes, dtype: np.dtype, shape: tuple[int, int, int]) -> np.ndarray:
  """Adobe's TIFF technical note 3: differences of bytes, the highest bytes of a row first."""
  rows, columns, samples = shape
  length = columns * samples * dtype.itemsize
  lines = np.frombuffer(data, np.uint8, rows * length).reshape(rows, -1, samples)
  sums = np.cumsum(lines, axis=1, dtype=np.uint8)
  each = sums.reshape(rows, dtype.itemsize, columns * samples).transpose(0, 2, 1)
  return np.ascontiguousarray(each).view(dtype.newbyteorder(">")).reshape(shape)
