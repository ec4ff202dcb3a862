"""Cross-entropy: values by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from tdfusion_jax.batch import IGNORE_LABEL, SegTarget
from tdfusion_jax.losses.segmentation import cross_entropy

LOGITS = np.log(np.array([[[[1.0, 3.0], [1.0, 1.0], [7.0, 1.0]]]], np.float32))  # [1, 1, 3, 2]


def target(*labels):
  return SegTarget(jnp.asarray(labels, jnp.int32).reshape(1, 1, -1))


def loss(logits, *labels):
  return cross_entropy(jnp.asarray(logits), target(*labels))[0]


def test_values_by_hand():
  """Probabilities of the true classes are 3/4, 1/2 and 1/8."""
  value, parts = cross_entropy(jnp.asarray(LOGITS), target(1, 0, 1))
  np.testing.assert_allclose(value, (np.log(4 / 3) + np.log(2) + np.log(8)) / 3, rtol=1e-6)
  assert parts.keys() == {"cross_entropy"} and parts["cross_entropy"] == value


def test_equal_logits_give_the_log_of_the_number_of_classes():
  np.testing.assert_allclose(
    loss(np.full((1, 1, 3, 5), 2.0, np.float32), 0, 3, 4), np.log(5), rtol=1e-6
  )


def test_ignored_pixels_count_neither_above_nor_below_the_line():
  np.testing.assert_allclose(
    loss(LOGITS, 1, IGNORE_LABEL, 1), (np.log(4 / 3) + np.log(8)) / 2, rtol=1e-6
  )
  slope = jax.grad(loss)(jnp.asarray(LOGITS), 1, IGNORE_LABEL, 1)
  np.testing.assert_allclose(slope[0, 0], [[1 / 8, -1 / 8], [0, 0], [7 / 16, -7 / 16]], rtol=1e-6)


def test_nothing_known_gives_zero_and_a_zero_gradient():
  value, slope = jax.value_and_grad(loss)(jnp.asarray(LOGITS), *[IGNORE_LABEL] * 3)
  assert value == 0
  np.testing.assert_array_equal(slope, np.zeros_like(LOGITS))


@pytest.mark.parametrize("label", [2, -1, 254])
def test_a_label_outside_the_classes_cannot_go_unnoticed(label):
  value, slope = jax.jit(jax.value_and_grad(lambda x: loss(x, 0, label, 1)))(jnp.asarray(LOGITS))
  assert np.isnan(value) and np.isnan(slope).any()


def test_large_logits_do_not_overflow():
  np.testing.assert_allclose(loss(np.array([[[[1e4, 0.0]]]], np.float32), 1), 1e4, rtol=1e-6)


def test_derivatives(x64):
  logits = jax.random.normal(jax.random.key(0), (2, 3, 2, 4))
  labels = SegTarget(
    jnp.asarray(np.random.default_rng(0).choice([0, 1, 2, 3, IGNORE_LABEL], (2, 3, 2)))
  )
  check_grads(jax.jit(lambda x: cross_entropy(x, labels)[0]), (logits,), order=2)


def test_wrong_shape_raises():
  with pytest.raises(ValueError, match="labels are"):
    loss(LOGITS, 0, 1)
