"""Update rules and schedules, values by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from tdfusion_jax.train.optimisers import normalise_by_max, optimiser, schedule


def test_max_normalised_sgd_moves_the_largest_entry_by_the_rate():
  rule = optimiser("max_norm_sgd", 0.1)
  params = {"a": jnp.zeros(2), "b": jnp.zeros(())}
  grads = {"a": jnp.array([1e-8, -4e-8]), "b": jnp.asarray(2e-8)}
  updates, _ = rule.update(grads, rule.init(params), params)
  np.testing.assert_allclose(updates["a"], [-0.025, 0.1], rtol=1e-6)
  np.testing.assert_allclose(updates["b"], -0.05, rtol=1e-6)


def test_a_zero_gradient_stays_zero_and_finite():
  rule = normalise_by_max()
  updates, _ = rule.update({"a": jnp.zeros(3)}, rule.init(None))
  np.testing.assert_array_equal(updates["a"], 0)


def test_the_rate_falls_by_a_tenth_every_ten_epochs():
  rate = schedule(1e-4, 7, decay_every=10, decay_rate=0.1)
  for step, expected in ((0, 1e-4), (69, 1e-4), (70, 1e-5), (140, 1e-6)):
    np.testing.assert_allclose(rate(step), expected, rtol=1e-5)
  assert schedule(1e-4, 7)(1000) == 1e-4


def test_adam_with_a_small_eps_moves_tiny_gradients():
  """The first Adam step is the rate times the sign, unless eps swallows the gradient."""
  for eps, expected in ((1e-12, -1e-3), (1e-8, -1e-3 / 101)):
    rule = optimiser("adam", 1e-3, eps=eps)
    updates, _ = rule.update({"a": jnp.asarray(1e-10)}, rule.init({"a": jnp.zeros(())}))
    np.testing.assert_allclose(updates["a"], expected, rtol=0.02)


def test_unknown_rules_are_errors():
  with pytest.raises(
    ValueError, match="'lion' is not one of adam, adamw, sgd, nesterov, max_norm_sgd"
  ):
    optimiser("lion", 0.1)
