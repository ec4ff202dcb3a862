"""What is written, read back by other libraries."""

import struct

import numpy as np
import pytest
import tifffile
from PIL import Image, TiffImagePlugin

from tdfusion_jax.images import tags
from tdfusion_jax.images.origin import Origin, is_placed, origin_of
from tdfusion_jax.images.reading import ImageError, read_image
from tdfusion_jax.images.writing import quantised, write_image

RNG = np.random.default_rng(0)
GPS = {1: "N", 2: (52.0, 30.0, 15.25), 3: "E", 4: (13.0, 24.0, 36.5), 6: 34.5}
TAKEN = "2024:05:06 07:08:09"
UTM = (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32633)  # GeoTIFF 1.1: EPSG:32633
PLACED = [
  (33550, 12, 3, (0.5, 0.5, 0.0)),
  (33922, 12, 6, (0.0, 0.0, 0.0, 389123.25, 5819876.75, 0.0)),
  (34735, 3, len(UTM), UTM),
  (34737, 2, 18, "WGS 84 / UTM 33N|"),
]


def profile(space):
  """The head of an ICC profile, which is all that is looked at here."""
  return struct.pack(">I", 128) + bytes(12) + space + bytes(128 - 20)


def camera_file(path, image, orientation=6):
  """A picture as a camera writes it, by Pillow."""
  first = {271: "FLIR", 272: "T540", 274: orientation, 306: TAKEN, 282: 72.0}
  taken = {36867: TAKEN, 33434: 0.008, 37380: -0.5, 37500: b"made by us", 40962: 9999}
  pixels = Image.fromarray(image)
  if path.suffix == ".tif":
    directory = TiffImagePlugin.ImageFileDirectory_v2()
    for number, value in {**first, 34665: taken, 34853: GPS}.items():
      directory[number] = value
    pixels.save(path, tiffinfo=directory, icc_profile=profile(b"RGB "))
    return
  exif = Image.Exif()
  exif.update(first)
  exif.get_ifd(34665).update(taken)
  exif.get_ifd(34853).update(GPS)
  pixels.save(path, exif=exif, icc_profile=profile(b"RGB "))


@pytest.mark.parametrize(
  "shape", [(37, 29, 1), (37, 29, 3), (1, 1, 3), (2, 9000, 3), (700, 300, 3)]
)
def test_png_of_16_bits_is_read_by_opencv(tmp_path, shape):
  cv2 = pytest.importorskip("cv2")
  image = RNG.integers(0, 65536, shape, np.uint16)
  write_image(tmp_path / "a.png", image, dtype=np.uint16)
  back = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED)
  assert back.dtype == np.uint16
  np.testing.assert_array_equal(
    back if shape[2] == 1 else back[..., ::-1], np.squeeze(image, 2) if shape[2] == 1 else image
  )


def test_png_of_16_bits_is_read_by_pillow(tmp_path):
  """Gray in full; colour by its high bytes, more of which Pillow cannot hold."""
  gray = RNG.integers(0, 65536, (9, 7, 1), np.uint16)
  write_image(tmp_path / "g.png", gray, dtype=np.uint16)
  with Image.open(tmp_path / "g.png") as opened:
    np.testing.assert_array_equal(np.asarray(opened), gray[..., 0])
  colour = RNG.integers(0, 65536, (9, 7, 3), np.uint16)
  write_image(tmp_path / "c.png", colour, dtype=np.uint16)
  with Image.open(tmp_path / "c.png") as opened:
    np.testing.assert_array_equal(np.asarray(opened), colour >> 8)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("shape", [(37, 29, 1), (37, 29, 3), (1, 1, 1), (900, 500, 3)])
def test_tiff_is_read_by_tifffile(tmp_path, dtype, shape):
  unit = RNG.random(shape, np.float32)
  write_image(tmp_path / "a.TIF", unit, dtype=dtype)
  with tifffile.TiffFile(tmp_path / "a.TIF") as opened:
    page = opened.pages.first
    back = page.asarray()
    assert page.tags["Orientation"].value == 1 and back.dtype == dtype
  expected = (
    unit if dtype == np.float32 else np.round(unit.astype(np.float64) * np.iinfo(dtype).max)
  )
  # A product of two float32 may be rounded over a half.
  np.testing.assert_allclose(back.reshape(shape), expected, atol=0 if dtype == np.float32 else 1)
  np.testing.assert_allclose(read_image(tmp_path / "a.TIF"), unit, atol=1 / 255)


def test_numbers_are_rounded_and_clipped():
  unit = np.array([-1, 0, 0.5 / 65535 - 1e-9, 0.5, 1, 2])
  assert quantised(unit).tolist() == [0, 0, 0, 128, 255, 255]
  assert quantised(unit, np.uint16).tolist() == [0, 0, 0, 32768, 65535, 65535]
  assert quantised(unit, np.float32).tolist()[3:] == [0.5, 1, 1]


def test_an_ending_of_8_bits_takes_no_16(tmp_path):
  with pytest.raises(ImageError, match=r"\.jpg has 8 bits; name a \.png or \.tif"):
    write_image(tmp_path / "a.jpg", np.zeros((2, 2, 3)), dtype=np.uint16)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("source", ["v.jpg", "v.png", "v.tif", "v.webp"])
@pytest.mark.parametrize(
  ("result", "dtype"),
  [("r.png", np.uint8), ("r.png", np.uint16), ("r.jpg", np.uint8), ("r.tif", np.uint16)],
)
def test_what_the_camera_says_is_kept(tmp_path, source, result, dtype):
  """Read back by Pillow. Pixels are upright; sizes and makers' notes do not apply."""
  camera_file(tmp_path / source, RNG.integers(0, 256, (8, 6, 3), np.uint8))
  origin = origin_of(tmp_path / source)
  assert not origin.lost
  write_image(tmp_path / result, RNG.random((6, 8, 3), np.float32), dtype=dtype, origin=origin)
  with Image.open(tmp_path / result) as opened:
    exif = opened.getexif()
    first = {number: exif[number] for number in (271, 272, 274, 306)}
    taken, place = dict(exif.get_ifd(34665)), dict(exif.get_ifd(34853))
    assert opened.info["icc_profile"] == profile(b"RGB ")
  assert first == {271: "FLIR", 272: "T540", 274: 1, 306: TAKEN}
  assert taken[36867] == TAKEN and taken[33434] == pytest.approx(0.008)
  assert taken[37380] == pytest.approx(-0.5)
  assert not taken.keys() & {37500, 40962}
  assert place[1] == "N" and place[6] == pytest.approx(34.5)
  assert [float(part) for part in place[2]] == pytest.approx(GPS[2])


def test_exif_behind_the_pixels_of_a_png_is_found(tmp_path):
  """The chunk may stand anywhere before the end (PNG, third edition, 5.6)."""
  camera_file(tmp_path / "v.png", np.zeros((2, 2, 3), np.uint8))
  data = (tmp_path / "v.png").read_bytes()
  at = data.index(b"eXIf") - 4
  size = int.from_bytes(data[at : at + 4], "big") + 12
  moved = data[:at] + data[at + size : -12] + data[at : at + size] + data[-12:]
  (tmp_path / "v.png").write_bytes(moved)
  assert b"FLIR" in origin_of(tmp_path / "v.png").exif()


@pytest.mark.parametrize(("space", "channels"), [(b"CMYK", 3), (b"GRAY", 3), (b"RGB ", 1)])
def test_a_profile_of_other_colours_is_not_kept(space, channels):
  assert Origin(profile=profile(space)).profile_of(channels) == b""
  assert Origin(profile=profile(b"GRAY")).profile_of(1)


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_a_position_is_kept(tmp_path, byteorder, big):
  """Position, resolution and reference system as tifffile reads them from both files."""
  stored = RNG.integers(0, 65536, (6, 8, 3), np.uint16)
  metadata = (
    '<GDALMetadata><Item name="STATISTICS_MEAN" sample="0">7</Item>'
    '<Item name="TIFFTAG_X">kept</Item></GDALMetadata>'
  )
  more = [(42112, 2, len(metadata) + 1, metadata), (42113, 2, 2, "0")]
  tifffile.imwrite(
    tmp_path / "v.tif",
    stored,
    photometric="rgb",
    extratags=[(*tag, True) for tag in PLACED + more],
    byteorder=byteorder,
    bigtiff=big,
  )
  assert is_placed(tmp_path / "v.tif")
  origin = origin_of(tmp_path / "v.tif")
  write_image(tmp_path / "r.tif", stored, dtype=np.uint16, origin=origin)
  with tifffile.TiffFile(tmp_path / "v.tif") as a, tifffile.TiffFile(tmp_path / "r.tif") as b:
    place = b.geotiff_metadata
    assert place == a.geotiff_metadata and place is not None
    assert place["ProjectedCSTypeGeoKey"] == 32633 and place["ModelPixelScale"] == [0.5, 0.5, 0.0]
    assert b.pages.first.tags[42112].value == (
      '<GDALMetadata><Item name="TIFFTAG_X">kept</Item></GDALMetadata>'
    )
    assert 42113 not in b.pages.first.tags  # zeros of the result are no gaps
    np.testing.assert_array_equal(b.asarray(), stored)


def test_a_position_of_a_turned_image_is_said_to_be_lost(tmp_path):
  tifffile.imwrite(
    tmp_path / "v.tif",
    np.zeros((6, 8), np.uint8),
    extratags=[(*tag, True) for tag in [*PLACED, (274, 3, 1, 6)]],
  )
  origin = origin_of(tmp_path / "v.tif")
  assert not origin.position and "not upright" in origin.lost


def test_damaged_tags_are_left_out(tmp_path):
  """Whatever stands in them: cut at every length, and each byte inverted."""
  camera_file(tmp_path / "v.tif", RNG.integers(0, 256, (2, 2, 3), np.uint8))
  whole = (tmp_path / "v.tif").read_bytes()
  kinds = [whole[:length] for length in range(0, len(whole), 7)]
  kinds += [whole[:i] + bytes([whole[i] ^ 255]) + whole[i + 1 :] for i in range(0, len(whole), 3)]
  for index, data in enumerate(kinds):
    (tmp_path / "d.tif").write_bytes(data)
    origin = origin_of(tmp_path / "d.tif")
    assert isinstance(origin.exif(), bytes), index
    if index % 20 == 0:
      write_image(tmp_path / "r.tif", np.zeros((2, 2, 3)), origin=origin)
      assert read_image(tmp_path / "r.tif").shape == (2, 2, 3)


def test_a_directory_reads_back(tmp_path):
  inner = {36867: tags.Tag(2, TAKEN.encode() + b"\0")}
  whole = {256: tags.longs(7), 258: tags.shorts(16, 16, 16), 34665: inner}
  with (tmp_path / "d").open("w+b") as file:
    file.write(b"II*\0\x08\0\0\0" + tags.directory_bytes(whole, 8))
    reader = tags.Reader(file)
    back = reader.directory(reader.first)
    assert back[256] == tags.longs(7) and back[258] == tags.shorts(16, 16, 16)
    assert reader.directory(back[34665].first) == inner
