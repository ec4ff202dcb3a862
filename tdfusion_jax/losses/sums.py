"""Sums of a whole batch, in which float32 loses nothing to speak of."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def total(x: Float[Array, "..."]) -> Float[Array, ""]:
  """The sum of `x`, axis by axis from the last: of pixels by rows, by images, of all images.

  One sum over all pixels, added up one after another as some compilers do, is off by an amount that
  grows with their number, and depends on how many devices share the batch. Barriers keep XLA from
  making one of them all.

  Args:
    x: [...], of any shape.
  """
  for _ in range(x.ndim):
    x = jax.lax.optimization_barrier(jnp.sum(x, axis=-1))
  return x


def mean(x: Float[Array, "..."]) -> Float[Array, ""]:
  """The mean of `x` [...], by `total`."""
  return total(x) / x.size
