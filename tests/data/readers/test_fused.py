"""Finished images in the place of pairs, and the built-in world's true weights."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tdfusion_jax.batch import Sample
from tdfusion_jax.data import DatasetError, FusedSource, SyntheticSource
from tdfusion_jax.data.loader import StepOptions, StepSource
from tdfusion_jax.data.truth import TruthSource


@pytest.fixture
def world():
  return SyntheticSource("segmentation", size=(32, 48), count=3)


def write_all(world, folder, colour=False):
  for index, name in enumerate(world.names):
    image = np.full((32, 48), 10 * index + 5, np.uint8)
    Image.fromarray(np.stack([image] * 3, -1) if colour else image).save(folder / f"{name}.png")


@pytest.mark.parametrize("colour", [False, True])
def test_images_of_a_folder_replace_both(world, tmp_path, colour):
  write_all(world, tmp_path, colour)
  source = FusedSource(world, "folder", tmp_path)
  assert source.names == world.names and len(source) == 3
  sample = source[2]
  np.testing.assert_array_equal(sample.ir, np.full((32, 48), 25))
  np.testing.assert_array_equal(sample.vi, sample.ir)
  np.testing.assert_array_equal(sample.target, world[2].target)


def test_single_modalities_and_both(world):
  pair = world[1]
  infrared, visible, both = (
    FusedSource(world, name)[1] for name in ("infrared", "visible", "both")
  )
  np.testing.assert_array_equal(infrared.ir, pair.ir)
  np.testing.assert_array_equal(infrared.vi, pair.ir)
  expected = pair.vi @ np.array([0.299, 0.587, 0.114])  # BT.601
  assert np.abs(visible.ir - expected).max() <= 0.51 and visible.ir.std() > 1
  np.testing.assert_array_equal(both.vi, pair.vi)


def test_average_and_maximum(world):
  pair = world[1]
  infrared, visible = pair.ir.astype(float), pair.vi @ np.array([0.299, 0.587, 0.114])
  average, maximum = (FusedSource(world, name)[1] for name in ("average", "maximum"))
  for made, expected in (
    (average, (infrared + visible) / 2),
    (maximum, np.maximum(infrared, visible)),
  ):
    assert np.abs(made.ir - expected).max() <= 0.51 and made.ir.std() > 1
    np.testing.assert_array_equal(made.vi, made.ir)


def test_an_average_with_a_weight(world):
  """Expected: 0.7 infrared + 0.3 luminance of BT.601, rounded."""
  pair = world[1]
  source = FusedSource(world, "average", w_a=0.7)
  luminance = pair.vi @ np.array([0.299, 0.587, 0.114])
  assert np.abs(source[1].ir - (0.7 * pair.ir + 0.3 * luminance)).max() <= 0.51
  assert source[1].ir.std() > 1 and "w_a = 0.7" in source.describe()


def test_what_is_missing_is_named(world, tmp_path):
  with pytest.raises(DatasetError, match="no such folder"):
    FusedSource(world, "folder", tmp_path / "none")
  write_all(world, tmp_path)
  (tmp_path / f"{world.names[1]}.png").unlink()
  with pytest.raises(DatasetError, match=f"1 of 3 pairs, the first is {world.names[1]}"):
    FusedSource(world, "folder", tmp_path)
  Image.new("L", (47, 32)).save(tmp_path / f"{world.names[1]}.png")
  with pytest.raises(DatasetError, match="47x32 and 48x32"):
    FusedSource(world, "folder", tmp_path)[1]
  (tmp_path / f"{world.names[1]}.png").write_bytes(b"no image")
  with pytest.raises(DatasetError, match="cannot be read"):
    FusedSource(world, "folder", tmp_path)[1]
  with pytest.raises(DatasetError, match="one of"):
    FusedSource(world, "other")


def told(index):
  """A scene whose infrared image is its truth: 255 where w_a is 1, 0 where it is 0, else 128."""
  rng = np.random.default_rng(index)
  draw = rng.integers(3, size=(40, 56))
  return {"ir_only": draw == 0, "vi_only": draw == 1}


class Told:
  names, classes, kind = [f"n{i}" for i in range(6)], (), None
  scene = staticmethod(told)

  def __len__(self):
    return 6

  def __getitem__(self, index):
    scene = told(index)
    ir = np.where(scene["ir_only"], 255, np.where(scene["vi_only"], 0, 128)).astype(np.uint8)
    return Sample(self.names[index], ir, 255 - ir)

  def describe(self):
    return "told"


@pytest.mark.parametrize("crop", [(24, 30), None])
@pytest.mark.parametrize("swap", ["none", "half", "copy"])
def test_true_weights_follow_crop_flip_and_swap(crop, swap):
  options = {
    "epochs": 2,
    "g_steps": 0,
    "batch_size": 4,
    "meta_pairs": 2,
    "crop_size": crop,
    "task_size": (40, 56),
  }
  steps = StepSource(TruthSource(Told()), StepOptions(**options, swap=swap, flip=True, seed=3))
  for step in range(len(steps)):
    crop_view = steps[step]["ftr"].crop
    assert crop_view.ir.shape[-1] == 1 and steps[step]["ftr"].whole.weights is None
    image, truth = crop_view.ir[..., 0], crop_view.weights[..., 0]
    expected = np.where(
      image > 0.9, 1.0, np.where(image < 0.1, 0.0, 0.5)
    )  # 255 - 128 and 128 are both gray
    np.testing.assert_array_equal(truth, expected)
    np.testing.assert_array_equal(crop_view.weights[..., 1], 1 - expected)
    assert {0.0, 0.5, 1.0} == set(np.unique(truth))


def test_true_weights_need_a_world_that_knows_them():
  plain: Any = SimpleNamespace(names=Told.names, classes=(), kind=None, describe=lambda: "a folder")
  plain_source: Any = type(
    "Plain", (), {**vars(plain), "__len__": lambda s: 6, "__getitem__": lambda s, i: Told()[i]}
  )()
  plain_source.describe = lambda: "a folder"
  with pytest.raises(DatasetError, match="synthetic world only"):
    TruthSource(plain_source)
