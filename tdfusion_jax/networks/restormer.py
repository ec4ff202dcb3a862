"""Restormer blocks: attention across channels and a gated feed-forward part, shared by F and G.

No convolution has a bias. All images are NHWC; every sum over pixels runs over the whole image, so these
networks take any size and must never see padding.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tdfusion_jax.ops.depthwise import depthwise3x3

HEADS = 8
kernel_init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")  # what PyTorch's layers start from


def pointwise(features: int, name: str) -> nn.Dense:
  """1x1 convolution without bias, kernel [C_in, C_out]."""
  return nn.Dense(features, use_bias=False, kernel_init=kernel_init, name=name)


def conv3x3(features: int, name: str) -> nn.Conv:
  """3x3 convolution without bias, zero padding 1, kernel [3, 3, C_in, C_out]."""
  return nn.Conv(features, (3, 3), padding=1, use_bias=False, kernel_init=kernel_init, name=name)


class Depthwise(nn.Module):
  """Depthwise 3x3 convolution without bias, kernel [3, 3, C]."""

  @nn.compact
  def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    channels = x.shape[-1]
    bound = 1 / 3  # PyTorch: 1 / sqrt(fan_in) with the fan_in of one 3x3 window
    kernel = self.param("kernel", _uniform(bound), (3, 3, channels))
    return depthwise3x3(x, kernel)


def _uniform(bound: float):
  def init(key, shape, dtype=jnp.float32):
    return jax.random.uniform(key, shape, dtype, -bound, bound)

  return init


def channel_attention(
  q: Float[Array, "b h w c"],
  k: Float[Array, "b h w c"],
  temperature: Float[Array, " heads"],
) -> Float[Array, "b c c"]:
  """Attention of every channel to the channels of its own head (Restormer's MDTA), as a block-diagonal matrix.

  With `c' = c / heads`, the block of a head is `softmax(norm(q) norm(k)^T * temperature)`, norms over all
  pixels (eps 1e-12). Handing back the whole [C, C] matrix lets the caller fold it into the projection that
  follows, so that values are read and written once.

  Args:
    q, k: [B, H, W, C].
    temperature: [heads], C divisible by heads.

  Returns:
    [B, C, C]: row = channel of q, column = channel of v. Rows of each block sum to one.
  """
  batch, channels, heads = q.shape[0], q.shape[-1], temperature.shape[0]
  gram = jnp.einsum("bhwc,bhwd->bcd", q, k)
  # sqrt has no finite slope at zero: clamp its argument, which equals clamping the norm at 1e-12.
  norms = [jnp.sqrt(jnp.maximum(jnp.sum(jnp.square(x), axis=(1, 2)), 1e-24)) for x in (q, k)]
  cosine = gram / (norms[0][:, :, None] * norms[1][:, None, :])
  same_head = jnp.eye(heads, dtype=q.dtype)
  blocks = cosine.reshape(batch, heads, channels // heads, heads, channels // heads)
  blocks = jnp.einsum("bhcgd,hg->bhcd", blocks, same_head)
  attention = jax.nn.softmax(blocks * temperature[None, :, None, None], axis=-1)
  return jnp.einsum("bhcd,hg->bhcgd", attention, same_head).reshape(batch, channels, channels)


def attend(
  attention: Float[Array, "b c c"], v: Float[Array, "b h w c"], project: Float[Array, "c o"]
) -> Float[Array, "b h w o"]:
  """1x1 projection of the attended values, `(attention v) project`, as one matrix per image."""
  return jnp.einsum("bhwd,bdo->bhwo", v, jnp.einsum("bcd,co->bdo", attention, project))


class ChannelAttention(nn.Module):
  """MDTA: 1x1 C -> 3C, depthwise 3x3, channel attention, 1x1 C -> C."""

  @nn.compact
  def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    channels = x.shape[-1]
    qkv = Depthwise(name="qkv_dwconv")(pointwise(3 * channels, name="qkv")(x))
    q, k, v = jnp.split(qkv, 3, axis=-1)
    temperature = self.param("temperature", nn.initializers.ones, (HEADS,))
    project = self.param("project_out", kernel_init, (channels, channels))
    return attend(channel_attention(q, k, temperature), v, project)


class FeedForward(nn.Module):
  """GDFN: 1x1 C -> 4C, depthwise 3x3, GELU(first half) * second half, 1x1 2C -> C."""

  @nn.compact
  def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    channels = x.shape[-1]
    hidden = Depthwise(name="dwconv")(pointwise(4 * channels, name="project_in")(x))
    gate, value = jnp.split(hidden, 2, axis=-1)
    return pointwise(channels, name="project_out")(jax.nn.gelu(gate, approximate=False) * value)


def _layer_norm(name: str) -> nn.LayerNorm:
  return nn.LayerNorm(epsilon=1e-5, use_fast_variance=False, name=name)


class RestormerBlock(nn.Module):
  """`x += MDTA(LN(x)); x += GDFN(LN(x))` (Restormer, CVPR 2022); same shape out as in, any channel count / 8."""

  @nn.compact
  def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    x = x + ChannelAttention(name="attn")(_layer_norm("norm1")(x))
    return x + FeedForward(name="ffn")(_layer_norm("norm2")(x))
