"""Restormer blocks: attention across channels and a gated feed-forward part, shared by F and G.

No convolution has a bias. All images are NHWC; every sum over pixels runs over the whole image, so
these networks take any size and must never see padding. Each part works through the image piece by
piece (`ops.blocks`), so its wide intermediates stay in cache and are not kept for the backward
pass.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tdfusion_jax.networks.weights import HEADS, Widening
from tdfusion_jax.ops import blocks
from tdfusion_jax.ops.conv import conv3x3
from tdfusion_jax.ops.strips import Tiling

# What PyTorch's layers start from.
kernel_init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def _depthwise_init(key, shape, dtype=jnp.float32):
  bound = 1 / 3  # PyTorch: 1 / sqrt(fan_in) with the fan_in of one 3x3 window
  return jax.random.uniform(key, shape, dtype, -bound, bound)


class Kernel(nn.Module):
  """The kernel of a bias-free convolution, by itself."""

  @nn.compact
  def __call__(self, *shape: int) -> jax.Array:
    """Shape [C_in, C_out] for a 1x1 convolution, or [3, 3, C] for a depthwise one."""
    return self.param("kernel", kernel_init if len(shape) == 2 else _depthwise_init, shape)


class Norm(nn.Module):
  """Scale and shift of a layer norm over channels."""

  @nn.compact
  def __call__(self, channels: int) -> tuple[jax.Array, jax.Array]:
    """(scale, bias), [channels] each."""
    scale = self.param("scale", nn.initializers.ones, (channels,))
    return scale, self.param("bias", nn.initializers.zeros, (channels,))


class Conv3x3(nn.Module):
  """3x3 convolution without bias, zero padding 1, kernel [3, 3, C_in, C_out]."""

  features: int
  tiling: Tiling = Tiling()

  @nn.compact
  def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w o"]:
    """Convolves images; `o` is `features`."""
    kernel = self.param("kernel", kernel_init, (3, 3, x.shape[-1], self.features))
    return conv3x3(x, kernel, self.tiling)


def channel_attention(
  sums: tuple[Float[Array, "b c c"], Float[Array, "b c"], Float[Array, "b c"]],
  temperature: Float[Array, " heads"],
) -> Float[Array, "b c c"]:
  """Attention of every channel to the channels of its own head, as a block-diagonal matrix.

  Restormer's MDTA (Zamir et al., CVPR 2022). With `c' = c / heads`, the block of a head is
  `softmax(norm(q) norm(k)^T * temperature)`, norms over all pixels (eps 1e-12). The whole [C, C]
  matrix lets the caller fold it into the projection that follows, so that values are read and
  written once.

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
  """`x += MDTA(LN(x)); x += GDFN(LN(x))` (Zamir et al., CVPR 2022)."""

  tiling: Tiling = Tiling()

  @nn.compact
  def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Features -> features; C is a multiple of `HEADS`."""
    x = ChannelAttention(self.tiling, name="attn")(x, Norm(name="norm1")(x.shape[-1]))
    return FeedForward(self.tiling, name="ffn")(x, Norm(name="norm2")(x.shape[-1]))


class ChannelAttention(nn.Module):
  """`x + MDTA(LN(x))`: 1x1 C -> 3C, depthwise 3x3, channel attention, 1x1 C -> C.

  Two passes: one for the sums over all pixels, one for the values; what q, k and v have in common
  is cheaper to compute twice than to write down.
  """

  tiling: Tiling = Tiling()

  @nn.compact
  def __call__(
    self, x: Float[Array, "b h w c"], norm: tuple[jax.Array, jax.Array]
  ) -> Float[Array, "b h w c"]:
    """Features -> features; norm: scale and bias of LN, [C] each."""
    channels = x.shape[-1]
    qkv = Kernel(name="qkv")(channels, 3 * channels)
    dwconv = Kernel(name="qkv_dwconv")(3, 3, 3 * channels)
    temperature = self.param("temperature", nn.initializers.ones, (HEADS,))
    project = self.param("project_out", kernel_init, (channels, channels))
    qk = Widening(norm, qkv[:, : 2 * channels], dwconv[..., : 2 * channels])
    v = Widening(norm, qkv[:, 2 * channels :], dwconv[..., 2 * channels :])
    sums = blocks.sums(self.tiling, qk, x)
    mixed = jnp.einsum("bcd,co->bdo", channel_attention(sums, temperature), project)
    return blocks.attend(self.tiling, v, mixed, x)


class FeedForward(nn.Module):
  """`x + GDFN(LN(x))`: 1x1 C -> 4C, depthwise 3x3, GELU(first half) * second half, 1x1 2C -> C."""

  tiling: Tiling = Tiling()

  @nn.compact
  def __call__(
    self, x: Float[Array, "b h w c"], norm: tuple[jax.Array, jax.Array]
  ) -> Float[Array, "b h w c"]:
    """Features -> features; norm: scale and bias of LN, [C] each."""
    channels = x.shape[-1]
    weights = Widening(
      norm,
      Kernel(name="project_in")(channels, 4 * channels),
      Kernel(name="dwconv")(3, 3, 4 * channels),
    )
    return blocks.feed(self.tiling, weights, Kernel(name="project_out")(2 * channels, channels), x)
