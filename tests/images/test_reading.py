"""What image files hold, as images in [0, 1]."""

import numpy as np
import pytest
from PIL import Image

from tdfusion_jax.files import UsageError
from tdfusion_jax.images.opening import ImageError
from tdfusion_jax.images.reading import read_image
from tdfusion_jax.images.scaling import parse_scale
from tdfusion_jax.images.writing import write_image


def test_file_modes(tmp_path):
  Image.fromarray(np.array([[0, 65535]], np.uint16)).save(tmp_path / "deep.png")
  np.testing.assert_allclose(read_image(tmp_path / "deep.png")[..., 0], [[0, 1]])
  Image.new("RGBA", (2, 1), (255, 0, 0, 10)).save(tmp_path / "alpha.png")
  np.testing.assert_allclose(read_image(tmp_path / "alpha.png")[0, 0], [1, 0, 0])
  Image.new("P", (2, 1), 0).save(tmp_path / "palette.png")
  assert read_image(tmp_path / "palette.png").shape == (1, 2, 3)


def test_values_outside_the_range_need_a_scale(tmp_path):
  """Clipped or divided by a guess, they would be nearly black or white."""
  Image.fromarray(np.array([[0.25, 0.75]], np.float32)).save(tmp_path / "float.tif")
  np.testing.assert_array_equal(read_image(tmp_path / "float.tif")[..., 0], [[0.25, 0.75]])
  Image.fromarray(np.array([[293.15, 310]], np.float32)).save(tmp_path / "kelvin.tif")
  with pytest.raises(ImageError, match=r"kelvin\.tif: values from 293.15 to 310 leave"):
    read_image(tmp_path / "kelvin.tif")
  Image.fromarray(np.array([[0, 65536]], np.int32)).save(tmp_path / "int.tif")
  with pytest.raises(ImageError, match=r"int\.tif: values from 0 to 65536"):
    read_image(tmp_path / "int.tif")
  Image.fromarray(np.array([[0, 13107]], np.int32)).save(tmp_path / "int.tif")
  np.testing.assert_allclose(read_image(tmp_path / "int.tif")[..., 0], [[0, 0.2]], rtol=1e-6)


def test_scales(tmp_path):
  """Expected values by hand; percentiles of 0..100 are themselves."""
  deep = np.arange(101, dtype=np.uint16).reshape(1, 101) * 100
  for suffix in ("png", "tif"):
    path = tmp_path / f"deep.{suffix}"
    Image.fromarray(deep).save(path)

    def read(text, path=path):
      return read_image(path, parse_scale(text))[0, :, 0]

    np.testing.assert_allclose(read("linear")[[0, 100]], [0, 10000 / 65535], rtol=1e-6)
    np.testing.assert_allclose(
      read("percentile")[[0, 1, 50, 99, 100]], [0, 0, 0.5, 1, 1], atol=1e-6
    )
    np.testing.assert_allclose(read("percentile:0:50")[[0, 25, 50, 51]], [0, 0.5, 1, 1], atol=1e-6)
    np.testing.assert_allclose(
      read("2000:4000")[[0, 20, 25, 40, 41]], [0, 0, 0.25, 1, 1], atol=1e-6
    )
  hot = np.full((20, 20), 7, np.uint16)
  hot[3, 4] = 9  # one pixel of 400 lies outside the percentiles and is all there is to see
  Image.fromarray(hot).save(tmp_path / "hot.png")
  assert read_image(tmp_path / "hot.png", parse_scale("percentile"))[3, 4] == 1
  assert read_image(tmp_path / "hot.png", parse_scale("percentile"))[0, 0] == 0
  Image.new("L", (2, 2), 9).save(tmp_path / "flat.png")
  assert (read_image(tmp_path / "flat.png", parse_scale("percentile")) == 0.5).all()


@pytest.mark.parametrize(
  "text",
  ["", "lin", "3", "5:5", "9:2", "a:b", "1:2:3", "percentile:5", "percentile:-1:50", "0:inf"],
)
def test_scales_that_mean_nothing(text):
  with pytest.raises(UsageError, match="scale"):
    parse_scale(text)


def test_the_camera_s_orientation_is_applied(tmp_path):
  image = Image.fromarray(np.array([[0, 51, 102]], np.uint8))
  exif = image.getexif()
  exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
  image.save(tmp_path / "turned.png", exif=exif)
  np.testing.assert_allclose(
    read_image(tmp_path / "turned.png")[..., 0], [[0], [0.2], [0.4]], rtol=1e-6
  )


# Pillow remarks on the damage before it gives up.
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif", ".webp"])
def test_damaged_files_end_in_one_kind_of_error(tmp_path, suffix):
  """A run over a folder survives whatever a file holds."""
  path, rng, outcomes = tmp_path / f"x{suffix}", np.random.default_rng(0), set()
  write_image(path, rng.random((12, 16, 3)))
  whole = path.read_bytes()
  for kept in rng.integers(0, len(whole), 30):
    damaged = bytearray(whole[: kept if kept % 2 else None])
    for place in rng.integers(0, max(min(len(damaged), 100), 1), 3 if damaged else 0):
      damaged[place] = rng.integers(256)
    path.write_bytes(damaged)
    try:
      image = read_image(path)
      assert image.min() >= 0 and image.max() <= 1
    except ImageError as error:
      outcomes.add(type(error))
      assert str(path) in str(error)
  assert outcomes == {ImageError}
