"""The synthetic streets: deterministic, labelled, and with the contrasts they promise."""

import pickle

import numpy as np
import pytest

from tdfusion_jax.data import DatasetError, get_source
from tdfusion_jax.data.transforms import luminance


def ring(mask: np.ndarray, width: int) -> np.ndarray:
  """Pixels within `width` of a mask, outside it."""
  grown = mask.copy()
  for _ in range(width):
    step = grown.copy()
    step[1:] |= grown[:-1]
    step[:-1] |= grown[1:]
    step[:, 1:] |= grown[:, :-1]
    step[:, :-1] |= grown[:, 1:]
    grown = step
  return grown & ~mask


def test_deterministic_and_picklable():
  source = get_source("synthetic_det", seed=3)
  first = source[5]
  source[0]
  copy = pickle.loads(pickle.dumps(source))
  for other in (source[5], copy[5], get_source("synthetic_seg", seed=3)[5]):
    np.testing.assert_array_equal(other.ir, first.ir)
    np.testing.assert_array_equal(other.vi, first.vi)
  assert first.ir.shape == (96, 128) and first.vi.shape == (96, 128, 3)
  assert first.ir.dtype == first.vi.dtype == np.uint8
  for other in (
    source[6],
    get_source("synthetic_det", seed=4)[5],
    get_source("synthetic_det", seed=3, split="test")[5],
  ):
    assert (other.ir != first.ir).mean() > 0.5


def test_labels_and_boxes_belong_together():
  det, seg = get_source("synthetic_det"), get_source("synthetic_seg")
  assert det.classes == ("person", "car", "sign") and seg.classes[1:4] == det.classes
  counts = np.zeros(5)
  for i in range(20):
    boxes, classes = det[i].target
    labels = seg[i].target
    counts += np.bincount(labels.ravel(), minlength=5) > 0
    assert boxes.dtype == np.float32 and classes.dtype == np.int32 and len(boxes) == len(classes)
    assert (
      (boxes >= 0).all()
      and (boxes <= [128, 96, 128, 96]).all()
      and (boxes[:, 2:] > boxes[:, :2]).all()
    )
    for box, kind in zip(boxes.astype(int), classes, strict=True):
      inside = labels[box[1] : box[3], box[0] : box[2]] == kind + 1
      # visible pixels touch all four sides of their box
      assert inside[0].any() and inside[-1].any() and inside[:, 0].any() and inside[:, -1].any()
  assert counts[0] == 20 and (counts[1:] >= 15).all()


def test_each_modality_sees_what_the_other_misses():
  """Mean contrast to the surroundings, in gray levels / 255, over 30 night scenes."""
  source = get_source("synthetic_det", night=1.0, count=30)
  people, marks = [], []
  for i in range(30):
    scene = source.scene(i)
    ir, vi = scene["ir"] / 255.0, luminance(scene["vi"])
    assert not (scene["ir_only"] & scene["vi_only"]).any()
    for rows, mask in ((people, scene["ir_only"]), (marks, scene["vi_only"])):
      if mask.sum() > 20:
        around = ring(mask, 3) & ~scene["ir_only"] & ~scene["vi_only"] & (scene["labels"] == 0)
        rows.append([image[mask].mean() - image[around].mean() for image in (ir, vi)])
  assert len(people) > 15 and len(marks) > 25
  person_ir, person_vi = np.mean(people, axis=0)
  mark_ir, mark_vi = np.mean(marks, axis=0)
  assert person_ir > 0.3 and abs(person_vi) < 0.02, (person_ir, person_vi)
  assert mark_vi > 0.08 and abs(mark_ir) < 0.03, (mark_ir, mark_vi)


def test_day_hides_nobody():
  source = get_source("synthetic_seg", night=0.0, count=5)
  for i in range(5):
    scene = source.scene(i)
    assert not scene["ir_only"].any() and scene["vi_only"].any() and not scene["night"]
    assert luminance(scene["vi"]).mean() > 0.3


def test_night_share_and_sizes():
  source = get_source("synthetic_seg", size=(240, 320), count=10, night=0.6)
  assert sum(source.scene(i)["night"] for i in range(10)) == 6
  assert source[0].target.shape == (240, 320)
  assert get_source("synthetic_det", size=(65, 49))[3].vi.shape == (65, 49, 3)


def test_wrong_options():
  for options in (
    {"size": (8, 8)},
    {"night": 2.0},
    {"count": 0},
    {"count": 10**9},
    {"seed": -1},
    {"split": "dev"},
    {"sise": (96, 96)},
  ):
    with pytest.raises(DatasetError):
      get_source("synthetic_det", **options)
  with pytest.raises(IndexError):
    get_source("synthetic_det", count=3)[3]
