"""Confusion matrix and scores: values by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tdfusion_jax.batch import IGNORE_LABEL
from tdfusion_jax.metrics.segmentation import confusion_matrix, scores

count = jax.jit(confusion_matrix, static_argnums=2)


def ints(*values):
  return jnp.asarray(values, jnp.int32).reshape(1, 2, -1)


def test_confusion_matrix_by_hand():
  labels = ints(0, 0, 0, 1, 1, IGNORE_LABEL)
  predicted = ints(0, 0, 1, 1, 2, 2)
  np.testing.assert_array_equal(count(predicted, labels, 3), [[2, 1, 0], [0, 1, 1], [0, 0, 0]])


def test_byte_labels_do_not_wrap():
  """Label 12 of 15 classes: 12 * 15 exceeds a byte."""
  labels, predicted = ints(12, 12).astype(jnp.uint8), ints(12, 3)
  matrix = np.asarray(count(predicted, labels, 15))
  assert matrix[12, 12] == 1 and matrix[12, 3] == 1 and matrix.sum() == 2


def test_scores_by_hand():
  result = scores([[2, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
  np.testing.assert_allclose(result["IoU"], [2 / 3, 1 / 3, 0, np.nan])  # 2 only predicted, 3 absent
  np.testing.assert_allclose(result["Acc"], [2 / 3, 1 / 2, np.nan, np.nan])
  assert result["mIoU"] == pytest.approx(1 / 3)
  assert result["mAcc"] == pytest.approx(7 / 12)
  assert result["pixel_accuracy"] == pytest.approx(3 / 5)


def test_a_perfect_prediction_gives_ones():
  labels = ints(0, 1, 2, 1)
  result = scores(count(labels, labels, 4))
  assert result["mIoU"] == result["mAcc"] == result["pixel_accuracy"] == 1
  assert np.isnan(result["IoU"][3])


def test_no_pixels_give_nan_and_no_warning():
  result = scores(np.zeros((3, 3)))
  assert np.isnan([result["mIoU"], result["mAcc"], result["pixel_accuracy"]]).all()


@pytest.mark.parametrize("label", [3, -1, 200])
def test_a_label_outside_the_classes_is_refused(label):
  good = np.asarray(count(ints(0, 1), ints(0, 1), 3), np.int64)
  with pytest.raises(ValueError, match="outside"):
    scores(good + np.asarray(count(ints(0, 1), ints(0, label), 3), np.int64))


def test_only_square_matrices():
  with pytest.raises(ValueError, match="square"):
    scores(np.ones((2, 3)))
