"""Every kind of file but TIFF: all bits, upright, nothing dropped without a word; heads alone."""

import io
import os
import socket
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from tdfusion_jax.images import opening
from tdfusion_jax.images.kinds import image_size, read_stored
from tdfusion_jax.images.opening import ImageError
from tdfusion_jax.images.reading import read_image, read_pixels
from tdfusion_jax.images.scaling import Scale

H, W = 15, 22
RNG = np.random.default_rng(1)


def chunk(kind, data):
  return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(array, colour, *, filters=(0, 1, 2, 3, 4), more=b"", late=b""):
  """A PNG by the standard (W3C), each row with another filter of the five."""
  height, width = array.shape[:2]
  depth = array.dtype.itemsize * 8
  rows = np.frombuffer(array.astype(array.dtype.newbyteorder(">")).tobytes(), np.uint8)
  rows = rows.reshape(height, -1).astype(int)
  step = rows.shape[1] // width
  left = np.pad(rows, ((0, 0), (step, 0)))[:, :-step]
  above = np.pad(rows, ((1, 0), (0, 0)))[:-1]
  corner = np.pad(rows, ((1, 0), (step, 0)))[:-1, :-step]
  guess = left + above - corner
  far = [np.abs(guess - each) for each in (left, above, corner)]
  paeth = np.where(
    (far[0] <= far[1]) & (far[0] <= far[2]), left, np.where(far[1] <= far[2], above, corner)
  )
  predicted = (0 * rows, left, above, (left + above) // 2, paeth)
  lines = b""
  for y in range(height):
    kind = filters[y % len(filters)]
    lines += bytes([kind]) + ((rows[y] - predicted[kind][y]) & 255).astype(np.uint8).tobytes()
  head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
  data = zlib.compress(lines)
  parts = [chunk(b"IHDR", head), more, chunk(b"IDAT", data), late, chunk(b"IEND", b"")]
  return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def exif(orientation):
  return b"MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01" + struct.pack(
    ">HHI", orientation, 0, 0
  )


@pytest.mark.parametrize(("channels", "colour"), [(1, 0), (2, 4), (3, 2), (4, 6)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png_in_all_bits(channels, colour, dtype, tmp_path):
  array = RNG.integers(0, np.iinfo(dtype).max + 1, (H, W, channels), dtype=dtype)
  (tmp_path / "a.png").write_bytes(png(array, colour))
  stored = read_stored(tmp_path / "a.png")
  assert stored.array.dtype == dtype and stored.colours == (1 if channels < 3 else 3)
  np.testing.assert_array_equal(stored.array, array)
  unit = read_image(tmp_path / "a.png")
  shown = array[..., : stored.colours] / np.iinfo(dtype).max
  np.testing.assert_allclose(unit, shown, atol=1e-6)


def test_an_interlaced_png_of_16_bits(tmp_path):
  """Adam7 by hand: seven small images, of which one row and column in so many."""
  array = RNG.integers(0, 65536, (H, W, 3), dtype=np.uint16)
  passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2))
  lines = b""
  for top, left, down, across in (*passes, (1, 0, 2, 1)):
    for row in array[top::down, left::across]:
      lines += b"\x00" + row.astype(">u2").tobytes()
  head = struct.pack(">IIBBBBB", W, H, 16, 2, 0, 0, 1)
  parts = [chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(lines)), chunk(b"IEND", b"")]
  (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
  np.testing.assert_array_equal(read_stored(tmp_path / "a.png").array, array)


@pytest.mark.parametrize(
  ("name", "options"),
  [
    ("a.bmp", {}),
    ("a.webp", {"lossless": True}),
    ("a.ppm", {}),
    ("a.jp2", {"irreversible": False}),
    ("a.png", {}),
    ("a.jpg", {"quality": 95, "subsampling": 0}),
    ("a.jfif", {"format": "JPEG", "quality": 95, "subsampling": 0}),
    ("a.avif", {"quality": 95, "subsampling": "4:4:4"}),
  ],
)
def test_eight_bits_of_every_kind(name, options, tmp_path):
  if name == "a.avif" and "AVIF" not in opening.formats():
    pytest.skip("this Pillow reads no AVIF")
  rows, columns = np.mgrid[:H, :W]
  array = np.stack([rows * 9, columns * 9, rows + columns], -1).astype(np.uint8)
  Image.fromarray(array).save(tmp_path / name, **options)
  stored = read_stored(tmp_path / name)
  tolerance = 12 if name.endswith(("jpg", "jfif", "avif")) else 0  # lossy
  assert np.abs(stored.array.astype(int) - array).max() <= tolerance
  assert image_size(tmp_path / name) == (H, W)


@pytest.mark.parametrize("kind", [b"P2", b"P3", b"P5", b"P6"])
@pytest.mark.parametrize("most", [15, 255, 4095, 65535])
def test_pgm_and_ppm_keep_their_numbers(kind, most, tmp_path):
  channels = 3 if kind in (b"P3", b"P6") else 1
  array = RNG.integers(0, most + 1, (H, W, channels))
  head = kind + b"\n# a comment\n%d %d\n%d\n" % (W, H, most)
  if kind in (b"P2", b"P3"):
    body = "\n".join(" ".join(map(str, row.ravel())) for row in array).encode()
  else:
    body = array.astype(np.uint8 if most < 256 else ">u2").tobytes()
  (tmp_path / "a.pnm").write_bytes(head + body)
  np.testing.assert_array_equal(read_stored(tmp_path / "a.pnm").array, array)
  np.testing.assert_allclose(read_image(tmp_path / "a.pnm"), array / most, atol=1e-6)
  assert image_size(tmp_path / "a.pnm") == (H, W)


def test_jpeg_2000_of_more_than_8_bits(tmp_path):
  array = RNG.integers(0, 65536, (H, W), dtype=np.uint16)
  Image.fromarray(array).save(tmp_path / "a.jp2", irreversible=False)
  np.testing.assert_array_equal(read_stored(tmp_path / "a.jp2").array[..., 0], array)
  content = bytearray((tmp_path / "a.jp2").read_bytes())
  place = content.find(b"\xff\x4f\xff\x51") + 42
  assert content[place] == 15  # 16 bits, of one channel
  colours = io.BytesIO()
  Image.fromarray(RNG.integers(0, 256, (H, W, 3), dtype=np.uint8)).save(colours, "JPEG2000")
  content = bytearray(colours.getvalue())
  content[content.find(b"\xff\x4f\xff\x51") + 42] = 11  # says 12 bits
  (tmp_path / "b.jp2").write_bytes(bytes(content))
  with pytest.raises(ImageError, match="12 bits per channel"):
    read_image(tmp_path / "b.jp2")


def test_avif_of_ten_bits_is_refused(tmp_path):
  if "AVIF" not in opening.formats():
    pytest.skip("this Pillow reads no AVIF")
  Image.fromarray(np.zeros((H, W, 3), np.uint8)).save(tmp_path / "a.avif")
  content = bytearray((tmp_path / "a.avif").read_bytes())
  content[content.find(b"av1C") + 6] |= 0x40  # high_bitdepth, of the AV1 ISO media format
  (tmp_path / "a.avif").write_bytes(bytes(content))
  with pytest.raises(ImageError, match=r"10 bits per channel|cannot be read"):
    read_image(tmp_path / "a.avif")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "late.png", "a.avif"])
def test_every_orientation(orientation, name, tmp_path):
  """Against Pillow's own exif_transpose of the same pixels."""
  from PIL import ImageOps

  if name == "a.avif" and "AVIF" not in opening.formats():
    pytest.skip("this Pillow reads no AVIF")
  rows, columns = np.mgrid[:H, :W]
  array = np.stack([rows * 9, columns * 9, rows + columns], -1).astype(np.uint8)
  if name == "late.png":  # the tag behind the pixels, as the standard allows
    (tmp_path / name).write_bytes(png(array, 2, late=chunk(b"eXIf", exif(orientation))))
  else:
    tags = Image.Exif()
    tags[0x0112] = orientation
    options = {"quality": 95, "lossless": True} if name != "a.avif" else {"quality": 95}
    Image.fromarray(array).save(tmp_path / name, exif=tags, **options)
  image = Image.fromarray(array)
  image.getexif()[0x0112] = orientation
  truth = np.asarray(ImageOps.exif_transpose(image)).astype(int)
  shown = read_stored(tmp_path / name)
  assert shown.turned is (orientation != 1)
  assert image_size(tmp_path / name) == truth.shape[:2] == shown.array.shape[:2]
  assert np.abs(shown.array - truth).mean() < 4


def test_sizes_come_from_the_head_alone(tmp_path):
  """No pixel of a PNG is decoded: this one has none."""
  array = RNG.integers(0, 256, (H, W, 3), dtype=np.uint8)
  whole = png(array, 2, more=chunk(b"eXIf", exif(6)))
  cut = whole[: whole.find(b"IDAT") + 12]
  (tmp_path / "a.png").write_bytes(cut)
  assert image_size(tmp_path / "a.png") == (W, H)
  with pytest.raises(ImageError, match="cannot be read"):
    read_image(tmp_path / "a.png")


def test_alpha_that_holds_a_picture_is_named(tmp_path):
  array = RNG.integers(0, 256, (H, W, 4), dtype=np.uint8)
  path = tmp_path / "a.png"
  Image.fromarray(array).save(path)
  found = read_pixels(path)
  np.testing.assert_array_equal(found.array, array[..., :3])
  assert "channel 4 (alpha" in found.remarks[0] and "--ir-channel" in found.remarks[0]
  thermal = read_pixels(path, Scale(channels=(4,)))
  np.testing.assert_array_equal(thermal.array, array[..., 3:])
  assert not thermal.remarks
  array[..., 3] = 255
  Image.fromarray(array).save(path)
  assert not read_pixels(path).remarks
  palette = Image.fromarray(array[..., :3]).quantize(16)
  palette.save(path, transparency=3)
  assert "alpha" in read_pixels(path).remarks[0]


def test_several_images_in_one_file_are_named(tmp_path):
  frames = [Image.fromarray(RNG.integers(0, 256, (H, W, 3), dtype=np.uint8)) for _ in range(3)]
  for name in ("a.webp", "a.png"):
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], lossless=True)
    assert "holds 3 images; the first is read" in read_pixels(tmp_path / name).remarks[0]
  frames[0].save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=frames[1:])
  assert "holds 3 pictures; the first is read" in read_pixels(tmp_path / "a.jpg").remarks[0]


def test_what_is_no_regular_file_is_never_opened(tmp_path):
  """A pipe without a writer would wait for ever; a test that hangs has failed."""
  os.mkfifo(tmp_path / "pipe.png")
  (tmp_path / "folder.png").mkdir()
  place = socket.socket(socket.AF_UNIX)
  old = os.getcwd()
  os.chdir(tmp_path)  # a socket's path may have 108 bytes
  try:
    place.bind("socket.png")
  finally:
    os.chdir(old)
    place.close()
  what = {"pipe.png": "a pipe", "folder.png": "a folder", "socket.png": "a socket"}
  for name, kind in what.items():
    with pytest.raises(ImageError, match=f"is {kind}, not an image file"):
      read_image(tmp_path / name)
    assert image_size(tmp_path / name) is None
  with pytest.raises(ImageError, match="is a device"):
    read_image("/dev/zero")


def test_no_other_program_is_started(tmp_path):
  """PostScript under the name of a PNG: Pillow, left to itself, would run Ghostscript."""
  code = """
import subprocess, sys
from PIL import EpsImagePlugin
def refuse(*a, **k): raise SystemExit("a program was started")
subprocess.Popen = subprocess.check_call = subprocess.run = EpsImagePlugin.Ghostscript = refuse
from tdfusion_jax.images.reading import read_image
from tdfusion_jax.images.opening import ImageError
try:
  read_image(sys.argv[1])
except ImageError as error:
  assert sys.argv[1] in str(error)
else:
  raise SystemExit("read")
"""
  (tmp_path / "a.png").write_bytes(
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"
  )
  ran = subprocess.run(
    [sys.executable, "-c", code, str(tmp_path / "a.png")], capture_output=True, check=False
  )
  assert ran.returncode == 0, ran.stderr.decode()


def test_too_little_memory_names_the_file_and_the_way_out(tmp_path, monkeypatch):
  Image.fromarray(np.zeros((H, W), np.uint8)).save(tmp_path / "a.png")

  def fail(*args, **options):
    raise MemoryError

  monkeypatch.setattr("tdfusion_jax.images.plain.of_pillow", fail)
  with pytest.raises(ImageError, match=r"a\.png: not enough memory.*--stream-from"):
    read_image(tmp_path / "a.png")
