"""TIFF files by tifffile, which gives their numbers as they are; what they mean is decided here.

TIFF 6.0 and its supplements. What tifffile cannot decompress without imagecodecs, libtiff in Pillow
does: LZW of any type as bytes (`segments`), pictures of 8 bits (JPEG, fax) whole.
"""

import io
import logging
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from tdfusion_jax.images import segments
from tdfusion_jax.images.opening import ImageError, check_size, open_image
from tdfusion_jax.images.orientation import TURNED, turn
from tdfusion_jax.images.plain import of_pillow
from tdfusion_jax.images.stored import Remark, Stored

MAGIC = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_ORIENTATION, _EXTRA, _INK_SET, _GDAL_NODATA = 274, 338, 332, 42113
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _MASK, _SEPARATED, _YCBCR, _LINEAR_RAW = (
  *range(7),
  34892,
)
_FURTHER = {1: "associated alpha", 2: "alpha"}
_REDUCED, _TRANSPARENCY = 1, 4  # bits of NewSubfileType
_MOST_BYTES = 1 << 32


def read_tiff(path: str | Path, content: bytes | None = None, *, indices: bool = False) -> Stored:
  """All that the first image of a TIFF file stores, upright.

  Args:
    path: the file, also for messages.
    content: its bytes where they were read already.
    indices: of a palette the indices in place of the colours.

  Raises:
    ImageError: too large, or stored in a way that cannot be read in full.
    Exception: damaged.
  """
  with _open(path, content) as file:
    page, remarks = _image(file, str(path))
    stored = _read(file, page, path, content, indices=indices)
  return stored._replace(remarks=remarks)


def read_pages(path: str | Path) -> Iterator[Stored]:
  """All that each image of a TIFF file stores, upright, in order; see `read_tiff`."""
  with _open(path, None) as file:
    for page in _images(file):
      yield _read(file, page, path, None, indices=False)


def count_pages(path: str | Path) -> int:
  """The number of images in a TIFF file."""
  with _open(path, None) as file:
    return sum(1 for _ in _images(file))


def tiff_size(path: str | Path) -> tuple[int, int]:
  """(height, width), upright, as the head of the first image states."""
  with _open(path, None) as file:
    page = _image(file, str(path))[0]
    height, width = int(page.imagelength), int(page.imagewidth)
    return (width, height) if _orientation(page) in TURNED else (height, width)


def _open(path: str | Path, content: bytes | None) -> Any:
  import tifffile  # only where there is a TIFF file: it takes a sixth of a second

  logger = logging.getLogger("tifffile")
  if not logger.handlers:  # what it says about odd tags would reach the terminal otherwise
    logger.addHandler(logging.NullHandler())
  return tifffile.TiffFile(path if content is None else io.BytesIO(content))


def _images(file: Any) -> Iterator[Any]:
  """The pages that are images of their own: no previews, smaller copies or masks."""
  for index in range(len(file.pages)):
    page = file.pages[index].aspage()
    if not int(page.subfiletype) & (_REDUCED | _TRANSPARENCY):
      yield page


def _image(file: Any, name: str) -> tuple[Any, tuple[Remark, ...]]:
  """The first page that is an image, and a remark if there are more."""
  found = list(islice(_images(file), 2))
  if not found:
    raise ImageError(f"{name}: holds previews or masks only, no image of full size.")
  remarks = ()
  if len(found) == 2:
    text = f"{name}: holds {len(file.pages)} images; the first is read (tdfusion video reads all)"
    remarks = (Remark("extra-images", text),)
  return found[0], remarks


def _read(
  file: Any, page: Any, path: str | Path, content: bytes | None, *, indices: bool
) -> Stored:
  _check(page, str(path))
  turned = _orientation(page)
  stored = _decoded(file, page, path, content, indices)
  array = turn(stored.array, turned)
  return stored._replace(array=array, nodata=_nodata(page), turned=turned != 1)


def _check(page: Any, name: str) -> None:
  """Raises for what is too large, or is nothing that could be read."""
  check_size(int(page.imagewidth), int(page.imagelength), name)
  if page.imagedepth != 1:
    raise ImageError(f"{name}: holds a volume of {page.imagedepth} layers, no image.")
  bits = page.bitspersample
  if isinstance(bits, tuple) or page.dtype is None or page.dtype.kind not in "uifb":
    what = f"{bits}-bit numbers of SampleFormat {int(page.sampleformat or 1)}"
    raise ImageError(f"{name}: {what} are not read; convert it to 8 or 16 bits or float32.")
  size = int(page.imagewidth) * int(page.imagelength) * int(page.samplesperpixel)
  if size * page.dtype.itemsize > _MOST_BYTES:
    raise ImageError(f"{name}: {size * page.dtype.itemsize >> 20} MiB of numbers, 4096 at most.")


def _orientation(page: Any) -> int:
  value = page.tags.valueof(_ORIENTATION, 1)
  return int(value) if isinstance(value, int) and value in range(1, 9) else 1


def _nodata(page: Any) -> float | None:
  """What GDAL notes as text."""
  text = page.tags.valueof(_GDAL_NODATA)
  try:
    return None if text is None else float(str(text).strip("\x00 "))
  except ValueError:
    return None


def _decoded(
  file: Any, page: Any, path: str | Path, content: bytes | None, indices: bool
) -> Stored:
  """The numbers as they lie, and what they are."""
  way = segments.way_of(page)
  bits = int(page.bitspersample)
  photometric = _photometric(page)
  if way == "whole" or (photometric == _YCBCR and page.is_subsampled):
    if bits > 8:
      raise ImageError(_undecodable(path, page))
    return _whole(path, content, page, indices)
  if way == "none":
    raise ImageError(_undecodable(path, page))
  array = page.asarray(maxworkers=1) if way == "tifffile" else segments.read(file, page)
  array = array.reshape(page.shaped)  # [separate samples, 1, H, W, samples]
  array = array[:, 0, ..., 0].transpose(1, 2, 0) if array.shape[0] > 1 else array[0, 0]
  if array.dtype == bool:
    array = array.astype(np.uint8)
  if array.dtype == np.float16:
    array = array.astype(np.float32)
  most = 2.0**bits - 1 if array.dtype.kind == "u" and bits not in (8, 16, 32, 64) else None
  return _meant(array, photometric, page, str(path), most, indices)


def _undecodable(path: str | Path, page: Any) -> str:
  name = getattr(page.compression, "name", page.compression)
  return (
    f"{path}: {page.bitspersample}-bit numbers, compressed by {name}, are not read without "
    "imagecodecs: pip install imagecodecs, or store the file uncompressed."
  )


def _photometric(page: Any) -> int:
  if page.tags.get(262) is None:  # required, and forgotten by some
    return _RGB if page.samplesperpixel > 2 else _BLACK_IS_ZERO
  return int(page.photometric)


def _meant(
  array: np.ndarray,
  photometric: int,
  page: Any,
  name: str,
  most: float | None,
  indices: bool,
) -> Stored:
  """Numbers [H, W, C] by their photometric interpretation.

  Args:
    array: as stored.
    photometric: of TIFF 6.0.
    page: for its colour map and further samples.
    name: for messages.
    most: the largest number of odd bit depths.
    indices: of a palette the indices in place of the colours.

  Raises:
    ImageError: an interpretation that is not read.
  """
  further = _further(page)
  if photometric == _PALETTE:
    if indices:
      return Stored(array, 1, further)
    return Stored(_coloured(array, page, name), 3, further)
  if photometric in (_BLACK_IS_ZERO, _MASK, _LINEAR_RAW, _WHITE_IS_ZERO):
    if photometric == _WHITE_IS_ZERO:
      array = _inverted(array, name, most)
    if photometric == _LINEAR_RAW and array.shape[-1] >= 3:
      return Stored(array, 3, further, most)
    return Stored(array, 1 if array.shape[-1] <= 2 else 0, further, most)
  if photometric == _RGB:
    return Stored(array, 3 if array.shape[-1] >= 3 else 1, further, most)
  if photometric == _SEPARATED and array.dtype.kind == "u" and most is None:
    if array.shape[-1] < 4 or page.tags.valueof(_INK_SET, 1) != 1:
      raise ImageError(f"{name}: inks other than CMYK are not read; convert it to RGB.")
    return Stored(_of_inks(array), 3, further)
  kind = getattr(page.photometric, "name", photometric)
  raise ImageError(f"{name}: colours of the kind {kind} are not read; convert it to RGB.")


def _further(page: Any) -> str:
  kinds = np.ravel(page.tags.valueof(_EXTRA, ()))
  return _FURTHER.get(int(kinds[0]), "further") if len(kinds) else "further"


def _inverted(array: np.ndarray, name: str, most: float | None) -> np.ndarray:
  """WhiteIsZero as BlackIsZero."""
  if array.dtype.kind != "u":
    raise ImageError(
      f"{name}: WhiteIsZero of {array.dtype} numbers is not read; store BlackIsZero."
    )
  top = np.iinfo(array.dtype).max if most is None else int(most)
  return np.subtract(array.dtype.type(top), array)


def _coloured(array: np.ndarray, page: Any, name: str) -> np.ndarray:
  """Indices by the colour map, whose numbers have 16 bits, in most files 8 doubled or shifted."""
  table = np.asarray(page.colormap)  # [3, colours]
  if array.dtype.kind != "u" or table.ndim != 2 or table.shape[0] != 3:
    raise ImageError(f"{name}: its palette is damaged.")
  if not table.any() or (table % 257 == 0).all() or not (table & 255).any():
    table = (table >> 8).astype(np.uint8)
  elif table.max() < 256:  # as some writers do
    table = table.astype(np.uint8)
  values = array[..., 0]
  if values.max(initial=0) >= table.shape[1]:
    raise ImageError(f"{name}: an index beyond the {table.shape[1]} colours of its palette.")
  colours = table.T[values]
  return np.concatenate([colours, array[..., 1:]], -1) if array.shape[-1] > 1 else colours


def _of_inks(array: np.ndarray) -> np.ndarray:
  """CMYK as RGB, without a colour profile: what neither the ink nor black takes away."""
  top = np.iinfo(array.dtype).max
  light = top - array[..., :4].astype(np.int64)
  colours = np.round(light[..., :3] * light[..., 3:] / top).astype(array.dtype)
  return np.concatenate([colours, array[..., 4:]], axis=-1)


def _whole(path: str | Path, content: bytes | None, page: Any, indices: bool) -> Stored:
  """A picture of 8 bits by libtiff, as it lies."""
  whole = bytearray(Path(path).read_bytes() if content is None else content)
  tag = page.tags.get(_ORIENTATION)
  if tag is not None:  # Pillow would turn it, in some versions
    order = "little" if whole[:2] == b"II" else "big"
    whole[tag.valueoffset : tag.valueoffset + 2] = (1).to_bytes(2, order)
  with open_image(path, bytes(whole)) as image:
    image.seek(page.index)
    return of_pillow(image, str(path), indices=indices)
