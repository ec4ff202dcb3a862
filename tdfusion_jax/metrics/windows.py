"""Separable filters over sliding windows, the same on CPU and GPU."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def gaussian(size: int, sigma: float) -> tuple[float, ...]:
  """Weights of a one-dimensional Gaussian, sum 1."""
  x = np.arange(size) - (size - 1) / 2
  weights = np.exp(-(x**2) / (2 * sigma**2))
  return tuple(float(w) for w in weights / weights.sum())


def uniform(size: int) -> tuple[float, ...]:
  """Weights of a moving mean."""
  return (1.0 / size,) * size


def filter_valid(image: Float[Array, "h w"], weights: tuple[float, ...]) -> Float[Array, "h2 w2"]:
  """Both axes with the same weights, only where the whole window fits.

  An image smaller than the window gives nothing.

  Args:
    image: [H, W].
    weights: of one axis, a symmetric window of K.

  Returns:
    [max(H - K + 1, 0), max(W - K + 1, 0)].
  """
  for axis in (0, 1):
    length = max(image.shape[axis] - len(weights) + 1, 0)
    if length == 0:
      shape = list(image.shape)
      shape[axis] = 0
      return jnp.zeros(tuple(shape), image.dtype)
    parts = [w * _cut(image, axis, k, length) for k, w in enumerate(weights)]
    image = sum(parts[1:], parts[0])
  return image


@partial(jax.jit, static_argnums=2)
def local_means(
  x: Float[Array, "h w"], y: Float[Array, "h w"], weights: tuple[float, ...]
) -> tuple[Float[Array, "h2 w2"], ...]:
  """`filter_valid` of x, y, x^2, y^2 and x y.

  A program of its own: in one program with what uses the means, XLA's CPU compiler computes every
  sum over rows again for each column that needs it, and takes five times as long.
  """
  return tuple(filter_valid(image, weights) for image in (x, y, x * x, y * y, x * y))


class Moments(NamedTuple):
  """Of two images in every window, [H2, W2] each."""

  mean_x: Array
  mean_y: Array
  var_x: Array
  var_y: Array
  covariance: Array


def local_moments(
  x: Float[Array, "h w"], y: Float[Array, "h w"], weights: tuple[float, ...]
) -> Moments:
  """Weighted means, variances and covariance in windows, exact on even ground.

  `E[x^2] - E[x]^2` of gray values loses what is below a thousandth to float32, and how much depends
  on the order of operations that a compiler chooses. Here every sum is of differences from the
  window's middle, which are zero where the image is flat. An axis at a time:
  `Var = E_columns[Var_rows] + Var_columns[E_rows]`.

  Args:
    x: [H, W].
    y: [H, W].
    weights: of one axis, a symmetric window of odd K with sum 1.
  """
  rows = _moments_along(x, y, weights, 0)
  across = _moments_along(rows.mean_x, rows.mean_y, weights, 1)
  inside = (_mean_along(part, weights, 1) for part in rows[2:])
  spread = (within + of_means for within, of_means in zip(inside, across[2:], strict=True))
  return Moments(across.mean_x, across.mean_y, *spread)


@partial(jax.jit, static_argnums=(2, 3))
def _moments_along(x: Array, y: Array, weights: tuple[float, ...], axis: int) -> Moments:
  """`local_moments` of windows along one axis; a program of its own, as `local_means`."""
  length = max(x.shape[axis] - len(weights) + 1, 0)
  middle_x, middle_y = (_cut(image, axis, len(weights) // 2, length) for image in (x, y))
  sums = [jnp.zeros_like(middle_x)] * 5
  for k, w in enumerate(weights):
    dx, dy = _cut(x, axis, k, length) - middle_x, _cut(y, axis, k, length) - middle_y
    terms = (dx, dy, dx * dx, dy * dy, dx * dy)
    sums = [total + w * term for total, term in zip(sums, terms, strict=True)]
  of_x, of_y, square_x, square_y, product = sums
  return Moments(
    middle_x + of_x,
    middle_y + of_y,
    square_x - of_x * of_x,
    square_y - of_y * of_y,
    product - of_x * of_y,
  )


@partial(jax.jit, static_argnums=(1, 2))
def _mean_along(x: Array, weights: tuple[float, ...], axis: int) -> Array:
  length = max(x.shape[axis] - len(weights) + 1, 0)
  parts = [w * _cut(x, axis, k, length) for k, w in enumerate(weights)]
  return sum(parts[1:], parts[0])


@partial(jax.jit, static_argnums=1)
def halved(image: Float[Array, "h w"], weights: tuple[float, ...]) -> Float[Array, "h2 w2"]:
  """Every second pixel of `filter_valid`, in a program of its own; exact on even ground."""
  for axis in (0, 1):
    length = max(image.shape[axis] - len(weights) + 1, 0)
    middle = _cut(image, axis, len(weights) // 2, length)
    parts = [w * (_cut(image, axis, k, length) - middle) for k, w in enumerate(weights)]
    image = middle + sum(parts[1:], parts[0])
  return image[::2, ::2]


def filter_same(
  image: Float[Array, "h w"], weights: tuple[float, ...], mode: str = "constant"
) -> Float[Array, "h w"]:
  """Both axes with the same weights, same size.

  Args:
    image: [H, W].
    weights: of one axis.
    mode: of `jnp.pad`, for what lies beyond the border; zeros by default.

  Returns:
    [H, W].
  """
  before = (len(weights) - 1) // 2
  margin = (before, len(weights) - 1 - before)
  return filter_valid(jnp.pad(image, (margin, margin), mode=mode), weights)


def sobel(image: Float[Array, "h w"]) -> tuple[Float[Array, "h w"], Float[Array, "h w"]]:
  """Derivatives along x and y, zeros beyond the border, unscaled (-1 0 1 across 1 2 1)."""
  p = jnp.pad(image, 1)
  rows = p[:-2] + 2 * p[1:-1] + p[2:]
  columns = p[:, :-2] + 2 * p[:, 1:-1] + p[:, 2:]
  return rows[:, 2:] - rows[:, :-2], columns[2:] - columns[:-2]


def _cut(image, axis: int, start: int, length: int):
  return image[start : start + length] if axis == 0 else image[:, start : start + length]
