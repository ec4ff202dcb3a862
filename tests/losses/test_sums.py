"""Sums of a batch in float32."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tdfusion_jax.losses import sums


def test_a_sum_of_like_numbers_is_exact():
  """Against `math.fsum`, which is exact: in a long sum of like numbers each rounding goes one way.

  Added up one after another, these are off by 1.6e-5.
  """
  x = jnp.full((4, 16, 32), 0.1)
  expected = math.fsum(np.asarray(x).ravel().tolist())
  assert float(jax.jit(sums.total)(x)) == pytest.approx(expected, rel=1e-6)
  assert float(jax.jit(sums.mean)(x)) == pytest.approx(expected / x.size, rel=1e-6)


def test_its_gradients_are_those_of_a_sum():
  """Reverse, and forward over reverse: d sum(x^3) = 3 x^2, and along t it is 6 x t."""
  x, t = jnp.linspace(-1, 2, 24).reshape(2, 3, 4), jnp.ones((2, 3, 4))
  slope, along = jax.jvp(jax.grad(lambda x: sums.total(x**3)), (x,), (t,))
  np.testing.assert_allclose(slope, 3 * x**2, rtol=1e-6, atol=1e-6)
  np.testing.assert_allclose(along, 6 * x, rtol=1e-6, atol=1e-6)
