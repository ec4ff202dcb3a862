"""Batch normalisation and what it remembers, by hand; parity with PyTorch is in
torch/test_batchnorm_torch.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tdfusion_jax.networks.batchnorm import BatchNorm

# One channel of four values: mean 3, biased variance (4 + 0 + 0 + 4) / 4 = 2, unbiased 8 / 3.
FOUR = (1.0, 3.0, 3.0, 5.0)


def image():
  return jnp.asarray(FOUR).reshape(1, 2, 2, 1)


def variables(features=1, **values):
  """Fresh ones, with some leaves set."""
  tree = BatchNorm().init(jax.random.key(0), jnp.ones((2, features)))
  for name, value in values.items():
    collection = "params" if name in ("scale", "bias") else "batch_stats"
    tree = {
      **tree,
      collection: {**tree[collection], name: jnp.asarray(value, jnp.result_type(float))},
    }
  return tree


def train(net, tree, x):
  return net.apply(tree, x, train=True, mutable=["batch_stats"])


def test_fresh_values():
  tree = variables(3)
  np.testing.assert_array_equal(tree["params"]["scale"], [1, 1, 1])
  np.testing.assert_array_equal(tree["params"]["bias"], [0, 0, 0])
  np.testing.assert_array_equal(tree["batch_stats"]["mean"], [0, 0, 0])
  np.testing.assert_array_equal(tree["batch_stats"]["var"], [1, 1, 1])


def test_initialising_on_a_batch_does_not_move_statistics():
  tree = BatchNorm().init(jax.random.key(0), image(), True)
  assert tree["batch_stats"] == {"mean": jnp.zeros(1), "var": jnp.ones(1)}


def test_training_normalises_with_the_biased_variance():
  """(x - 3) / sqrt(2 + eps) * 2 + 10."""
  eps = 0.25
  out, _ = train(BatchNorm(eps=eps), variables(scale=[2], bias=[10]), image())
  np.testing.assert_allclose(out.ravel(), (np.array(FOUR) - 3) / 1.5 * 2 + 10, rtol=1e-6)


@pytest.mark.parametrize("momentum", [0.03, 0.1, 1.0])
def test_running_statistics_take_momentum_of_the_unbiased_variance(momentum):
  """From mean 7 and variance 5; momentum is the weight of the new batch, 1 forgets all that was."""
  _, moved = train(BatchNorm(momentum=momentum), variables(mean=[7], var=[5]), image())
  moved = moved["batch_stats"]
  np.testing.assert_allclose(moved["mean"], [(1 - momentum) * 7 + momentum * 3], rtol=1e-6)
  np.testing.assert_allclose(moved["var"], [(1 - momentum) * 5 + momentum * 8 / 3], rtol=1e-6)


def test_evaluation_uses_what_was_remembered():
  """(x - 1) / sqrt(3.75 + 0.25); nothing moves even if it might."""
  tree = variables(mean=[1], var=[3.75])
  out, after = BatchNorm(eps=0.25).apply(tree, image(), train=False, mutable=["batch_stats"])
  np.testing.assert_allclose(out.ravel(), (np.array(FOUR) - 1) / 2, rtol=1e-6)
  assert after["batch_stats"] == tree["batch_stats"]


def test_frozen_statistics_stay():
  """Batch statistics without a mutable collection: same result, and no error for what cannot be
  written."""
  tree = variables(mean=[7], var=[5])
  out = BatchNorm().apply(tree, image(), train=True)
  np.testing.assert_array_equal(out, train(BatchNorm(), tree, image())[0])
  assert tree["batch_stats"] == {"mean": jnp.full(1, 7.0), "var": jnp.full(1, 5.0)}
  assert jnp.abs(out.ravel() - (np.array(FOUR) - 3) / np.sqrt(2)).max() < 1e-5


@pytest.mark.parametrize("shape", [(5, 3), (2, 7, 3), (2, 4, 5, 3)])
def test_channels_are_the_last_axis(shape):
  x = jax.random.normal(jax.random.key(1), shape) * jnp.asarray([1.0, 2, 3]).reshape(
    (1,) * (len(shape) - 1) + (3,)
  )
  out, moved = train(BatchNorm(momentum=1.0), variables(3), x)
  rows = np.asarray(x).reshape(-1, 3)
  np.testing.assert_allclose(np.asarray(out).reshape(-1, 3).std(axis=0), [1, 1, 1], rtol=1e-4)
  np.testing.assert_allclose(moved["batch_stats"]["mean"], rows.mean(axis=0), atol=1e-6)
  np.testing.assert_allclose(moved["batch_stats"]["var"], rows.var(axis=0, ddof=1), rtol=1e-5)


def test_variance_is_exact_beside_a_large_mean():
  """1000 +- 1/2: in float32 the mean of squares is known to no better than 1/16."""
  x = jnp.asarray([999.5, 1000.5] * 500).reshape(10, 10, 10, 1)
  _, moved = train(BatchNorm(momentum=1.0), variables(), x)
  np.testing.assert_allclose(moved["batch_stats"]["var"], [0.25 * 1000 / 999], rtol=1e-5)


def test_a_single_value_has_a_finite_result():
  out, moved = train(BatchNorm(momentum=1.0), variables(bias=[4]), jnp.full((1, 1, 1, 1), 9.0))
  assert out.item() == 4
  assert moved["batch_stats"] == {"mean": jnp.full(1, 9.0), "var": jnp.zeros(1)}


def test_follows_float64(x64):
  out, moved = train(BatchNorm(), variables(), image())
  assert {leaf.dtype for leaf in jax.tree.leaves((out, moved))} == {jnp.dtype("float64")}
