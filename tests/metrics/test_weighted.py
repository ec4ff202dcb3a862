"""Scores of images that count several times.

Expected: pycocotools, and `segmentation.scores`, on data sets in which images are repeated.
"""

import numpy as np
import pytest

from tdfusion_jax.metrics import detection, segmentation, weighted

CLASSES = ("person", "car", "tram")  # no image has a tram


def boxes(rng, count):
  corner = rng.uniform(0, 60, (count, 2))
  return np.concatenate([corner, corner + rng.uniform(4, 30, (count, 2))], axis=1)


def images(rng, count):
  """Per image true boxes and detections near some of them, with scores that tie."""
  detected, true = [], []
  for _ in range(count):
    real = boxes(rng, rng.integers(0, 6))
    kinds = rng.integers(0, 2, len(real))
    kept = rng.random(len(real)) < 0.8
    near = real[kept] + rng.normal(0, 1.5, real[kept].shape)
    wrong = boxes(rng, rng.integers(0, 5))
    own = np.concatenate([kinds[kept], rng.integers(0, 2, len(wrong))])
    found = np.concatenate([near, wrong])
    scores = np.round(rng.random(len(found)), 1 if len(found) % 2 else 6)
    detected.append({"boxes": found, "scores": scores, "classes": own})
    true.append({"boxes": real, "classes": kinds})
  return detected, true


@pytest.mark.parametrize("seed", range(4))
def test_weights_of_one_give_cocos_values(seed):
  detected, true = images(np.random.default_rng(seed), 25)
  expected = detection.average_precision(detected, true, CLASSES)
  matches = weighted.match(detected, true, CLASSES)
  found = weighted.average_precision(matches, CLASSES, np.ones((1, 25)))
  assert set(expected) - set(found) == {"AR"}
  assert 0.05 < expected["mAP"] < 0.8
  for name, value in found.items():
    np.testing.assert_allclose(value, [expected[name]], atol=1e-12, err_msg=name)


def test_whole_weights_repeat_images():
  """COCO on the repeated images; no two scores tie, where an order would matter."""
  rng = np.random.default_rng(9)
  detected, true = images(rng, 12)
  for image in detected:
    image["scores"] = rng.random(len(image["scores"]))
  weights = rng.multinomial(12, np.full(12, 1 / 12), size=6)
  found = weighted.average_precision(weighted.match(detected, true, CLASSES), CLASSES, weights)
  assert np.ptp(found["mAP"]) > 0.02
  for row, counts in enumerate(weights):
    order = np.repeat(np.arange(12), counts)
    expected = detection.average_precision(
      [detected[i] for i in order], [true[i] for i in order], CLASSES
    )
    for name, value in found.items():
      np.testing.assert_allclose(value[row], expected[name], atol=1e-12, err_msg=name)


def test_rows_that_do_not_fit_into_memory_at_once(monkeypatch):
  detected, true = images(np.random.default_rng(3), 8)
  matches = weighted.match(detected, true, CLASSES)
  weights = np.random.default_rng(0).multinomial(8, np.full(8, 1 / 8), size=5)
  whole = weighted.average_precision(matches, CLASSES, weights)
  monkeypatch.setattr(weighted, "_AT_ONCE", 1)
  for name, value in weighted.average_precision(matches, CLASSES, weights).items():
    np.testing.assert_array_equal(value, whole[name])


def test_no_detection_and_no_box():
  """0 where boxes are missed, NaN without any."""
  nothing = {"boxes": np.zeros((0, 4)), "scores": np.zeros(0), "classes": np.zeros(0, int)}
  real = {"boxes": np.array([[1.0, 2, 9, 9]]), "classes": np.array([1])}
  matches = weighted.match([nothing, nothing], [real, nothing], CLASSES)
  found = weighted.average_precision(matches, CLASSES, np.array([[1, 1], [0, 2]]))
  np.testing.assert_array_equal(found["AP50"], [0, np.nan])
  np.testing.assert_array_equal(found["mAP/person"], [np.nan, np.nan])


def test_confusion_matrices():
  rng = np.random.default_rng(1)
  matrices = rng.integers(0, 50, (5, 3, 3))
  weights = np.array([[1, 1, 1, 1, 1], [0, 3, 0, 2, 0]])
  found = weighted.overlap(matrices, CLASSES, weights)
  for row, counts in enumerate(weights):
    expected = segmentation.scores(np.repeat(matrices, counts, axis=0).sum(0))
    np.testing.assert_allclose(found["mIoU"][row], expected["mIoU"], atol=1e-12)
    np.testing.assert_allclose(found["IoU/car"][row], expected["IoU"][1], atol=1e-12)
    np.testing.assert_allclose(found["Acc/tram"][row], expected["Acc"][2], atol=1e-12)
