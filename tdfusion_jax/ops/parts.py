"""The three parts of a Restormer block in JAX, each one function of a strip of rows (`ops.strips`).

Every part is `z = depthwise3x3(LN(x) w)` and a head that makes something of z. The wide
intermediates between its links stay in cache and are not kept for the backward pass. `ops.blocks`
runs machine code in their place where it can.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tdfusion_jax.ops.depthwise import depthwise3x3
from tdfusion_jax.ops.pointwise import outer_sum, pointwise
from tdfusion_jax.ops.strips import Tiling, over_strips

_LN_EPS = 1e-5


def layer_norm(x: jax.Array, norm: tuple[jax.Array, jax.Array]) -> jax.Array:
  """Layer norm over the last axis, eps 1e-5."""
  scale, bias = (p.reshape(1, 1, 1, -1) for p in norm)
  dtype, x = x.dtype, _precise(x)
  centred = x - jnp.mean(x, axis=-1, keepdims=True)
  variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
  return (centred * (jax.lax.rsqrt(variance + _LN_EPS) * scale) + bias).astype(dtype)


def _precise(x: jax.Array) -> jax.Array:
  """In float32 at least: for sums."""
  return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def gelu(x: jax.Array) -> jax.Array:
  """Exact GELU, by erf as PyTorch has it."""
  # Not JAX's own, which goes by erfc: XLA computes that in two branches.
  return 0.5 * x * (1 + jax.lax.erf(x * jnp.asarray(0.5**0.5, x.dtype)))


def gram(
  q: Float[Array, "p h w c"], k: Float[Array, "p h w c"]
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """What channel attention needs to know of q and k: sums over pixels of q k^T, q^2 and k^2."""
  q, k = _precise(q), _precise(k)
  # A product with ones is XLA's fastest sum over pixels on CPU.
  ones = jnp.ones((*q.shape[:-1], 1), q.dtype)
  q_squares, k_squares = (outer_sum(ones, jnp.square(x))[:, 0] for x in (q, k))
  return outer_sum(q, k), q_squares, k_squares


def widened(weights, strip, inside):
  """The z of `Widening` (or a tuple like it) of a strip, [P, R + 2, W, C] -> [P, R, W, N]."""
  norm, matrix, kernel = weights
  if norm is not None:
    strip = layer_norm(strip, norm) * inside
  return depthwise3x3(pointwise(strip, matrix), kernel, pad_rows=0)


def gram_of_strip(weights, _, strips, inside):
  """`gram` of q and k of a strip (see `over_strips`).

  Args:
    weights: as for `widened`, q beside k.
    strips: of one image.
    inside: 1 on rows of the image, see `over_strips`.
  """
  qk = widened(weights, strips[0], inside) * inside[:, 1:-1]
  return gram(*jnp.split(qk, 2, axis=-1))


def attend_strip(weights, mixed, strips, inside):
  """The attention part of a strip (see `over_strips`).

  Args:
    weights: as for `widened`, of the values.
    mixed: attention and projection as one matrix.
    strips: of one image.
    inside: 1 on rows of the image, see `over_strips`.
  """
  return strips[0][:, 1:-1] + pointwise(
    widened(weights, strips[0], inside), mixed.astype(strips[0].dtype)
  )


def feed_strip(weights, _, strips, inside):
  """The feed-forward part of a strip (see `over_strips`).

  Args:
    weights: those of `widened`, gate beside value, and the matrix behind them.
    strips: of one image.
    inside: 1 on rows of the image, see `over_strips`.
  """
  *into, project_out = weights
  gate, value = jnp.split(widened(into, strips[0], inside), 2, axis=-1)
  return strips[0][:, 1:-1] + pointwise(gelu(gate) * value, project_out)


def sums(tiling: Tiling, weights, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
  """`gram` of q and k of images [B, H, W, C]; weights: a `Widening` to 2 D channels, q beside k."""
  return over_strips(
    gram_of_strip, weights, (x,), channels=weights[1].shape[-1], tiling=tiling, total=True
  )


def attend(tiling: Tiling, weights, mixed: jax.Array, x: jax.Array) -> jax.Array:
  """`x + z mixed`.

  Args:
    tiling: how images are cut.
    weights: a `Widening` to D channels.
    mixed: [B, D, C].
    x: images [B, H, W, C].

  Returns:
    [B, H, W, C].
  """
  return over_strips(attend_strip, weights, (x,), mixed, channels=3 * x.shape[-1], tiling=tiling)


def feed(tiling: Tiling, weights, out: jax.Array, x: jax.Array) -> jax.Array:
  """`x + (GELU(z[:D]) * z[D:]) out`.

  Args:
    tiling: how images are cut.
    weights: a `Widening` to 2 D channels.
    out: [D, C].
    x: images [B, H, W, C].

  Returns:
    [B, H, W, C].
  """
  return over_strips(
    feed_strip, (*weights, out), (x,), channels=weights[1].shape[-1], tiling=tiling
  )
