"""The one-line Python API: kinds in and out, ranges, colour, errors; importing it costs nothing."""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import tdfusion_jax
from tdfusion_jax import fusers, weightfiles
from tdfusion_jax.fusing import single
from tdfusion_jax.images.opening import ImageError
from tdfusion_jax.images.writing import write_image

RNG = np.random.default_rng(0)


@pytest.fixture
def mean(monkeypatch):
  """A fusion whose answer is known: the mean of both luminances."""
  monkeypatch.setattr(fusers, "load_fusion", lambda **_: (lambda params, ir, vi: (ir + vi) / 2, {}))
  single._fuser.cache_clear()
  yield
  single._fuser.cache_clear()


def test_importing_the_package_loads_no_jax():
  code = "import sys, tdfusion_jax; assert callable(tdfusion_jax.fuse); "
  code += "sys.exit(bool({'jax', 'numpy'} & set(sys.modules)))"
  assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
  ("dtype", "top"), [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1), (np.float64, 1)]
)
def test_arrays_come_back_as_arrays_of_the_visible_dtype(mean, dtype, top):
  ir = np.array([[0, 1, 0.5], [0.25, 0.75, 1]])
  vi = ir[::-1].copy()
  fused = tdfusion_jax.fuse((ir * top).astype(dtype), (vi * top).astype(dtype))
  assert fused.dtype == dtype and fused.shape == (2, 3)
  np.testing.assert_allclose(
    fused / top, (ir + vi) / 2, atol=1 / 255 if dtype == np.uint8 else 2e-5
  )


def test_colour_in_colour_out(mean):
  """Chroma R - Y of the visible image survives (BT.601); alpha does not matter."""
  rgba = RNG.integers(80, 176, (4, 5, 4), np.uint8)
  ir = RNG.integers(100, 156, (4, 5), np.uint8)
  fused = tdfusion_jax.fuse(ir, rgba).astype(float)
  assert fused.shape == (4, 5, 3)
  weights = np.array([0.299, 0.587, 0.114])
  before, after = rgba[..., :3] @ weights, fused @ weights
  np.testing.assert_allclose(after, (before + ir) / 2, atol=0.51)
  np.testing.assert_allclose(fused[..., 0] - after, rgba[..., 0] - before, atol=1.01)
  assert tdfusion_jax.fuse(rgba, ir).shape == (
    4,
    5,
    3,
  )  # the colour of an infrared camera's palette
  assert tdfusion_jax.fuse(ir[..., None], ir[..., None]).shape == (4, 5, 1)


def test_paths_and_pil_images_come_back_as_pil_images(mean, tmp_path):
  write_image(tmp_path / "ir.png", np.full((3, 4, 1), 0.2))
  write_image(tmp_path / "vi.png", np.full((3, 4, 1), 0.6))
  fused = tdfusion_jax.fuse(tmp_path / "ir.png", str(tmp_path / "vi.png"))
  assert (
    fused.mode == "L" and fused.size == (4, 3) and np.asarray(fused).tolist() == [[102] * 4] * 3
  )  # 0.4 * 255
  colour = tdfusion_jax.fuse(Image.new("L", (4, 3), 51), Image.new("P", (4, 3)))
  assert colour.mode == "RGB" and np.asarray(colour).max() == 26  # half of 51, rounded up


def test_a_turned_image_is_fused_upright_and_stays_as_it_was(mean, tmp_path):
  exif = Image.Exif()
  exif[0x0112] = 6
  Image.fromarray(np.arange(12, dtype=np.uint8).reshape(4, 3)).save(tmp_path / "vi.png", exif=exif)
  given = Image.open(tmp_path / "vi.png")
  fused = tdfusion_jax.fuse(np.zeros((3, 4), np.uint8), given)
  assert fused.size == (4, 3) and given.size == (3, 4) and given.getexif()[0x0112] == 6


def test_radiometric_values_are_scaled(mean):
  ir = np.array([[29000, 30000], [31000, 40000]], np.uint16)
  vi = np.zeros((2, 2), np.float64)
  np.testing.assert_allclose(
    tdfusion_jax.fuse(ir, vi, scale="29000:31000"), [[0, 0.25], [0.5, 0.5]], atol=1e-7
  )
  np.testing.assert_allclose(
    tdfusion_jax.fuse(ir, vi, scale="percentile:0:100")[1, 1], 0.5, atol=1e-7
  )


@pytest.mark.parametrize(
  ("ir", "vi", "message"),
  [
    (np.zeros((2, 3)), np.zeros((2, 4)), r"differ in size \(3x2 and 4x2\)"),
    (np.zeros((2, 3)), np.full((2, 3), 255.0), "vi: values from 255 to 255 leave"),
    (np.zeros((2, 3), np.int64), np.zeros((2, 3)), "ir is uint8, uint16 or float, not int64"),
    (np.zeros((2, 3, 2)), np.zeros((2, 3)), r"ir is \[H, W\]"),
    (np.full((2, 3), np.nan), np.zeros((2, 3)), "ir holds values that are not finite"),
    ("nowhere.png", np.zeros((2, 3)), "nowhere.png does not exist"),
  ],
)
def test_what_cannot_be_fused_is_said(mean, ir, vi, message):
  with pytest.raises(ImageError, match=message):
    tdfusion_jax.fuse(ir, vi)


def test_weights_are_loaded_once_and_again_when_replaced(monkeypatch, tmp_path):
  loads = []

  def load(**places):
    loads.append(places)
    return (lambda params, ir, vi: ir), {}

  monkeypatch.setattr(fusers, "load_fusion", load)
  single._fuser.cache_clear()
  gray, file = np.zeros((2, 2)), tmp_path / "f.safetensors"
  for text in ("one", "two"):
    file.write_text(text)
    os.utime(file, (len(loads), len(loads)))
    tdfusion_jax.fuse(gray, gray, weights=file)
    tdfusion_jax.fuse(gray, gray, weights=file)
  assert [place["weights"] for place in loads] == [file] * 2
  single._fuser.cache_clear()


def test_the_shipped_weights_show_what_either_image_shows():
  """A disc that only infrared shows and one that only the visible image shows: both stand out."""
  rows, columns = np.mgrid[:64, :96]
  discs = [(rows - 32) ** 2 + (columns - centre) ** 2 < 12**2 for centre in (24, 72)]
  ir, vi = (0.2 + 0.6 * disc for disc in discs)
  fused = tdfusion_jax.fuse(ir, vi)
  assert 0 < fused.min() < fused.max() < 1
  elsewhere = ~(discs[0] | discs[1])
  for disc in discs:
    assert fused[disc].mean() > fused[elsewhere].mean() + 0.2


def test_a_run_by_either_name(tmp_path):
  """Expected: the weight file of the run."""
  weights = tmp_path / "weights" / "f.safetensors"
  weights.parent.mkdir()
  weights.write_bytes(fusers.shipped_weights().read_bytes())
  ir, vi = RNG.random((2, 9, 12))
  expected = tdfusion_jax.fuse(ir, vi, weights=weights)
  assert np.ptp(expected) > 0.05
  np.testing.assert_array_equal(tdfusion_jax.fuse(ir, vi, run=tmp_path), expected)
  np.testing.assert_array_equal(tdfusion_jax.fuse(ir, vi, checkpoint=tmp_path), expected)
  with pytest.raises(ImageError, match="weights or run, not both"):
    tdfusion_jax.fuse(ir, vi, run=tmp_path, weights=weights)
  with pytest.raises(weightfiles.CheckpointError, match="which is its earlier name, not both"):
    tdfusion_jax.fuse(ir, vi, run=tmp_path, checkpoint=tmp_path)
