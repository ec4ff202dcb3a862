"""The fast network: its parts against closed forms, any size, few operations."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tdfusion_jax import fusers
from tdfusion_jax.networks import fast

NET = fast.FastNet()


@pytest.fixture(scope="module")
def params():
  made = fusers.init_variables(NET, jax.random.key(0))["params"]
  return jax.tree.map(lambda x: x + 0.05 * jax.random.normal(jax.random.key(1), x.shape), made)


def pair(height, width):
  return jnp.asarray(np.random.default_rng(2).random((2, 1, height, width, 1), np.float32))


def test_at_most_3_gflop_at_480x640():
  """Expected: the limit that it was designed for; XLA counts a multiply-add as two."""
  image = jax.ShapeDtypeStruct((1, 480, 640, 1), jnp.float32)
  shapes = jax.eval_shape(NET.init, jax.random.key(0), image, image)
  cost = jax.jit(NET.apply).lower(shapes, image, image).cost_analysis()
  assert cost is not None and 1e9 < cost["flops"] <= 3e9


@pytest.mark.parametrize("size", [(1, 1), (17, 5), (24, 31)])
def test_any_size_is_filled_up_by_its_last_row_and_column(params, size):
  """Expected: the larger image's result, cut; NumPy's padding."""
  ir, vi = pair(*size)
  more = [(0, 0), *((0, -extent % 8) for extent in size), (0, 0)]
  larger: Any = NET.apply(
    {"params": params}, *(jnp.asarray(np.pad(x, more, "edge")) for x in (ir, vi))
  )
  found = np.asarray(NET.apply({"params": params}, ir, vi))
  assert found.shape == ir.shape and found.min() >= 0 and found.max() <= 1
  np.testing.assert_allclose(found, larger[:, : size[0], : size[1]], atol=1e-6)


def test_squares_become_channels_and_pixels_again():
  """Expected: written out by index."""
  images = np.random.default_rng(0).random((2, 4, 6, 3), np.float32)
  found = np.asarray(fast.to_channels(jnp.asarray(images)))
  for y, x, c in np.ndindex(4, 6, 3):
    channel = (y % 2 * 2 + x % 2) * 3 + c
    np.testing.assert_array_equal(found[:, y // 2, x // 2, channel], images[:, y, x, c])
  np.testing.assert_array_equal(fast.to_pixels(jnp.asarray(found)), images)


def test_soft_clip():
  """Expected: by NumPy in float64; a clip but for log(2) / 40, with a slope beyond its ends."""
  x = np.linspace(-0.2, 1.2, 57)
  expected = (np.logaddexp(0, 40 * x) - np.logaddexp(0, 40 * (x - 1))) / 40
  found = fast.soft_clip(jnp.asarray(x, jnp.float32))
  np.testing.assert_allclose(found, expected, atol=1e-6)
  np.testing.assert_allclose(found, np.clip(x, 0, 1), atol=np.log(2) / 40 + 1e-6)
  slopes = jax.vmap(jax.grad(fast.soft_clip))(jnp.asarray(x, jnp.float32))
  assert slopes.min() > 0


def test_all_pixels_see_the_mean_of_the_image(params):
  """As F's attention does: a far corner changes a pixel beyond every convolution's reach."""
  ir, vi = pair(8, 240)
  changed = ir.at[:, :, 200:].set(1 - ir[:, :, 200:])
  near, far = (np.asarray(NET.apply({"params": params}, x, vi)) for x in (ir, changed))
  assert np.abs(near - far)[:, :, :40].max() > 1e-6
