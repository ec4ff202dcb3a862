"""Average precision on cases small enough for pencil and paper."""

import math

import numpy as np
import pytest

from tdfusion_jax.metrics.detection import average_precision

CLASSES = ("person", "car")


def boxes(*rows, scores=None, classes=None):
  found = {
    "boxes": np.array(rows, np.float32).reshape(-1, 4),
    "classes": np.array(classes or [0] * len(rows), int),
  }
  return found if scores is None else {**found, "scores": np.array(scores, np.float32)}


def test_perfect_detections_score_one():
  true = [boxes((0, 0, 10, 10), (20, 20, 40, 50), classes=[0, 1]), boxes((5, 5, 9, 9))]
  found = [{**t, "scores": np.ones(len(t["classes"]))} for t in true]
  scores = average_precision(found, true, CLASSES)
  assert all(value == pytest.approx(1.0) for value in scores.values()) and len(scores) == 8


def test_half_the_objects_found_above_a_false_alarm():
  true = [boxes((0, 0, 10, 10), (20, 20, 30, 30))]
  found = [boxes((50, 50, 60, 60), (0, 0, 10, 10), scores=[0.9, 0.8])]
  scores = average_precision(found, true, ("person",))
  # Recall 1/2 at precision 1/2: 51 of the 101 recall points hold 1/2.
  assert scores["AP50"] == pytest.approx(51 * 0.5 / 101)
  assert scores["AR"] == pytest.approx(0.5)


def test_thresholds_of_overlap():
  true, found = [boxes((0, 0, 10, 10))], [boxes((0, 0, 10, 7.2), scores=[0.5])]
  scores = average_precision(found, true, ("person",))
  # IoU 0.72 passes 0.50, 0.55, 0.60, 0.65, 0.70: five of ten thresholds.
  assert (
    scores["AP50"] == pytest.approx(1)
    and scores["AP75"] == 0
    and scores["mAP"] == pytest.approx(0.5)
  )


def test_classes_do_not_match_each_other_and_absent_ones_do_not_count():
  true = [boxes((0, 0, 10, 10))]
  wrong = average_precision([boxes((0, 0, 10, 10), scores=[0.5], classes=[1])], true, CLASSES)
  assert wrong["AP50"] == 0 and math.isnan(wrong["AP50/car"])
  right = average_precision([boxes((0, 0, 10, 10), scores=[0.5])], true, CLASSES)
  assert right["mAP"] == pytest.approx(1) and right["AP50/person"] == pytest.approx(1)


def test_without_detections_or_objects():
  empty = boxes(scores=[])
  assert average_precision([empty], [boxes((0, 0, 10, 10))], CLASSES)["mAP"] == 0
  assert math.isnan(average_precision([empty], [boxes()], CLASSES)["mAP"])
  with pytest.raises(ValueError, match="1 images of detections, 2"):
    average_precision([empty], [boxes(), boxes()], CLASSES)
