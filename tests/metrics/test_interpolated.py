"""Ultralytics' average precision by hand; parity with the package is in tests/with_torch."""

import math

import numpy as np
import pytest

from tdfusion_jax.metrics.interpolated import interpolated_precision


def boxes(*rows, scores=None, classes=None):
  found = {"boxes": np.array(rows).reshape(-1, 4), "classes": np.array(classes or [0] * len(rows))}
  return found if scores is None else {**found, "scores": np.array(scores)}


def test_perfect_detections_lose_the_last_trapeze():
  """Precision is 1 up to a recall of 0.99 and 0 at 1: the last of 100 trapezes is half as large."""
  true = [boxes((0, 0, 10, 10), (20, 20, 40, 50), classes=[0, 1]), boxes((5, 5, 9, 9))]
  found = [{**t, "scores": np.ones(len(t["classes"]))} for t in true]
  scores = interpolated_precision(found, true, ["a", "b", "not there"])
  assert scores == {name: pytest.approx(0.995) for name in ("AP50", "AP75", "mAP")}


def test_half_the_objects_at_an_overlap_of_072():
  """Five of ten thresholds are passed; precision is 1 below a recall of 1/2, else 0."""
  true = [boxes((0, 0, 10, 10), (50, 50, 60, 60))]
  found = [boxes((0, 0, 10, 7.2), scores=[0.5])]
  scores = interpolated_precision(found, true, ["a"])
  assert scores["AP50"] == pytest.approx(0.495) and scores["AP75"] == 0
  assert scores["mAP"] == pytest.approx(0.495 / 2)


def test_the_surest_choose_first_and_the_next_take_what_is_free():
  """Both lie on the first box best; the second has an overlap of 6/10 with the other one too."""
  true = [boxes((0, 0, 10, 10), (0, 0, 10, 6))]
  found = [boxes((0, 0, 10, 10), (0, 0, 10, 10), scores=[0.9, 0.8])]
  assert interpolated_precision(found, true, ["a"])["AP50"] == pytest.approx(0.995)


def test_nothing_found_and_nothing_there():
  nothing = boxes(scores=[])
  assert interpolated_precision([nothing], [boxes((0, 0, 5, 5))], ["a"])["mAP"] == 0
  assert math.isnan(interpolated_precision([nothing], [boxes()], ["a"])["mAP"])
