"""Radiometric JPEG after the documented layout: the counts come out, and the degrees."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from tdfusion_jax.images.kinds import image_size
from tdfusion_jax.images.opening import ImageError
from tdfusion_jax.images.reading import read_image, read_pixels
from tdfusion_jax.images.scaling import Scale

H, W = 24, 32
R1, R2, B, F, OFFSET = 17000.0, 0.0125, 1430.0, 1.0, -6000  # of the size that cameras have


def counts():
  rows, columns = np.mgrid[:H, :W]
  return (12000 + rows * 37 + columns * 11).astype(np.uint16)


def raw_record(array, form, order):
  head = struct.pack(f"{order}HHH", 2, W, H).ljust(32, b"\x00")
  if form == "raw":
    return head + array.astype(f"{order}u2").tobytes()
  buffer = io.BytesIO()
  # Cameras hand the bytes in their own order to a PNG, whose order is the other one.
  Image.fromarray(array.byteswap() if form == "swapped png" else array).save(buffer, "PNG")
  return head + buffer.getvalue()


def camera_record(order, emissivity):
  record = bytearray(0x360)
  struct.pack_into(f"{order}H", record, 0, 2)
  for place, value in ((0x20, emissivity), (0x28, 293.15), (0x58, R1), (0x5C, B), (0x60, F)):
    struct.pack_into(f"{order}f", record, place, value)
  struct.pack_into(f"{order}i", record, 0x308, OFFSET)
  struct.pack_into(f"{order}f", record, 0x30C, R2)
  return bytes(record)


def flir_jpeg(records, order=">", part=4000, size=(H, W)):
  """A gray JPEG whose APP1 segments hold FLIR's file in parts."""
  directory, body = b"", b""
  start = 64 + 32 * len(records)
  for kind, content in records:
    entry = struct.pack(f"{order}HHIIII", kind, 0, 100, 0, start + len(body), len(content))
    directory += entry.ljust(32, b"\x00")
    body += content
  head = b"FFF\x00" + b"TEST".ljust(16, b"\x00")
  head += struct.pack(f"{order}III", 100, 64, len(records))
  file = head.ljust(64, b"\x00") + directory + body
  parts = [file[i : i + part] for i in range(0, len(file), part)]
  segments = b""
  for i, data in enumerate(parts):
    content = b"FLIR\x00\x01" + bytes([i, len(parts) - 1]) + data
    segments += b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content
  buffer = io.BytesIO()
  Image.fromarray(np.full(size, 90, np.uint8)).save(buffer, "JPEG")
  content = buffer.getvalue()
  return content[:2] + segments + content[2:]


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("form", ["raw", "png", "swapped png"])
def test_counts(order, form, tmp_path):
  path = tmp_path / "a.jpg"
  records = [(1, raw_record(counts(), form, order)), (0x20, camera_record(order, 1.0))]
  path.write_bytes(flir_jpeg(records, order))
  found = read_pixels(path, Scale("range", 12000, 14000))
  np.testing.assert_array_equal(found.array[..., 0], counts())
  assert not found.remarks
  # Without a scale it is the picture for people, and that is said.
  shown = read_pixels(path)
  assert abs(float(shown.array.mean()) - 90) < 2
  assert "radiometric (FLIR)" in shown.remarks[0] and "--scale" in shown.remarks[0]


@pytest.mark.parametrize("emissivity", [1.0, 0.9])
def test_degrees(emissivity, tmp_path):
  """Planck's law forwards, from temperatures that were chosen, gives the counts."""
  kelvin = np.linspace(280, 320, H * W).reshape(H, W)

  def signal(temperature):
    return R1 / (R2 * (np.exp(B / temperature) - F)) - OFFSET

  mixed = emissivity * signal(kelvin) + (1 - emissivity) * signal(293.15)
  array = np.round(mixed).astype(np.uint16)
  assert array.max() < 65535 and array.min() > 0
  path = tmp_path / "a.jpg"
  records = [(1, raw_record(array, "raw", "<")), (0x20, camera_record("<", emissivity))]
  path.write_bytes(flir_jpeg(records))
  degrees = read_pixels(path, Scale("range", 0, 50, celsius=True)).array[..., 0]
  np.testing.assert_allclose(degrees, kelvin - 273.15, atol=0.02)  # of rounding to whole counts


def test_what_the_segment_lacks_is_said(tmp_path):
  path = tmp_path / "a.jpg"
  scale = Scale("percentile", 1, 99)
  path.write_bytes(flir_jpeg([(0x20, camera_record("<", 1.0))]))
  with pytest.raises(ImageError, match=r"a\.jpg: its FLIR segment holds no counts"):
    read_image(path, scale)
  path.write_bytes(flir_jpeg([(1, raw_record(counts(), "raw", "<"))]))
  with pytest.raises(ImageError, match="no constants for degrees"):
    read_image(path, Scale("range", 0, 50, celsius=True))
  path.write_bytes(flir_jpeg([(1, raw_record(counts(), "raw", "<")[:500])]))
  with pytest.raises(ImageError, match="cut off"):
    read_image(path, scale)
  Image.fromarray(np.zeros((H, W), np.uint8)).save(path)
  with pytest.raises(ImageError, match="holds no counts of a thermal sensor"):
    read_image(path, Scale("range", 0, 50, celsius=True))


def test_a_sensor_smaller_than_its_picture(tmp_path):
  path = tmp_path / "a.jpg"
  path.write_bytes(flir_jpeg([(1, raw_record(counts(), "raw", "<"))], size=(48, 64)))
  assert image_size(path) == (48, 64) and image_size(path, counts=True) is None
  assert read_image(path, Scale("percentile", 0, 100)).shape == (H, W, 1)


def test_dji_is_recognised(tmp_path):
  tags = Image.Exif()
  tags[0x010F] = "DJI"
  buffer = io.BytesIO()
  Image.fromarray(np.full((H, W), 90, np.uint8)).save(buffer, "JPEG", exif=tags)
  content = buffer.getvalue()
  segment = b"\xff\xe3" + struct.pack(">H", 50002) + bytes(50000)
  path = tmp_path / "a.jpg"
  path.write_bytes(content[:2] + segment + content[2:])
  assert "radiometric (DJI)" in read_pixels(path).remarks[0]
  with pytest.raises(ImageError, match="DJI's Thermal SDK"):
    read_image(path, Scale("percentile", 0, 100))
