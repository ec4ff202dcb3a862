"""3x3 convolutions and their kernel gradients, by machine code and XLA, for all kinds of channels.

Expected values are sums over shifted images, by NumPy in float64.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tdfusion_jax.ops.conv import conv3x3
from tdfusion_jax.ops.strips import Tiling

CHANNELS = [(1, 1), (1, 16), (8, 24), (24, 16), (3, 5), (32, 32)]


def _shifted(x: np.ndarray) -> np.ndarray:
  """[3, 3, B, H, W, C]: what each tap of the kernel sees."""
  height, width = x.shape[1:3]
  around = np.pad(x.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
  rows = [[around[:, i : i + height, j : j + width] for j in range(3)] for i in range(3)]
  return np.array(rows)


@pytest.fixture(params=CHANNELS, ids=str)
def given(request):
  """An image [2, 5, 7, C], a kernel [3, 3, C, O] and what comes back [2, 5, 7, O]."""
  inner, outer = request.param
  rng = np.random.default_rng(0)
  shapes = ((2, 5, 7, inner), (3, 3, inner, outer), (2, 5, 7, outer))
  return tuple(rng.standard_normal(shape).astype(np.float32) for shape in shapes)


@pytest.mark.parametrize("native", [True, False])
def test_values_and_kernel_gradients(given, native):
  x, kernel, back = given

  def mine(kernel):
    return conv3x3(jnp.asarray(x), kernel, Tiling(native=native))

  out, pull = jax.vjp(mine, jnp.asarray(kernel))
  taps = _shifted(x)
  np.testing.assert_allclose(out, np.einsum("ijbhwc,ijco->bhwo", taps, kernel), atol=1e-4)
  expected = np.einsum("ijbhwc,bhwo->ijco", taps, back.astype(np.float64))
  np.testing.assert_allclose(pull(jnp.asarray(back))[0], expected, atol=1e-4)


def test_derivatives_of_the_kernel_gradient(given):
  """It is bilinear: along a change of the image it is the kernel gradient of that change."""
  x, kernel, back = (jnp.asarray(a) for a in given)

  def kernel_gradient(x):
    return jax.vjp(lambda k: conv3x3(x, k, Tiling()), kernel)[1](back)[0]

  change = jnp.cos(3 * x)
  _, moved = jax.jvp(kernel_gradient, (x,), (change,))
  expected = np.einsum("ijbhwc,bhwo->ijco", _shifted(np.asarray(change)), np.asarray(back))
  np.testing.assert_allclose(moved, expected, atol=1e-4)
  # Back again: sum(change * slope) is sum(moved * weights).
  weights = jnp.sin(jnp.arange(kernel.size, dtype=jnp.float32)).reshape(kernel.shape)
  slope = jax.grad(lambda x: jnp.sum(kernel_gradient(x) * weights))(x)
  aim = np.sum(expected * weights)
  np.testing.assert_allclose(np.sum(slope * change), aim, rtol=1e-3, atol=1e-3)
