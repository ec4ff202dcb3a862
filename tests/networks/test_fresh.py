"""Fresh variables: the draws of Flax's own `init`, however the module is called."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from tdfusion_jax.networks.fresh import fresh_variables


class Net(nn.Module):
  """One of each collection; `extra` may be something that has no hash."""

  extra: object = None

  @nn.compact
  def __call__(self, x):
    return nn.BatchNorm(use_running_average=True)(nn.Conv(3, (3, 3))(x))


INPUT = jnp.zeros((1, 8, 8, 2))


@pytest.mark.parametrize("extra", [None, np.arange(3)], ids=["hash", "no hash"])
def test_equals_flax(extra):
  """Flax's eager `init` draws the expected values; compiled, they differ by rounding."""
  net, key = Net(extra), jax.random.key(7)
  expected, made = net.init(key, INPUT), fresh_variables(net, key, INPUT)
  assert jax.tree.structure(expected) == jax.tree.structure(made)
  jax.tree.map(lambda e, m: np.testing.assert_allclose(m, e, atol=1e-6), expected, made)
  assert np.abs(made["params"]["Conv_0"]["kernel"]).max() > 0.1


def test_within_a_program():
  """Its owner compiles it: settings of their own are refused by JAX within another program."""
  key = jax.random.key(7)
  shapes = jax.eval_shape(lambda: fresh_variables(Net(), key, INPUT))
  made = jax.jit(lambda: fresh_variables(Net(), key, INPUT))()
  assert jax.tree.map(lambda x: x.shape, shapes) == jax.tree.map(lambda x: x.shape, made)
  expected = fresh_variables(Net(), key, INPUT)
  jax.tree.map(lambda e, m: np.testing.assert_allclose(m, e, atol=1e-6), expected, made)
