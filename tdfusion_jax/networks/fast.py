"""A fusion network for real time on a CPU: convolutions at half the resolution and below."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tdfusion_jax.ops.conv import conv3x3
from tdfusion_jax.ops.pointwise import pointwise
from tdfusion_jax.ops.strips import Tiling

_HALF, _QUARTER, _EIGHTH, _WHOLE = 24, 32, 32, 32
"""Channels at each resolution, and of what is known of the whole image."""
COARSEST = 8
_NUMBERS = 4
SHARPNESS = 40.0
# Uniform: to draw from a normal distribution takes XLA ten seconds to compile.
_init = nn.initializers.variance_scaling(1.0, "fan_in", "uniform")
_small_init = nn.initializers.variance_scaling(1e-2, "fan_in", "uniform")


class _Conv(nn.Module):
  """A convolution with bias: of 3x3 pixels, of each pixel, or of squares of 2x2 pixels.

  As `flax.linen.Conv`, whose kernel gradients take XLA on CPUs most of a training step.
  """

  features: int
  side: int
  kernel_init: Any = _init
  tiling: Tiling = Tiling()

  @nn.compact
  def __call__(self, x: Float[Array, "b h w c"]) -> jax.Array:
    size = (self.side, self.side, x.shape[-1], self.features)
    kernel = self.param("kernel", self.kernel_init, size)
    bias = self.param("bias", nn.initializers.zeros, (self.features,))
    bias = bias[None, None, None]
    if self.side == 3:
      return conv3x3(x, kernel, self.tiling) + bias
    squares = to_channels(x) if self.side == 2 else x
    matrix = kernel.reshape(-1, self.features)
    dtype = jnp.promote_types(x.dtype, matrix.dtype)
    return pointwise(squares.astype(dtype), matrix.astype(dtype)) + bias


class FastNet(nn.Module):
  """A second network in the place of F: 2.8 GFLOP at 480x640 where F needs 37, any image size.

  It predicts four numbers for each pixel; with them the fused image is
  `w_a a + w_b b + w_max max(a, b) + r`, held softly in [0, 1]. So the images enter at full
  resolution at the end, and all else is computed at half the resolution and below: a pixel there
  has the four pixels of each image as channels. What is known of the whole image, the means of all
  features, scales and shifts the coarsest features and the four numbers, since F too sees the whole
  image. Sizes that are no multiple of 8 are filled up by repeating the last row and column, and cut
  again.
  """

  tiling: Tiling = Tiling()
  """Whether machine code may compute the gradients of kernels."""

  @nn.compact
  def __call__(
    self, ir: Float[Array, "b h w 1"], vi: Float[Array, "b h w 1"]
  ) -> Float[Array, "b h w 1"]:
    """Fuses.

    Args:
      ir: infrared, [B, H, W, 1] in [0, 1].
      vi: visible luminance, [B, H, W, 1] in [0, 1].

    Returns:
      [B, H, W, 1] in [0, 1], not stretched.
    """
    height, width = ir.shape[1:3]
    conv = functools.partial(_Conv, tiling=self.tiling)
    a, b = (to_channels(filled_up(image)) for image in (ir, vi))
    half = nn.relu(conv(_HALF, 3, name="half_in")(jnp.concatenate([a, b], axis=-1)))
    quarter = nn.relu(conv(_QUARTER, 2, name="quarter_in")(half))
    quarter = nn.relu(conv(_QUARTER, 3, name="quarter_0")(quarter))
    eighth = nn.relu(conv(_EIGHTH, 2, name="eighth_in")(quarter))
    means = [features.mean(axis=(1, 2), keepdims=True) for features in (quarter, eighth)]
    whole = nn.relu(conv(_WHOLE, 1, name="whole_in")(jnp.concatenate(means, axis=-1)))
    for i in range(2):
      names = (f"whole_scale_{i}", f"whole_shift_{i}")
      scale, shift = (conv(_EIGHTH, 1, name=name)(whole) for name in names)
      seen = conv(_EIGHTH, 3, name=f"eighth_{i}")(eighth)
      eighth = eighth + nn.relu(seen * (1 + scale) + shift)
    quarter = quarter + to_pixels(conv(4 * _QUARTER, 1, name="eighth_out")(eighth))
    quarter = quarter + nn.relu(conv(_QUARTER, 3, name="quarter_1")(quarter))
    half = half + to_pixels(conv(4 * _HALF, 1, name="quarter_out")(quarter))
    half = half + nn.relu(conv(_HALF, 3, name="half_0")(half))
    last = conv(4 * _NUMBERS, 3, name="half_out", kernel_init=_small_init)(half)
    # By squares of four pixels: with the four numbers as last axis this takes XLA 14 ms, not 2.
    shared = conv(_NUMBERS, 1, name="whole_out", kernel_init=_small_init)(whole)
    last = last + jnp.repeat(shared, 4, axis=-1)
    mixed = jnp.concatenate([a, b, jnp.maximum(a, b), jnp.ones_like(a)], axis=-1)
    # Summed by a product with zeros and ones: XLA computes what goes into a product once, and the
    # slope of the soft clip, in a sum, once for each of the four numbers.
    sums = jnp.tile(jnp.eye(4, dtype=mixed.dtype), (_NUMBERS, 1))
    fused = pointwise(last * mixed, sums) + 0.5 * (a + b)
    return to_pixels(soft_clip(fused))[:, :height, :width]


def filled_up(images: jax.Array) -> jax.Array:
  """[B, H, W, C] with the last row and column repeated up to multiples of 8."""
  height, width = images.shape[1:3]
  more = COARSEST - 1
  images = jnp.pad(images, ((0, 0), (0, more), (0, more), (0, 0)), "edge")
  rows, columns = ((size + more) // COARSEST * COARSEST for size in (height, width))
  return images[:, :rows, :columns]


def to_channels(images: jax.Array) -> jax.Array:
  """Squares of two by two pixels as channels: [B, 2 H, 2 W, C] -> [B, H, W, 4 C]."""
  batch, height, width, channels = images.shape
  squares = images.reshape(batch, height // 2, 2, width // 2, 2, channels)
  return squares.transpose(0, 1, 3, 2, 4, 5).reshape(batch, height // 2, width // 2, 4 * channels)


def to_pixels(features: jax.Array) -> jax.Array:
  """Undoes `to_channels`: [B, H, W, 4 C] -> [B, 2 H, 2 W, C]."""
  batch, height, width, channels = features.shape
  squares = features.reshape(batch, height, width, 2, 2, channels // 4)
  return squares.transpose(0, 1, 3, 2, 4, 5).reshape(batch, 2 * height, 2 * width, channels // 4)


@jax.custom_jvp
def soft_clip(x: jax.Array) -> jax.Array:
  """`x` in [0, 1]: itself but for the ends, and with a slope everywhere, unlike a clip.

  It is the integral of `sigmoid(s x) - sigmoid(s (x - 1))`, s = 40.
  """
  within = jax.nn.softplus(SHARPNESS * x) - jax.nn.softplus(SHARPNESS * (x - 1))
  return jnp.clip(within / SHARPNESS, 0, 1)  # of what rounding leaves beyond


@soft_clip.defjvp
def _soft_clip_jvp(primals, tangents):
  (x,), (moved,) = primals, tangents
  slope = jax.nn.sigmoid(SHARPNESS * x) - jax.nn.sigmoid(SHARPNESS * (x - 1))
  return soft_clip(x), slope * moved
