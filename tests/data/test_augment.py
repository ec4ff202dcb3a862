"""Augmented views: labels and boxes stay on what they mark."""

import numpy as np
import pytest

from tdfusion_jax.batch import IGNORE_LABEL, Boxes, Sample
from tdfusion_jax.data import SyntheticSource
from tdfusion_jax.data.augment import augmented_view
from tdfusion_jax.data.loader import StepOptions, StepSource

SIZE = (64, 96)


def lit(top, left, height, width, kind):
  """A dark pair of 120x160 with one white rectangle, and its box or mask."""
  ir = np.zeros((120, 160), np.uint8)
  ir[top : top + height, left : left + width] = 255
  if kind == "detection":
    target = Boxes(
      np.array([[left, top, left + width, top + height]], np.float32),
      np.array([2], np.int32),
    )
  else:
    target = (ir > 0).astype(np.uint8)
  return Sample("lit", ir, ir, target)


@pytest.mark.parametrize("seed", range(12))
def test_boxes_hold_the_white_rectangle(seed):
  rng = np.random.default_rng(seed)
  sample = lit(40, 60, 36, 40, "detection")
  ir, vi, (boxes, classes) = augmented_view(sample, SIZE, rng)
  np.testing.assert_array_equal(ir, vi)
  assert ir.shape == SIZE and ir.dtype == np.float32
  white = np.argwhere(ir > 0.75)  # the fill is 0.45, the background 0
  if not len(boxes):
    assert len(white) < 0.2 * ir.size
    return
  (x1, y1, x2, y2), (top, left), (bottom, right) = boxes[0], white.min(0), white.max(0) + 1
  assert classes.tolist() == [2]
  np.testing.assert_allclose([left, top, right, bottom], [x1, y1, x2, y2], atol=2.0)


@pytest.mark.parametrize("seed", range(6))
def test_mosaics_hold_every_white_rectangle(seed):
  rng = np.random.default_rng(seed)
  tiles = iter(
    [
      lit(20, 30, 40, 50, "detection"),
      lit(50, 60, 30, 60, "detection"),
      lit(30, 90, 60, 40, "detection"),
    ]
  )
  ir, _, (boxes, classes) = augmented_view(
    lit(40, 60, 36, 40, "detection"), SIZE, rng, lambda: next(tiles)
  )
  assert next(tiles, None) is None  # three more pairs were drawn
  inside = np.zeros(SIZE, bool)
  for x1, y1, x2, y2 in boxes:
    cut = ir[int(y1) + 1 : int(y2), int(x1) + 1 : int(x2)]
    assert cut.mean() > 0.8, "a box that holds no white rectangle"
    inside[max(int(y1) - 1, 0) : int(y2) + 2, max(int(x1) - 1, 0) : int(x2) + 2] = True
  assert len(boxes) == len(classes)
  # What is white outside the boxes is a sliver of a dropped one.
  assert (ir[~inside] > 0.75).sum() < 0.04 * ir.size
  assert boxes.min(initial=0) >= 0 and boxes.dtype == np.float32


@pytest.mark.parametrize("seed", range(12))
def test_masks_follow_the_image_and_what_is_outside_is_ignored(seed):
  ir, _, labels = augmented_view(
    lit(30, 40, 60, 70, "segmentation"), SIZE, np.random.default_rng(seed)
  )
  assert labels.shape == SIZE and set(np.unique(labels)) <= {0, 1, IGNORE_LABEL}
  known = labels != IGNORE_LABEL
  assert np.mean((ir[known] > 0.5) == (labels[known] == 1)) > 0.97
  assert (ir[~known] == 0).all()


def test_scales_and_places_vary_and_repeat_with_the_seed():
  views = [
    augmented_view(lit(40, 60, 36, 40, "detection"), SIZE, np.random.default_rng(s))[0]
    for s in (1, 1, 2)
  ]
  np.testing.assert_array_equal(views[0], views[1])
  assert not np.array_equal(views[0], views[2])


def test_steps_draw_mosaics_until_the_last_tenth():
  source = SyntheticSource("detection", size=(64, 96), count=8)
  options = {
    "epochs": 10,
    "g_steps": 0,
    "batch_size": 4,
    "meta_pairs": 2,
    "crop_size": None,
    "task_size": (64, 96),
  }
  steps = StepSource(source, StepOptions(**options, augment="task"))
  assert len(steps) == 20
  early, late = steps[0]["ftr"].whole, steps[19]["ftr"].whole
  assert early.target.valid.sum() > late.target.valid.sum()  # four scenes in each image against one
  np.testing.assert_array_equal(
    steps[3]["ftr"].whole.ir,
    StepSource(source, StepOptions(**options, augment="task"))[3]["ftr"].whole.ir,
  )
  with pytest.raises(ValueError, match="augment"):
    StepSource(source, StepOptions(**options, augment="some"))
