"""T's scores at a validation, against values by hand."""

import numpy as np
import pytest

from tdfusion_jax.batch import IGNORE_LABEL, DetTarget, SegTarget
from tdfusion_jax.train import curves, scores

CLASSES = ("thing", "other", "unseen")


def test_miou_is_of_all_pairs_together():
  """By hand: class 0 hits 2 of a union of 3, class 1 hits 1 of 2, class 2 is not there."""
  collected = scores.Scores(CLASSES)
  for predicted, true in (([0, 0], [0, 0]), ([0, 1, 2], [1, 1, IGNORE_LABEL])):
    collected.add({"labels": np.array([[predicted]])}, SegTarget(np.array([[true]])))
  assert collected.measured() == pytest.approx({"mIoU": (2 / 3 + 1 / 2) / 2})


def row(name, score, loss):
  return {f"val/{name}": score, "val/task_loss": loss}


@pytest.mark.parametrize(
  ("measured", "before", "expected"),
  [
    (row("AP50", 0.5, 9.0), [row("AP50", 0.4, 1.0)], "val/AP50"),
    (row("AP50", 0.3, 0.1), [row("AP50", 0.4, 1.0)], ""),
    (row("mIoU", 0.0, 1.0), [row("mIoU", 0.0, 2.0)], "val/task_loss"),
    (row("mIoU", 0.5, 1.0), [row("mIoU", 0.5, 1.0)], ""),
    (row("mIoU", 0.5, 1.0), [], "val/mIoU"),
    ({"val/task_loss": 1.0}, [{"val/task_loss": 2.0}], "val/task_loss"),
    ({"val/fusion_loss": 2.0}, [{"val/fusion_loss": 1.0}], ""),
    ({"val/fusion_loss": 1.0}, [], "val/fusion_loss"),
    ({"val/w_a": 0.5}, [], ""),
  ],
)
def test_the_best_validation_is_that_of_the_best_score(measured, before, expected):
  assert scores.best_by(measured, before) == expected


def boxes(found):
  box = np.array([[[2.0, 2.0, 8.0, 8.0]]], np.float32)
  classes, valid = np.zeros((1, 1), np.int32), np.array([[True]])
  predicted = {
    "boxes": box,
    "scores": np.array([[0.9]], np.float32),
    "classes": classes,
    "valid": np.array([[found]]),
  }
  return predicted, DetTarget(box, classes, valid)


def test_average_precision_of_one_box_found_and_one_missed():
  """By hand: precision is 1 up to recall 0.5, which are 51 of COCO's 101 points."""
  collected = scores.Scores(CLASSES)
  for found in (True, False):
    collected.add(*boxes(found))
  assert collected.measured() == pytest.approx({"AP50": 51 / 101, "mAP": 51 / 101})


def test_what_cannot_be_compared_has_no_score():
  collected = scores.Scores(CLASSES)
  target = SegTarget(np.zeros((1, 2, 2), int))
  collected.add({"labels": np.zeros((1, 1, 1), int)}, target)  # another size
  collected.add({"labels": np.zeros((1, 2, 2), np.float32)}, target)  # no classes
  collected.add({"mine": np.zeros(3)}, target)
  collected.add(None, target)
  assert collected.measured() == {}
  collected.add({"labels": np.full((1, 2, 2), 7)}, target)  # a class outside the labels'
  assert collected.measured() == {}


def test_the_progress_line_has_the_last_and_the_best():
  rows = [{"epoch": i, "val/mIoU": value} for i, value in enumerate((0.2, 0.5, 0.4))]
  assert scores.text(rows) == "mIoU 0.4, best 0.5 of epoch 1"
  assert scores.text([{"epoch": 0, "val/task_loss": 1.0}]) == ""


def test_losses_have_axes_of_their_own_and_fixed_weights_none():
  row = {"val/task_loss": 9.0, "val/fusion_loss": 0.1, "val/AP50": 0.0, "val/w_a": 0.5}
  rows = [row | {"step": 1}, row | {"step": 2, "val/AP50": 0.3}]
  shown = [[line.label for line in panel.lines] for panel in curves.panels_of_run(rows)]
  assert shown == [["val/AP50"], ["val/task_loss"], ["val/fusion_loss"]]
  rows[1]["val/w_a"] = 0.6
  assert [line.label for line in curves.panels_of_run(rows)[-1].lines] == ["val/w_a"]
