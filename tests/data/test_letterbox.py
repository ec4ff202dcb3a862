"""A pair with its proportions kept: where it lies, what moves along, and that AP stays the same."""

import numpy as np
import pytest

from tdfusion_jax.batch import IGNORE_LABEL, Boxes, Sample
from tdfusion_jax.data import SyntheticSource, val_batches
from tdfusion_jax.data.augment import augmented_view
from tdfusion_jax.data.letterbox import Frame, frame, whole_view
from tdfusion_jax.metrics.detection import average_precision


@pytest.mark.parametrize(
  ("pair", "view", "expected"),
  [
    ((1024, 1280), (640, 640), Frame((512, 640), 64, 0)),  # LLVIP
    ((768, 1024), (640, 640), Frame((480, 640), 80, 0)),  # M3FD
    ((200, 100), (64, 64), Frame((64, 32), 0, 16)),
    ((3, 4), (10, 10), Frame((8, 10), 1, 0)),  # enlarged: 7.5 is rounded to the even 8
    ((70, 100), (100, 101), Frame((71, 101), 14, 0)),  # 70.7; of 29 rows of border 14 are above
    ((1, 100), (32, 32), Frame((1, 32), 15, 0)),
  ],
)
def test_frames_by_hand(pair, view, expected):
  assert frame(pair, view, "letterbox") == expected
  assert frame(pair, view, "resize") == Frame(view, 0, 0)


def half_white(target):
  """32x64, the right half white."""
  ir = np.zeros((32, 64), np.uint8)
  ir[:, 32:] = 255
  return Sample("half", ir, 255 - ir, target)


def test_boxes_move_with_the_picture():
  """Half the size in 32x32: a box (x, y) is at (x / 2, y / 2 + 8)."""
  boxes = np.array([[32, 0, 64, 32], [10, 4, 20, 30]], np.float32)
  sample = half_white(Boxes(boxes, np.array([0, 1], np.int32)))
  ir, vi, target = whole_view(sample, (32, 32), "letterbox")
  np.testing.assert_array_equal(target.boxes, [[16, 8, 32, 24], [5, 10, 10, 23]])
  assert target.boxes.dtype == np.float32 and target.classes.tolist() == [0, 1]
  expected = np.full((32, 32), 114 / 255, np.float32)
  expected[8:24, :16], expected[8:24, 16:] = 0, 1
  np.testing.assert_array_equal(ir, expected)
  expected[8:24] = 1 - expected[8:24]
  np.testing.assert_array_equal(vi, expected)


def test_labels_of_the_border_are_unknown():
  ir, _, labels = whole_view(half_white(np.eye(32, 64, dtype=np.uint8)), (32, 32), "letterbox")
  assert (labels[:8] == IGNORE_LABEL).all() and (labels[24:] == IGNORE_LABEL).all()
  assert set(np.unique(labels[8:24])) == {0, 1} and labels.dtype == np.uint8
  assert (ir[:8] == np.float32(114 / 255)).all()
  assert whole_view(half_white(None), (32, 32), "letterbox")[2] is None


def test_one_image_is_resized_once():
  sample = half_white(None)
  one = sample._replace(vi=sample.ir)
  for how in ("resize", "letterbox"):
    ir, vi, _ = whole_view(one, (32, 32), how)
    assert ir is vi
    np.testing.assert_array_equal(ir, whole_view(sample, (32, 32), how)[0])


def test_average_precision_is_that_of_the_pairs_own_pixels():
  """Boxes of 48x100 pairs, found with errors; in the view and taken back to the pairs' pixels."""
  rng = np.random.default_rng(0)
  detected, true, own_detected, own_true = [], [], [], []
  scale = np.float32(64 / 100)
  for _ in range(12):
    corner, side = rng.uniform(0, 30, (6, 2)), rng.uniform(4, 18, (6, 2))
    boxes = np.concatenate([corner, corner + side], axis=1).astype(np.float32)
    classes = rng.integers(0, 2, 6).astype(np.int32)
    sample = Sample("one", *[np.zeros((50, 100), np.uint8)] * 2, Boxes(boxes, classes))
    moved = whole_view(sample, (64, 64), "letterbox")[2].boxes
    np.testing.assert_allclose(moved, boxes * scale + [0, 16, 0, 16], rtol=1e-6)
    found = moved + rng.normal(0, 1.2, moved.shape)
    about = {"scores": rng.random(6), "classes": np.where(rng.random(6) < 0.9, classes, 1)}
    true.append({"boxes": moved, "classes": classes})
    own_true.append({"boxes": boxes, "classes": classes})
    detected.append({"boxes": found, **about})
    own_detected.append({"boxes": (found - [0, 16, 0, 16]) / scale, **about})
  ours = average_precision(detected, true, ["a", "b"])
  theirs = average_precision(own_detected, own_true, ["a", "b"])
  assert 0.05 < ours["mAP"] < 0.95
  for name, score in ours.items():
    assert score == pytest.approx(theirs[name], abs=1e-12), name


def test_validation_sees_the_same_views():
  source = SyntheticSource("detection", size=(64, 96), count=2)
  (pair,) = val_batches(source, batch_size=2, task_size=(64, 64), view="letterbox")
  for row in range(2):
    ir, vi, target = whole_view(source[row], (64, 64), "letterbox")
    np.testing.assert_array_equal(pair.ir[row, ..., 0], ir)
    np.testing.assert_array_equal(pair.vi[row, ..., 0], vi)
    np.testing.assert_array_equal(pair.target.boxes[row][pair.target.valid[row]], target.boxes)
  assert (pair.ir[:, :10] == np.float32(114 / 255)).all()  # 64x96 is 43x64 there: 10 rows above


def lit(top, left, height, width, size=(60, 160)):
  ir = np.zeros(size, np.uint8)
  ir[top : top + height, left : left + width] = 255
  box = np.array([[left, top, left + width, top + height]], np.float32)
  return Sample("lit", ir, ir, Boxes(box, np.array([2], np.int32)))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("mosaic", [False, True])
def test_augmented_boxes_hold_what_is_white_and_keep_its_proportions(seed, mosaic):
  """White squares of 24 pixels, in pairs of other proportions than the view."""
  tiles = iter([lit(10, 20, 24, 24), lit(20, 100, 24, 24, (160, 150)), lit(30, 60, 24, 24)])
  sample = lit(16, 70, 24, 24)
  ir, vi, (boxes, classes) = augmented_view(
    sample,
    (128, 128),
    np.random.default_rng(seed),
    (lambda: next(tiles)) if mosaic else None,
    view="letterbox",
  )
  assert ir is vi and ir.shape == (128, 128) and len(boxes) == len(classes)
  for x1, y1, x2, y2 in boxes:
    inside = ir[int(y1) + 1 : int(y2), int(x1) + 1 : int(x2)]
    assert inside.size == 0 or inside.mean() > 0.8
    if min(x1, y1) > 0 and max(x2, y2) < 128:  # not cut
      assert (x2 - x1) == pytest.approx(y2 - y1, rel=0.04)
  if not mosaic:  # about the middle, shifted by a tenth: the square cannot be lost
    assert len(boxes) == 1
    x1, y1, x2, y2 = boxes[0]
    assert abs((x1 + x2) / 2 - 64) < 0.16 * 128 and abs((y1 + y2) / 2 - 64) < 0.16 * 128


def test_proportions_of_masks_are_kept():
  """A white square of a 40x80 pair in a window of 64: as high as wide, whatever the scale."""
  image = np.zeros((40, 80), np.uint8)
  image[10:30, 30:50] = 255
  sample = Sample("square", image, image, (image > 0).astype(np.uint8))
  whole = 0
  for seed in range(12):
    rng = np.random.default_rng(seed)
    seen, _, labels = augmented_view(sample, (64, 64), rng, view="letterbox", window=(64, 64))
    rows, columns = (np.flatnonzero((labels == 1).any(axis)) for axis in (1, 0))
    if not len(rows) or 0 in (rows[0], columns[0]) or 63 in (rows[-1], columns[-1]):
      continue  # cut by the window
    whole += 1
    assert abs(len(rows) - len(columns)) <= 2 and (seen[labels == 1] > 0.2).all()
  assert whole > 3
