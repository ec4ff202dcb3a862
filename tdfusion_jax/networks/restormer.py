"""Restormer blocks: attention across channels and a gated feed-forward part, shared by F and G.

No convolution has a bias. All images are NHWC; every sum over pixels runs over the whole image, so these
networks take any size and must never see padding. Each part is one function of a strip of rows (`ops.strips`), so
the wide intermediates between its links stay in cache and are not kept for the backward pass.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tdfusion_jax.ops.depthwise import depthwise3x3
from tdfusion_jax.ops.pointwise import outer_sum, pointwise
from tdfusion_jax.ops.strips import Tiling, over_strips

HEADS = 8
_LN_EPS = 1e-5
kernel_init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")  # what PyTorch's layers start from


def _depthwise_init(key, shape, dtype=jnp.float32):
  bound = 1 / 3  # PyTorch: 1 / sqrt(fan_in) with the fan_in of one 3x3 window
  return jax.random.uniform(key, shape, dtype, -bound, bound)


class Kernel(nn.Module):
  """The kernel of a bias-free convolution, by itself: [C_in, C_out] (1x1) or [3, 3, C] (depthwise)."""

  @nn.compact
  def __call__(self, *shape: int) -> jax.Array:
    return self.param("kernel", kernel_init if len(shape) == 2 else _depthwise_init, shape)


class Norm(nn.Module):
  """Scale and shift of a layer norm over channels."""

  @nn.compact
  def __call__(self, channels: int) -> tuple[jax.Array, jax.Array]:
    scale = self.param("scale", nn.initializers.ones, (channels,))
    return scale, self.param("bias", nn.initializers.zeros, (channels,))


def layer_norm(x: jax.Array, norm: tuple[jax.Array, jax.Array]) -> jax.Array:
  """Layer norm over the last axis, eps 1e-5."""
  scale, bias = (p.reshape(1, 1, 1, -1) for p in norm)
  centred = x - jnp.mean(x, axis=-1, keepdims=True)
  variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
  return centred * (jax.lax.rsqrt(variance + _LN_EPS) * scale) + bias


def gelu(x: jax.Array) -> jax.Array:
  """Exact GELU. By erf, as PyTorch has it; JAX's own goes by erfc, which XLA computes in two branches."""
  return 0.5 * x * (1 + jax.lax.erf(x * jnp.asarray(0.5**0.5, x.dtype)))


def conv3x3(features: int, name: str) -> nn.Conv:
  """3x3 convolution without bias, zero padding 1, kernel [3, 3, C_in, C_out]."""
  return nn.Conv(features, (3, 3), padding=1, use_bias=False, kernel_init=kernel_init, name=name)


def gram(q: Float[Array, "p h w c"], k: Float[Array, "p h w c"]) -> tuple[jax.Array, jax.Array, jax.Array]:
  """What channel attention needs to know of q and k: sums over pixels of q k^T, q^2 and k^2."""
  ones = jnp.ones((*q.shape[:-1], 1), q.dtype)  # a product with ones is XLA's fastest sum over pixels on CPU
  q_squares, k_squares = (outer_sum(ones, jnp.square(x))[:, 0] for x in (q, k))
  return outer_sum(q, k), q_squares, k_squares


def channel_attention(
  sums: tuple[Float[Array, "b c c"], Float[Array, "b c"], Float[Array, "b c"]],
  temperature: Float[Array, " heads"],
) -> Float[Array, "b c c"]:
  """Attention of every channel to the channels of its own head (Restormer's MDTA), as a block-diagonal matrix.

  With `c' = c / heads`, the block of a head is `softmax(norm(q) norm(k)^T * temperature)`, norms over all
  pixels (eps 1e-12). Handing back the whole [C, C] matrix lets the caller fold it into the projection that
  follows, so that values are read and written once.

  Args:
    sums: of `gram`, over the whole image.
    temperature: [heads], C divisible by heads.

  Returns:
    [B, C, C]: row = channel of q, column = channel of v. Rows of each block sum to one.
  """
  products, *squares = sums
  batch, channels, heads = products.shape[0], products.shape[-1], temperature.shape[0]
  # sqrt has no finite slope at zero: clamp its argument, which equals clamping the norm at 1e-12.
  norms = [jnp.sqrt(jnp.maximum(x, 1e-24)) for x in squares]
  cosine = products / (norms[0][:, :, None] * norms[1][:, None, :])
  same_head = jnp.eye(heads, dtype=products.dtype)
  blocks = cosine.reshape(batch, heads, channels // heads, heads, channels // heads)
  blocks = jnp.einsum("bhcgd,hg->bhcd", blocks, same_head)
  attention = jax.nn.softmax(blocks * temperature[None, :, None, None], axis=-1)
  return jnp.einsum("bhcd,hg->bhcgd", attention, same_head).reshape(batch, channels, channels)


class RestormerBlock(nn.Module):
  """`x += MDTA(LN(x)); x += GDFN(LN(x))` (Restormer, CVPR 2022); same shape out as in, any channel count / 8."""

  tiling: Tiling = Tiling()

  @nn.compact
  def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    x = ChannelAttention(self.tiling, name="attn")(x, Norm(name="norm1")(x.shape[-1]))
    return FeedForward(self.tiling, name="ffn")(x, Norm(name="norm2")(x.shape[-1]))


class ChannelAttention(nn.Module):
  """`x + MDTA(LN(x))`: 1x1 C -> 3C, depthwise 3x3, channel attention, 1x1 C -> C.

  Two passes: one for the sums over all pixels, one for the values; what q, k and v have in common is cheaper
  to compute twice than to write down.
  """

  tiling: Tiling = Tiling()

  @nn.compact
  def __call__(self, x: Float[Array, "b h w c"], norm: tuple[jax.Array, jax.Array]) -> Float[Array, "b h w c"]:
    channels = x.shape[-1]
    qkv = Kernel(name="qkv")(channels, 3 * channels)
    dwconv = Kernel(name="qkv_dwconv")(3, 3, 3 * channels)
    temperature = self.param("temperature", nn.initializers.ones, (HEADS,))
    project = self.param("project_out", kernel_init, (channels, channels))
    qk, v = ((qkv[:, part], dwconv[..., part]) for part in (slice(2 * channels), slice(2 * channels, None)))
    sums = over_strips(gram_of_strip, (norm, *qk), (x,), channels=3 * channels, tiling=self.tiling, total=True)
    mixed = jnp.einsum("bcd,co->bdo", channel_attention(sums, temperature), project)
    return over_strips(attend_strip, (norm, *v), (x,), mixed, channels=3 * channels, tiling=self.tiling)


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


class FeedForward(nn.Module):
  """`x + GDFN(LN(x))`: 1x1 C -> 4C, depthwise 3x3, GELU(first half) * second half, 1x1 2C -> C."""

  tiling: Tiling = Tiling()

  @nn.compact
  def __call__(self, x: Float[Array, "b h w c"], norm: tuple[jax.Array, jax.Array]) -> Float[Array, "b h w c"]:
    channels = x.shape[-1]
    weights = (
      norm,
      Kernel(name="project_in")(channels, 4 * channels),
      Kernel(name="dwconv")(3, 3, 4 * channels),
      Kernel(name="project_out")(2 * channels, channels),
    )
    return over_strips(feed_strip, weights, (x,), channels=4 * channels, tiling=self.tiling)


def feed_strip(weights, _, strips, inside):
  """The feed-forward part of a strip."""
  *into, project_out = weights
  gate, value = jnp.split(qkv_of_strip(into, strips[0], inside), 2, axis=-1)
  return strips[0][:, 1:-1] + pointwise(gelu(gate) * value, project_out)
