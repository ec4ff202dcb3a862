"""Radiometric JPEG: beside the picture for people, the counts of the thermal sensor.

FLIR cameras put a file of their own ("FFF") into the APP1 segments that begin with "FLIR": a
directory of records, one with the counts (16 bits, plain or as a PNG), one with the camera's
constants. The layout is as ExifTool documents it (FLIR tags). DJI's layout is known to DJI's
software alone; such files are recognised.
"""

import io
import struct
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from tdfusion_jax.images.opening import ImageError, check_size, open_unchecked
from tdfusion_jax.images.orientation import orientation_of, turn
from tdfusion_jax.images.plain import read_plain
from tdfusion_jax.images.stored import Remark, Stored

_MARK = b"FLIR\x00"
_MAKE = 0x010F  # EXIF
_COUNTS, _CAMERA = 1, 0x20  # types of records
_MOST_RECORDS = 1000
_ZERO_CELSIUS = 273.15


class _Camera(NamedTuple):
  """Planck's law as the camera has it: counts = R1 / (R2 (exp(B / T) - F)) - O."""

  r1: float
  r2: float
  b: float
  f: float
  o: float
  emissivity: float
  reflected: float
  """Temperature of what the object reflects, kelvin."""


def is_radiometric(image: Image.Image) -> bool:
  """Whether an opened JPEG holds a thermal sensor's counts, readable or not."""
  return bool(_flir(image)) or _is_dji(image)


def read(image: Image.Image, name: str, *, counts: bool, celsius: bool, gray: bool) -> Stored:
  """The picture with a remark, or the counts.

  Args:
    image: not decoded yet.
    name: for messages.
    counts: the counts, [H, W, 1] uint16.
    celsius: the counts as degrees, [H, W, 1] float32.
    gray: see `kinds.read_stored`.

  Raises:
    ImageError: counts are asked for and cannot be read.
  """
  if _flir(image) and (counts or celsius):
    records = _records(b"".join(_flir(image)), name)
    array = _raw(records, name)
    if celsius:
      array = _degrees(array, _camera(records, name), name)
    orientation = orientation_of(image)
    return Stored(turn(array[..., None], orientation), 1, turned=orientation != 1)
  if counts or celsius:
    raise ImageError(
      f"{name}: a radiometric JPEG of DJI, whose counts only DJI's software reads; convert it to a "
      "16-bit TIFF with DJI's Thermal SDK, or leave out the scale to use its picture."
    )
  if _flir(image):
    text = (
      f"{name}: radiometric (FLIR), read as the picture for people; --scale=percentile, LOW:HIGH "
      "or celsius:LOW:HIGH reads the sensor's counts"
    )
  else:
    text = f"{name}: radiometric (DJI), read as the picture for people; its counts are not read"
  stored = read_plain(image, name, indices=False, gray=gray)
  return stored._replace(remarks=(*stored.remarks, Remark("radiometric", text)))


def _segments(image: Image.Image) -> list[tuple[str, bytes]]:
  return getattr(image, "applist", [])


def _flir(image: Image.Image) -> list[bytes]:
  """The parts of FLIR's file, in order: after the mark come a 1, a number and the last number."""
  parts = [
    (data[6], data[8:])
    for kind, data in _segments(image)
    if kind == "APP1" and data.startswith(_MARK) and len(data) > 8
  ]
  return [data for _, data in sorted(parts, key=lambda part: part[0])]


def _is_dji(image: Image.Image) -> bool:
  raw = sum(len(data) for kind, data in _segments(image) if kind == "APP3")
  if raw < 20_000:  # the smallest sensor has 160 x 120 pixels of 16 bits
    return False
  try:
    return "DJI" in str(image.getexif().get(_MAKE, "")).upper()
  except Exception:  # damaged tags
    return False


def _records(file: bytes, name: str) -> dict[int, bytes]:
  """Content by type of record, of the first of each type."""
  if file[:4] != b"FFF\x00" or len(file) < 64:
    raise ImageError(f"{name}: its FLIR segment is damaged.")
  # Both byte orders occur; the version is a small number.
  order = ">" if struct.unpack_from(">I", file, 0x14)[0] < 1000 else "<"
  start, count = struct.unpack_from(f"{order}II", file, 0x18)
  found: dict[int, bytes] = {}
  for index in range(min(count, _MOST_RECORDS)):
    place = start + index * 32
    if place + 32 > len(file):
      break
    kind = struct.unpack_from(f"{order}H", file, place)[0]
    offset, length = struct.unpack_from(f"{order}II", file, place + 12)
    if kind and offset + length <= len(file):
      found.setdefault(kind, file[offset : offset + length])
  return found


def _order(record: bytes) -> str:
  """A record begins with a small number in its own byte order."""
  return "<" if struct.unpack_from("<H", record)[0] < 0x100 else ">"


def _raw(records: dict[int, bytes], name: str) -> np.ndarray:
  """Counts [H, W] uint16."""
  record = records.get(_COUNTS, b"")
  if len(record) < 34:
    raise ImageError(f"{name}: its FLIR segment holds no counts of the sensor.")
  order = _order(record)
  width, height = struct.unpack_from(f"{order}HH", record, 2)
  check_size(width, height, name)
  data = record[32:]
  if data.startswith(b"\x89PNG"):
    with open_unchecked(io.BytesIO(data)) as image:
      check_size(*image.size, name)
      array = np.asarray(image)
    if array.dtype != np.uint16 or array.ndim != 2:
      raise ImageError(f"{name}: the counts in its FLIR segment are not 16-bit gray.")
    return _smooth(array, array.byteswap())
  if width * height == 0 or len(data) < width * height * 2:
    raise ImageError(f"{name}: the counts in its FLIR segment are cut off or of an unknown kind.")
  return np.frombuffer(data, f"{order}u2", width * height).reshape(height, width).astype(np.uint16)


def _smooth(array: np.ndarray, swapped: np.ndarray) -> np.ndarray:
  """The one with the smaller steps: most cameras write the bytes of a PNG in the wrong order."""

  def steps(counts: np.ndarray) -> float:
    wide = counts.astype(np.float32)
    return float(np.abs(np.diff(wide, axis=0)).sum() + np.abs(np.diff(wide, axis=1)).sum())

  return swapped if steps(swapped) < steps(array) else array


def _camera(records: dict[int, bytes], name: str) -> _Camera:
  record = records.get(_CAMERA, b"")
  if len(record) < 0x310:
    raise ImageError(f"{name}: its FLIR segment holds no constants for degrees; use the counts.")
  order = _order(record)

  def number(at: int, kind: str = "f") -> Any:
    return struct.unpack_from(order + kind, record, at)[0]

  camera = _Camera(
    r1=number(0x58),
    r2=number(0x30C),
    b=number(0x5C),
    f=number(0x60),
    o=number(0x308, "i"),
    emissivity=number(0x20),
    reflected=number(0x28),
  )
  if not np.isfinite(camera).all() or not (camera.r1 > 0 and camera.r2 > 0 and camera.b > 0):
    raise ImageError(f"{name}: the constants for degrees in its FLIR segment are damaged.")
  return camera


def _degrees(counts: np.ndarray, camera: _Camera, name: str) -> np.ndarray:
  """Degrees Celsius [H, W] float32: of the object, without what it reflects; of air as if none."""
  signal = counts.astype(np.float64)
  if 0 < camera.emissivity < 1 and camera.reflected > 0:
    planck = camera.r2 * (np.exp(camera.b / camera.reflected) - camera.f)
    signal = (signal - (1 - camera.emissivity) * (camera.r1 / planck - camera.o)) / (
      camera.emissivity
    )
  with np.errstate(all="ignore"):
    kelvin = camera.b / np.log(camera.r1 / (camera.r2 * (signal + camera.o)) + camera.f)
  if not np.isfinite(kelvin).any():
    raise ImageError(f"{name}: the constants for degrees in its FLIR segment are damaged.")
  return (kelvin - _ZERO_CELSIUS).astype(np.float32)
