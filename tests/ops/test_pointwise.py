"""1x1 convolutions and their closed pair: values and derivatives of every order against einsum."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tdfusion_jax.ops.pointwise import outer_sum, pointwise


def draw(*shapes, seed=0):
  rng = np.random.default_rng(seed)
  return [jnp.asarray(rng.standard_normal(shape)) for shape in shapes]


def einsum(x, matrix):
  return jnp.einsum("bhwc,co->bhwo" if matrix.ndim == 2 else "bhwc,bco->bhwo", x, matrix)


def outer_einsum(x, y):
  return jnp.einsum("bhwc,bhwo->bco", x, y)


# One matrix for all images; one each, multiplied apart; one each for more images than are unrolled.
CASES = [
  ((2, 3, 4, 5), (5, 6)),
  ((2, 3, 4, 5), (2, 5, 6)),
  ((9, 2, 2, 5), (9, 5, 6)),
  ((1, 1, 1, 1), (1, 2)),
]


def all_derivatives(f, x, y, u, v):
  """Value, both gradients of a loss that is not linear, forward mode, and both over each other."""
  loss = lambda *args: jnp.sum(jnp.sin(f(*args)))  # noqa: E731
  grads = jax.grad(loss, argnums=(0, 1))
  slope = lambda *args: jax.jvp(loss, args, (u, v))[1]  # noqa: E731
  return [
    f(x, y),
    grads(x, y),
    jax.jvp(f, (x, y), (u, v))[1],
    jax.jvp(grads, (x, y), (u, v))[1],
    jax.grad(slope, argnums=(0, 1))(x, y),
  ]


@pytest.mark.parametrize("shapes", CASES)
def test_equals_einsum_with_all_derivatives(x64, shapes):
  arguments = draw(*shapes, *shapes)
  for ours, theirs in zip(
    jax.tree.leaves(jax.jit(lambda *a: all_derivatives(pointwise, *a))(*arguments)),
    jax.tree.leaves(all_derivatives(einsum, *arguments)),
    strict=True,
  ):
    assert jnp.abs(theirs).max() > 1e-3
    np.testing.assert_allclose(ours, theirs, atol=1e-10)


@pytest.mark.parametrize("batch", [1, 3, 9])
def test_outer_sum_equals_einsum_with_all_derivatives(x64, batch):
  arguments = draw(*(2 * ((batch, 3, 4, 5), (batch, 3, 4, 6))))
  for ours, theirs in zip(
    jax.tree.leaves(jax.jit(lambda *a: all_derivatives(outer_sum, *a))(*arguments)),
    jax.tree.leaves(all_derivatives(outer_einsum, *arguments)),
    strict=True,
  ):
    assert jnp.abs(theirs).max() > 1e-3
    np.testing.assert_allclose(ours, theirs, atol=1e-10)


def test_the_identity_returns_the_image():
  (x,) = draw((2, 3, 4, 5))
  np.testing.assert_array_equal(pointwise(x, jnp.eye(5, dtype=x.dtype)), x)


def test_vmap_equals_a_loop(x64):
  x, matrix = draw((4, 2, 3, 4, 5), (5, 6))
  np.testing.assert_allclose(
    jax.vmap(pointwise, (0, None))(x, matrix),
    jnp.stack([einsum(one, matrix) for one in x]),
    atol=1e-12,
  )
  (matrices,) = draw((4, 5, 6), seed=1)
  expected = jnp.stack([einsum(one, m) for one, m in zip(x, matrices, strict=True)])
  np.testing.assert_allclose(jax.vmap(pointwise)(x, matrices), expected, atol=1e-12)


def test_wrong_channels_are_an_error():
  x, matrix = draw((1, 2, 3, 4), (5, 6))
  with pytest.raises(TypeError, match="do not fit|Type-check"):
    pointwise(x, matrix)
