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
  centred = x - jnp.mean(x, axis=-1, keepdims=True)
  variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
  return centred * (jax.lax.rsqrt(variance + _LN_EPS) * scale) + bias


def gelu(x: jax.Array) -> jax.Array:
  """Exact GELU. By erf, as PyTorch has it; JAX's own goes by erfc, which XLA computes in two branches."""
  return 0.5 * x * (1 + jax.lax.erf(x * jnp.asarray(0.5**0.5, x.dtype)))


def gram(
  q: Float[Array, "p h w c"], k: Float[Array, "p h w c"]
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """What channel attention needs to know of q and k: sums over pixels of q k^T, q^2 and k^2."""
  ones = jnp.ones(
    (*q.shape[:-1], 1), q.dtype
  )  # a product with ones is XLA's fastest sum over pixels on CPU
  q_squares, k_squares = (outer_sum(ones, jnp.square(x))[:, 0] for x in (q, k))
  return outer_sum(q, k), q_squares, k_squares


def qkv_of_strip(weights, strip, inside):
  """Depthwise 3x3 of 1x1 of LN of a strip, by weights (norm or None, [C, O], [3, 3, O])."""
  norm, matrix, kernel = weights
  if norm is not None:
    strip = layer_norm(strip, norm) * inside
  return depthwise3x3(pointwise(strip, matrix), kernel, pad_rows=0)


def gram_of_strip(weights, _, strips, inside):
  """`gram` of q and k of a strip (see `over_strips`); weights as for `qkv_of_strip`."""
  qk = qkv_of_strip(weights, strips[0], inside) * inside[:, 1:-1]
  return gram(*jnp.split(qk, 2, axis=-1))


def attend_strip(weights, mixed, strips, inside):
  """The attention part of a strip, given attention and projection as one matrix."""
  return strips[0][:, 1:-1] + pointwise(qkv_of_strip(weights, strips[0], inside), mixed)


def feed_strip(weights, _, strips, inside):
  """The feed-forward part of a strip."""
  *into, project_out = weights
  gate, value = jnp.split(qkv_of_strip(into, strips[0], inside), 2, axis=-1)
  return strips[0][:, 1:-1] + pointwise(gelu(gate) * value, project_out)


def sums(tiling: Tiling, weights, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
  """`gram` of q and k of images [B, H, W, C]; weights (norm or None, [C, 2 D], [3, 3, 2 D]) for q beside k."""
  return over_strips(
    gram_of_strip, weights, (x,), channels=weights[1].shape[-1], tiling=tiling, total=True
  )


def attend(tiling: Tiling, weights, mixed: jax.Array, x: jax.Array) -> jax.Array:
  """`x + z mixed`; weights (norm or None, [C, D], [3, 3, D]), mixed [B, D, C]."""
  return over_strips(attend_strip, weights, (x,), mixed, channels=3 * x.shape[-1], tiling=tiling)


def feed(tiling: Tiling, weights, out: jax.Array, x: jax.Array) -> jax.Array:
  """`x + (GELU(z[:D]) * z[D:]) out`; weights (norm or None, [C, 2 D], [3, 3, 2 D]), out [D, C]."""
  return over_strips(
    feed_strip, (*weights, out), (x,), channels=weights[1].shape[-1], tiling=tiling
  )
