"""TIFF: forms written by tifffile (or libtiff in Pillow) give the numbers that went in."""

import io
import subprocess
import sys
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from tdfusion_jax.images.kinds import image_size, read_stored
from tdfusion_jax.images.opening import ImageError
from tdfusion_jax.images.reading import read_image, read_pixels
from tdfusion_jax.images.scaling import Scale

RNG = np.random.default_rng(0)
H, W = 21, 34


def numbers(dtype, *channels):
  """Smooth, so that a wrong order of bytes or planes shows."""
  rows, columns = np.mgrid[:H, :W]
  ramp = (rows * 5 + columns * 3)[(...,) + (None,) * len(channels)]
  ramp = ramp + np.zeros(channels) + np.arange(channels[0]) * 20 if channels else ramp
  if np.dtype(dtype).kind == "f":
    return (ramp / 400 + 20.25).astype(dtype)
  top = 100 if np.dtype(dtype).itemsize == 1 else 30000
  return (ramp * (top / 300)).astype(dtype)


def lzw(array, *, predictor=False, planar=False):
  """A TIFF file of one LZW strip a plane; the bytes are compressed by libtiff in Pillow."""
  planes = [array]
  if planar:
    planes = list(np.moveaxis(array, -1, 0))
  strips = []
  for plane in planes:
    if predictor:
      plane = np.concatenate([plane[:, :1], np.diff(plane, axis=1)], axis=1)
    buffer = io.BytesIO()
    octets = np.frombuffer(np.ascontiguousarray(plane).tobytes(), np.uint8).reshape(H, -1)
    Image.fromarray(octets).save(buffer, "TIFF", compression="tiff_lzw", tiffinfo={278: H})
    with tifffile.TiffFile(io.BytesIO(buffer.getvalue())) as file:
      page = file.pages[0]
      assert page.compression == 5 and page.predictor == 1 and len(page.dataoffsets) == 1
      start, count = page.dataoffsets[0], page.databytecounts[0]
    strips.append(buffer.getvalue()[start : start + count])
  out = io.BytesIO()
  tifffile.imwrite(
    out,
    iter(strips),
    shape=np.moveaxis(array, -1, 0).shape if planar else array.shape,
    dtype=array.dtype,
    compression="zlib",  # what these bytes are not: the tag is set right below
    predictor=2 if predictor else None,
    rowsperstrip=H,
    photometric="rgb" if array.ndim == 3 else "minisblack",
    planarconfig="separate" if planar else "contig" if array.ndim == 3 else None,
  )
  with tifffile.TiffFile(io.BytesIO(out.getvalue())) as file:
    place = file.pages[0].tags[259].valueoffset
  content = bytearray(out.getvalue())
  content[place : place + 2] = (5).to_bytes(2, "little")
  return bytes(content)


FORMS = {
  "gray 8": (numbers("u1"), {}),
  "gray 16": (numbers("u2"), {}),
  "gray 16, big-endian": (numbers("u2"), {"byteorder": ">"}),
  "gray 32": (numbers("u4"), {}),
  "gray 64": (numbers("u8"), {}),
  "signed 8": (numbers("i1") - np.int8(50), {}),
  "signed 16": (numbers("i2") - np.int16(9000), {}),
  "signed 32, big-endian": (numbers("i4") - np.int32(9000), {"byteorder": ">"}),
  "float16": (numbers("f2"), {}),
  "float32": (numbers("f4"), {}),
  "float32, big-endian, BigTIFF": (numbers("f4"), {"byteorder": ">", "bigtiff": True}),
  "float64": (numbers("f8"), {}),
  "RGB 8": (numbers("u1", 3), {"photometric": "rgb"}),
  "RGB 16": (numbers("u2", 3), {"photometric": "rgb"}),
  "RGB 16, Deflate with predictor": (
    numbers("u2", 3),
    {"photometric": "rgb", "compression": "zlib", "predictor": True},
  ),
  "RGB float32": (numbers("f4", 3), {"photometric": "rgb"}),
  "gray 16, tiles": (numbers("u2"), {"tile": (16, 16)}),
  "RGB 16, tiles, Deflate": (
    numbers("u2", 3),
    {"photometric": "rgb", "tile": (16, 16), "compression": "zlib"},
  ),
  "gray 16, strips, LZMA": (numbers("u2"), {"rowsperstrip": 4, "compression": "lzma"}),
}


@pytest.mark.parametrize("form", FORMS)
def test_numbers_are_those_that_tifffile_reads(form, tmp_path):
  array, options = FORMS[form]
  path = tmp_path / "a.tif"
  tifffile.imwrite(path, array, **{"photometric": "minisblack", **options})
  truth = tifffile.imread(path)
  np.testing.assert_array_equal(truth, array)
  stored = read_stored(path)
  np.testing.assert_array_equal(stored.array.reshape(truth.shape), truth)
  assert stored.colours == (3 if truth.ndim == 3 else 1) and not stored.remarks
  assert stored.array.dtype == (np.float32 if array.dtype == np.float16 else array.dtype)
  assert image_size(path) == (H, W)
  low, high = float(array.min()), float(array.max())
  unit = read_image(path, Scale("range", low, high))
  np.testing.assert_allclose(
    unit.reshape(truth.shape), (array.astype(float) - low) / (high - low), atol=1e-6
  )


PACKED = {
  "LZW, gray 16": (lzw, numbers("u2"), {}),
  "LZW, RGB 16": (lzw, numbers("u2", 3), {}),
  "LZW, RGB 16 with predictor": (lzw, numbers("u2", 3), {"predictor": True}),
  "LZW, RGB 8, planes": (lzw, numbers("u1", 3), {"planar": True}),
  "LZW, RGB 16, planes": (lzw, numbers("u2", 3), {"planar": True}),
  "LZW, float64": (lzw, numbers("f8"), {}),
}


@pytest.mark.parametrize("form", PACKED)
def test_lzw_of_any_type(form, tmp_path):
  """tifffile decodes LZW with imagecodecs alone, Pillow cuts all but gray to 8 bits."""
  make, array, options = PACKED[form]
  (tmp_path / "a.tif").write_bytes(make(array, **options))
  stored = read_stored(tmp_path / "a.tif")
  np.testing.assert_array_equal(stored.array.reshape(array.shape), array)


def test_planes_side_by_side(tmp_path):
  array = numbers("u2", 3)
  tifffile.imwrite(
    tmp_path / "a.tif", np.moveaxis(array, -1, 0), photometric="rgb", planarconfig="separate"
  )
  np.testing.assert_array_equal(read_stored(tmp_path / "a.tif").array, array)


def packed(array, bits):
  """Rows of numbers of `bits` each, the highest bit first, as TIFF 6.0 has them."""
  each = (array[..., None] >> np.arange(bits)[::-1]) & 1
  return np.packbits(each.reshape(len(array), -1).astype(np.uint8), axis=1).tobytes()


@pytest.mark.parametrize("bits", [1, 2, 4, 12, 14])
def test_odd_bit_depths(bits, tmp_path):
  array = RNG.integers(0, 2**bits, (H, W), dtype=np.uint16)
  array[0, :2] = 0, 2**bits - 1
  path = tmp_path / "a.tif"
  tifffile.imwrite(path, np.zeros((H, W), np.uint8), photometric="minisblack")
  content = bytearray(path.read_bytes())
  with tifffile.TiffFile(io.BytesIO(bytes(content))) as file:
    tags = file.pages[0].tags
    places = {code: tags[code].valueoffset for code in (258, 273, 279)}
    width = tags[273].dtype
  data = packed(array, bits)
  content[places[258] : places[258] + 2] = bits.to_bytes(2, "little")
  size = 4 if width == 4 else 2
  content[places[273] : places[273] + size] = len(content).to_bytes(size, "little")
  content[places[279] : places[279] + 2] = len(data).to_bytes(2, "little")
  path.write_bytes(bytes(content) + data)
  stored = read_stored(path)
  np.testing.assert_array_equal(stored.array[..., 0], array)
  np.testing.assert_allclose(read_image(path)[..., 0], array / (2**bits - 1), atol=1e-6)


def test_the_floating_point_predictor(tmp_path):
  """Adobe's technical note 3: bytes sorted by their weight, then differences along the row."""
  array = numbers("f4")
  octets = array.astype(">f4").view(np.uint8).reshape(H, W, 4).transpose(0, 2, 1).reshape(H, -1)
  steps = np.concatenate([octets[:, :1], np.diff(octets, axis=1)], axis=1)
  tifffile.imwrite(
    tmp_path / "a.tif",
    iter([zlib.compress(steps.tobytes())]),
    shape=array.shape,
    dtype=array.dtype,
    compression="zlib",
    rowsperstrip=H,
  )
  content = bytearray((tmp_path / "a.tif").read_bytes())
  with tifffile.TiffFile(io.BytesIO(bytes(content))) as file:
    # A tag that says nothing makes room for the predictor's.
    tag = file.pages[0].tags[296] if 296 in file.pages[0].tags else file.pages[0].tags[305]
  content[tag.offset : tag.offset + 12] = b"\x3d\x01\x03\x00\x01\x00\x00\x00\x03\x00\x00\x00"
  (tmp_path / "a.tif").write_bytes(bytes(content))
  np.testing.assert_array_equal(read_stored(tmp_path / "a.tif").array[..., 0], array)


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_white_is_zero(dtype, tmp_path):
  array = numbers(dtype)
  tifffile.imwrite(tmp_path / "a.tif", array, photometric="miniswhite")
  shown = read_stored(tmp_path / "a.tif").array[..., 0]
  np.testing.assert_array_equal(shown, np.iinfo(dtype).max - array)
  tifffile.imwrite(tmp_path / "f.tif", numbers("f4"), photometric="miniswhite")
  with pytest.raises(ImageError, match="WhiteIsZero of float32"):
    read_image(tmp_path / "f.tif")


def test_palettes(tmp_path):
  table = RNG.integers(0, 256, (3, 256), dtype=np.uint16)
  index = numbers("u1")
  for name, colours in (("doubled", table * 257), ("shifted", table << 8), ("bytes", table)):
    tifffile.imwrite(
      tmp_path / f"{name}.tif", index, photometric="palette", colormap=colours.astype(np.uint16)
    )
    shown = read_stored(tmp_path / f"{name}.tif")
    assert shown.colours == 3
    np.testing.assert_array_equal(shown.array, table.T[index])
  kept = read_stored(tmp_path / "bytes.tif", indices=True)
  np.testing.assert_array_equal(kept.array[..., 0], index)


def test_inks(tmp_path):
  inks = RNG.integers(0, 256, (H, W, 4), dtype=np.uint8)
  tifffile.imwrite(tmp_path / "a.tif", inks, photometric="separated")
  shown = read_stored(tmp_path / "a.tif").array
  truth = np.asarray(Image.fromarray(inks, mode="CMYK").convert("RGB")).astype(int)
  assert np.abs(shown.astype(int) - truth).max() <= 1  # Pillow's own formula rounds otherwise


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("compression", [None, "tiff_lzw", "jpeg"])
def test_every_orientation_is_applied_once(orientation, compression, tmp_path):
  """Against Pillow's own turning of a PNG of the same pixels."""
  array = numbers("u1", 3)
  path = tmp_path / "a.tif"
  Image.fromarray(array).save(path, compression=compression, tiffinfo={274: orientation})
  plain = Image.fromarray(array)
  method = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
  }.get(orientation)
  truth = np.asarray(plain.transpose(method) if method is not None else plain)
  stored = read_stored(path)
  assert stored.turned is (orientation != 1)
  tolerance = 12 if compression == "jpeg" else 0  # lossy
  assert np.abs(stored.array.astype(int) - truth).max() <= tolerance
  assert image_size(path) == truth.shape[:2]


def test_alpha(tmp_path):
  alpha = np.full((H, W, 1), 255, np.uint8)
  colours = numbers("u1", 3)
  path = tmp_path / "a.tif"
  opaque = np.concatenate([colours, alpha], -1)
  tifffile.imwrite(path, opaque, photometric="rgb", extrasamples=["unassalpha"])
  found = read_pixels(path)
  np.testing.assert_array_equal(found.array, colours)
  assert not found.remarks  # an alpha channel that says nothing

  alpha[5:9, 5:9] = 128
  tifffile.imwrite(
    path, np.concatenate([colours, alpha], -1), photometric="rgb", extrasamples=["unassalpha"]
  )
  (remark,) = read_pixels(path).remarks
  assert "channel 4 (alpha, values 128 to 255) is left out" in remark
  np.testing.assert_array_equal(read_pixels(path, Scale(channels=(4,))).array, alpha)

  # Colours multiplied by alpha, as compositors write them, are divided by it.
  multiplied = np.round(colours * (alpha / 255)).astype(np.uint8)
  tifffile.imwrite(
    path, np.concatenate([multiplied, alpha], -1), photometric="rgb", extrasamples=["assocalpha"]
  )
  assert np.abs(read_pixels(path).array.astype(int) - colours).max() <= 1


def test_many_channels_need_a_choice(tmp_path):
  array = numbers("u2", 5)
  tifffile.imwrite(
    tmp_path / "a.tif", array, photometric="minisblack", planarconfig="contig", extrasamples=[0] * 4
  )
  with pytest.raises(ImageError, match="5 channels and does not say.*--ir-channel"):
    read_image(tmp_path / "a.tif")
  chosen = read_pixels(tmp_path / "a.tif", Scale(channels=(3, 2, 1))).array
  np.testing.assert_array_equal(chosen, array[..., [2, 1, 0]])
  with pytest.raises(ImageError, match="there is no channel 6"):
    read_image(tmp_path / "a.tif", Scale(channels=(6,)))


def test_pages(tmp_path):
  first, second = numbers("u1"), numbers("u1") + np.uint8(7)
  path = tmp_path / "a.tif"
  with tifffile.TiffWriter(path) as file:
    file.write(first, photometric="minisblack")
    file.write(second[::2, ::2], photometric="minisblack", subfiletype=1)  # an overview
  found = read_pixels(path)
  np.testing.assert_array_equal(found.array[..., 0], first)
  assert not found.remarks
  with tifffile.TiffWriter(path) as file:
    file.write(first, photometric="minisblack")
    file.write(second, photometric="minisblack")
  assert "holds 2 images; the first is read" in read_pixels(path).remarks[0]
  with tifffile.TiffWriter(path) as file:
    file.write(second[::2, ::2], photometric="minisblack", subfiletype=1)
    file.write(first, photometric="minisblack")
  np.testing.assert_array_equal(read_pixels(path).array[..., 0], first)


@pytest.mark.parametrize(
  ("array", "options", "match"),
  [
    (numbers("c8"), {}, "are not read"),
    (numbers("u1", 3), {"photometric": "cielab"}, "colours of the kind CIELAB"),
    (numbers("u2"), {"photometric": "cfa"}, "colours of the kind CFA"),
    (np.zeros((3, 8, 8), np.uint8), {"volumetric": True, "tile": (1, 16, 16)}, "volume of 3"),
  ],
)
def test_what_is_refused_says_why(array, options, match, tmp_path):
  tifffile.imwrite(tmp_path / "a.tif", array, **{"photometric": "minisblack", **options})
  with pytest.raises(ImageError, match=match) as error:
    read_image(tmp_path / "a.tif")
  assert str(tmp_path / "a.tif") in str(error.value) and "\n" not in str(error.value)


def test_no_data(tmp_path):
  array = numbers("f4")
  path = tmp_path / "a.tif"
  array[0, :3] = np.nan
  tifffile.imwrite(path, array)
  with pytest.raises(ImageError, match="not finite.*--nodata=fill"):
    read_image(path, Scale("range", 20, 21))
  found = read_pixels(path, Scale("percentile", 0, 100, fill=True))
  assert (found.bottom, found.top) == (np.nanmin(array), np.nanmax(array))
  assert (found.array[0, :3] == np.nanmin(array)).all()

  whole = numbers("u2") + np.uint16(1000)
  whole[4, 4:9] = 0
  tifffile.imwrite(path, whole, extratags=[(42113, "s", 0, "0", True)])
  with pytest.raises(ImageError, match=r"no data \(0\)"):
    read_image(path)
  found = read_pixels(path, Scale("percentile", 0, 100, fill=True))
  assert found.bottom == 1000 == found.array[4, 4, 0]
  # A value that only the user knows.
  tifffile.imwrite(path, whole)
  assert read_pixels(path).bottom == 0
  assert read_pixels(path, Scale("percentile", 0, 100, fill=True, nodata=0.0)).bottom == 1000


def test_tifffile_is_not_imported_before_it_is_needed():
  code = "import tdfusion_jax, tdfusion_jax.data, sys; sys.exit('tifffile' in sys.modules)"
  assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("side", ["ImageWidth", "ImageLength"])
@pytest.mark.parametrize("extra", [None, ["unassalpha"]])
def test_an_image_without_pixels_is_none(side, extra, tmp_path):
  path = tmp_path / "a.tif"
  array = np.zeros((8, 6, 4 if extra else 3), np.uint8)
  tifffile.imwrite(path, array, photometric="rgb", extrasamples=extra)
  with tifffile.TiffFile(path, mode="r+b") as file:
    file.pages[0].tags[side].overwrite(0)
  with pytest.raises(ImageError, match=r"a\.tif: .* there is no image in it"):
    read_image(path)
