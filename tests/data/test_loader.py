"""Views and the loader: everything from (seed, step)."""

import pickle

import numpy as np
import pytest
from helpers import assert_same, leaves

from tdfusion_jax.batch import UNKNOWN_CLASS, Boxes, DetTarget, Sample, SegTarget
from tdfusion_jax.data import (
  DatasetError,
  StepOptions,
  StepSource,
  get_source,
  make_dataset,
  val_batches,
)
from tdfusion_jax.data.batches import stack_targets
from tdfusion_jax.data.transforms import random_crop


class Fake:
  """Pairs whose pixels name the pair and the place: ir = 10 * index + row, vi the same + 100."""

  def __init__(self, count=7, size=(8, 12), kind="detection", target=None):
    self.names = [f"p{i}" for i in range(count)]
    self.size, self.kind, self.target = size, kind, target
    self.classes = ("x", "y")

  def __len__(self):
    return len(self.names)

  def __getitem__(self, i):
    height, width = self.size
    ir = (10 * i + np.arange(height)[:, None] + np.zeros(width)).astype(np.uint8)
    target = self.target
    if target is None and self.kind == "detection":
      target = Boxes(np.array([[1, 2, 5, 6]], np.float32), np.array([i % 2], np.int32))
    elif target is None and self.kind == "segmentation":
      target = np.full(self.size, i % 2, np.uint8)
    return Sample(self.names[i], ir, ir + 100, target)

  def describe(self):
    return "fake"


def steps(source=None, **options):
  defaults = {
    "epochs": 2,
    "g_steps": 3,
    "batch_size": 2,
    "meta_pairs": 3,
    "crop_size": (4, 4),
    "task_size": (4, 6),
    "max_boxes": 3,
    "seed": 1,
  }
  return StepSource(source or Fake(), StepOptions(**{**defaults, **options}))


def test_phases():
  source = steps(pretrain_steps=5)  # 7 pairs, batch 2: 4 F/T-steps
  assert len(source) == 5 + 2 * (3 + 4)
  assert [source.phase(i) for i in (0, 4, 5, 7, 8, 11, 12, 18)] == [
    ("pretrain", 0, 0),
    ("pretrain", 0, 4),
    ("g", 0, 0),
    ("g", 0, 2),
    ("ft", 0, 0),
    ("ft", 0, 3),
    ("g", 1, 0),
    ("ft", 1, 3),
  ]
  assert set(source[0]) == set(source[8]) == {"ftr"} and set(source[5]) == {"mtr", "mts"}
  with pytest.raises(IndexError):
    source[19]


def test_views_have_static_shapes_and_types():
  source = steps()
  for step in range(len(source)):
    for views in source[step].values():
      assert (
        views.crop.ir.shape == views.crop.vi.shape == (2, 4, 4, 1) and views.crop.target is None
      )
      assert views.whole.ir.shape == views.whole.vi.shape == (2, 4, 6, 1)
      assert isinstance(views.whole.target, DetTarget)
      assert views.whole.target.boxes.shape == (2, 3, 4) and views.whole.target.classes.shape == (
        2,
        3,
      )
      for pair in (views.crop, views.whole):
        assert pair.ir.dtype == pair.vi.dtype == np.float32 and pair.valid is None
      np.testing.assert_array_equal(views.whole.target.valid, [[True, False, False]] * 2)
      # 8 x 12 -> 4 x 6: x and y halved
      np.testing.assert_allclose(views.whole.target.boxes[:, 0], [[0.5, 1, 2.5, 3]] * 2)


def test_an_epoch_visits_every_pair():
  source = steps(swap="none", crop_size=None, batch_size=1)
  seen = [
    round(float(source[step]["ftr"].whole.ir[0, 0, 0, 0]) * 255 - 0.5) // 10
    for step in range(3, 10)
  ]
  assert sorted(seen) == list(range(7))


def test_random_access_equals_sequential():
  source, fresh = steps(flip=True, pretrain_steps=2), steps(flip=True, pretrain_steps=2)
  sequential = [source[i] for i in range(len(source))]
  for i in reversed(range(len(fresh))):
    assert_same(fresh[i], sequential[i])
  assert_same(pickle.loads(pickle.dumps(source))[4], sequential[4])
  other = steps(flip=True, pretrain_steps=2, seed=2)
  assert any((a != b).any() for a, b in zip(leaves(other[4]), leaves(sequential[4]), strict=True))


def test_dataset_resumes_anywhere():
  source = steps()
  full = list(make_dataset(source))
  assert len(full) == len(source)
  for i in (0, 5, 13):
    assert_same(full[i], source[i])
  rest = list(make_dataset(source, start_step=9, prefetch=0))
  assert len(rest) == len(source) - 9
  for a, b in zip(rest, full[9:], strict=True):
    assert_same(a, b)
  assert list(make_dataset(source, start_step=len(source))) == []
  with pytest.raises(ValueError, match="start_step"):
    make_dataset(source, start_step=99)


def test_swap_half():
  plain, half = (steps(swap=s, batch_size=4) for s in ("none", "half"))
  for step in (0, 4):
    for key, a in plain[step].items():
      b = half[step][key]
      for x, y in ((a.crop, b.crop), (a.whole, b.whole)):
        assert (x.ir != x.vi).all()
        for row in range(4):
          ir, vi = (x.ir, x.vi) if row < 2 else (x.vi, x.ir)
          np.testing.assert_array_equal(y.ir[row], ir[row])
          np.testing.assert_array_equal(y.vi[row], vi[row])
      np.testing.assert_array_equal(a.whole.target.boxes, b.whole.target.boxes)
  assert plain[0]["mtr"].whole.exchanged is None
  assert half[0]["mtr"].whole.exchanged.tolist() == [False, False, True, True]
  single = steps(swap="half", batch_size=1)[0]["mtr"]
  assert (single.whole.vi > single.whole.ir).all()  # one pair stays as it is


def test_swap_copy():
  source = steps(swap="copy", batch_size=4)
  assert source.ft_steps == 4  # two different pairs a step
  views = source[0]["mtr"]
  for pair in (views.crop, views.whole):
    np.testing.assert_array_equal(pair.ir[0::2], pair.vi[1::2])
    np.testing.assert_array_equal(pair.vi[0::2], pair.ir[1::2])
    assert (pair.vi[0::2] > pair.ir[0::2]).all() and (pair.ir[0] != pair.ir[2]).any()
  np.testing.assert_array_equal(views.whole.target.classes[0::2], views.whole.target.classes[1::2])
  assert views.whole.exchanged.tolist() == [False, True, False, True]
  with pytest.raises(ValueError, match="even batch_size"):
    steps(swap="copy", batch_size=3)
  with pytest.raises(ValueError, match="swap"):
    steps(swap="all")


def test_small_samples_are_enlarged_for_the_crop(caplog):
  sample = Sample("s", np.full((4, 10), 51, np.uint8), np.full((4, 10, 3), 102, np.uint8))
  ir, vi, _ = random_crop(sample, (8, 8), np.random.default_rng(0))
  np.testing.assert_allclose(ir, np.full((8, 8), 0.2), rtol=1e-6)
  np.testing.assert_allclose(vi, np.full((8, 8), 0.4), rtol=1e-6)
  source = steps(crop_size=(256, 6))  # images are 8 x 12
  assert source.crop_size == (8, 6) and "crop_size (256, 6) reduced to (8, 6)" in caplog.text


def test_without_crop_the_fusion_loss_sees_the_whole_pair():
  views = steps(crop_size=None)[0]["mtr"]
  np.testing.assert_array_equal(views.crop.ir, views.whole.ir)
  assert views.crop.target is None and views.whole.target is not None


def test_segmentation_targets():
  views = steps(Fake(kind="segmentation"), num_classes=2)[0]["mts"]
  assert isinstance(views.whole.target, SegTarget) and views.whole.target.labels.dtype == np.int32
  assert views.whole.target.labels.shape == (2, 4, 6)
  ignored = Fake(kind="segmentation", target=np.full((8, 12), 255, np.uint8))
  assert (steps(ignored, num_classes=2)[0]["mtr"].whole.target.labels == 255).all()
  with pytest.raises(DatasetError, match=r"p\d: class 5 does not fit a task with 2 classes"):
    steps(Fake(kind="segmentation", target=np.full((8, 12), 5, np.uint8)), num_classes=2)[0]


def test_label_errors():
  many = Boxes(np.tile(np.array([[0, 0, 1, 1]], np.float32), (4, 1)), np.zeros(4, np.int32))
  with pytest.raises(DatasetError, match=r"p\d: 4 boxes are more than data.max_boxes=3"):
    steps(Fake(target=many))[0]
  unlabelled = Fake(kind=None)
  assert steps(unlabelled)[0]["mtr"].whole.target is None
  unlabelled.kind = "detection"
  unlabelled.__class__ = type("Bare", (Fake,), {"__getitem__": lambda self, i: Fake(kind=None)[i]})
  with pytest.raises(DatasetError, match=r"p\d: no label, but the task is detection"):
    steps(unlabelled)[0]


def test_boxes_of_unknown_class_take_the_room_that_is_left():
  classes = np.array([UNKNOWN_CLASS, 1, UNKNOWN_CLASS, 0], np.int32)
  target = stack_targets(
    [Boxes(np.arange(16, dtype=np.float32).reshape(4, 4), classes)], ["p"], "detection", 3, 2
  )
  assert isinstance(target, DetTarget) and target.valid.tolist() == [[True] * 3]
  assert target.classes.tolist() == [[1, 0, UNKNOWN_CLASS]]
  assert target.boxes[0, :, 0].tolist() == [4, 12, 0]


def test_val_batches_in_order_with_fill():
  batches = list(val_batches(Fake(), batch_size=3, task_size=(8, 12), max_boxes=2))
  assert [b.valid.tolist() for b in batches] == [[True] * 3, [True] * 3, [True, False, False]]
  rows = np.concatenate([b.ir[b.valid][:, 0, 0, 0] for b in batches])
  np.testing.assert_allclose(rows * 255, 10 * np.arange(7), rtol=1e-5)
  assert all(b.ir.shape == (3, 8, 12, 1) for b in batches)
  np.testing.assert_array_equal(batches[0].target.boxes[:, 0], [[1, 2, 5, 6]] * 3)
  assert (
    sum(int(b.valid.sum()) for b in val_batches(Fake(), batch_size=2, task_size=(4, 4), limit=3))
    == 3
  )


def test_a_crowded_image_is_validated_and_judged():
  """Four boxes where there is room for three: six rows, as only multiples are compiled for."""
  many = Boxes(np.tile(np.array([[0, 0, 1, 1]], np.float32), (4, 1)), np.zeros(4, np.int32))
  batches = list(val_batches(Fake(target=many), batch_size=7, task_size=(8, 12), max_boxes=3))
  assert batches[0].target.valid.tolist() == [[True] * 4 + [False] * 2] * 7
  few = next(val_batches(Fake(), batch_size=7, task_size=(8, 12), max_boxes=3))
  assert few.target.valid.shape == (7, 3)


def test_real_synthetic_steps():
  source = get_source("synthetic_seg", size=(48, 64), count=4)
  options = StepOptions(
    epochs=1,
    g_steps=1,
    batch_size=2,
    meta_pairs=2,
    crop_size=(32, 32),
    task_size=(48, 64),
    num_classes=5,
  )
  views = StepSource(source, options)[0]["mtr"]
  assert 0 <= views.crop.ir.min() < views.crop.ir.max() <= 1


@pytest.mark.parametrize("swap", ["none", "half", "copy"])
def test_rows_of_a_host_are_those_of_the_whole_batch(swap):
  """Whatever two or more hosts load is, put together, what one would have loaded."""
  options = {"swap": swap, "batch_size": 8, "flip": True, "augment": "task"}
  whole = steps(**options)
  for step in (0, 4):
    for rows in ((0, 4), (4, 8), (3, 4)):  # (3, 4): the second half of a pair of "copy"
      own = steps(rows=rows, **options)[step]
      for key, views in whole[step].items():
        for a, b in zip(leaves(views), leaves(own[key]), strict=True):
          np.testing.assert_array_equal(np.asarray(a)[rows[0] : rows[1]], b)
  with pytest.raises(ValueError, match="rows must lie in a batch of 8"):
    steps(rows=(4, 9), **options)
