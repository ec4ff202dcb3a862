"""Bilinear resize: values by hand from PyTorch's two pixel conventions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from tdfusion_jax.ops.resize import resize_bilinear


def row(*values):
  return jnp.asarray(values, jnp.float32).reshape(1, 1, -1, 1)


@pytest.mark.parametrize(
  ("align_corners", "expected"),
  [(False, [0, 1, 3, 4]), (True, [0, 4 / 3, 8 / 3, 4])],  # positions 0 1/4 3/4 1 and 0 1/3 2/3 1
)
def test_doubling_a_row(align_corners, expected):
  out = resize_bilinear(row(0, 4), 1, 4, align_corners)
  np.testing.assert_allclose(out[0, 0, :, 0], expected, rtol=1e-6)


@pytest.mark.parametrize(("align_corners", "expected"), [(False, [0.5, 2.5]), (True, [0, 3])])
def test_halving_a_row_does_not_smooth(align_corners, expected):
  out = resize_bilinear(row(0, 1, 2, 3), 1, 2, align_corners)
  np.testing.assert_allclose(out[0, 0, :, 0], expected, rtol=1e-6)


def test_the_axes_are_not_mixed_up():
  """A bilinear image a + b row + c column is reproduced exactly with aligned corners."""
  rows, columns = np.mgrid[0:5, 0:7].astype(np.float32)
  image = jnp.asarray(1 + 2 * rows + 3 * columns)[None, :, :, None]
  rows, columns = np.linspace(0, 4, 9), np.linspace(0, 6, 4)
  expected = 1 + 2 * rows[:, None] + 3 * columns[None]
  np.testing.assert_allclose(resize_bilinear(image, 9, 4, True)[0, ..., 0], expected, rtol=1e-6)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (3, 11), (13, 4), (6, 5)])
def test_a_constant_stays_constant(align_corners, size):
  out = resize_bilinear(jnp.full((2, 6, 5, 3), 0.7), *size, align_corners)
  assert out.shape == (2, *size, 3)
  np.testing.assert_allclose(out, 0.7, rtol=1e-6)


def test_own_size_is_the_identity():
  image = jax.random.normal(jax.random.key(0), (1, 4, 6, 2))
  np.testing.assert_array_equal(resize_bilinear(image, 4, 6), image)


def test_every_derivative(x64):
  image = jax.random.normal(jax.random.key(0), (1, 3, 4, 2))
  check_grads(
    jax.jit(lambda x: jnp.sin(resize_bilinear(x, 5, 3))), (image,), order=2, modes=("fwd", "rev")
  )


def test_an_empty_size_raises():
  with pytest.raises(ValueError, match="the least"):
    resize_bilinear(row(1, 2), 0, 4)
