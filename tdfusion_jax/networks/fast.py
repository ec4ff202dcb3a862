"""A fusion network for real time on a CPU: convolutions at half the resolution and below."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_HALF, _QUARTER, _EIGHTH, _WHOLE = 24, 32, 32, 32
"""Channels at each resolution, and of what is known of the whole image."""
COARSEST = 8
_NUMBERS = 4
SHARPNESS = 40.0
# Uniform: to draw from a normal distribution takes XLA ten seconds to compile.
_init = nn.initializers.variance_scaling(1.0, "fan_in", "uniform")
_small_init = nn.initializers.variance_scaling(1e-2, "fan_in", "uniform")


def _conv(features: int, side: int, name: str, strides: int = 1, kernel_init: Any = _init):
  """A convolution of side x side pixels, with bias."""
  size = (side, side)
  return nn.Conv(features, size, strides, name=name, kernel_init=kernel_init)


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
    a, b = (to_channels(filled_up(image)) for image in (ir, vi))
    half = nn.relu(_conv(_HALF, 3, "half_in")(jnp.concatenate([a, b], axis=-1)))
    quarter = nn.relu(_conv(_QUARTER, 2, "quarter_in", strides=2)(half))
    quarter = nn.relu(_conv(_QUARTER, 3, "quarter_0")(quarter))
    eighth = nn.relu(_conv(_EIGHTH, 2, "eighth_in", strides=2)(quarter))
    means = [features.mean(axis=(1, 2), keepdims=True) for features in (quarter, eighth)]
    whole = nn.relu(_conv(_WHOLE, 1, "whole_in")(jnp.concatenate(means, axis=-1)))
    for i in range(2):
      scale, shift = (_conv(_EIGHTH, 1, f"whole_{end}_{i}")(whole) for end in ("scale", "shift"))
      seen = _conv(_EIGHTH, 3, f"eighth_{i}")(eighth)
      eighth = eighth + nn.relu(seen * (1 + scale) + shift)
    quarter = quarter + to_pixels(_conv(4 * _QUARTER, 1, "eighth_out")(eighth))
    quarter = quarter + nn.relu(_conv(_QUARTER, 3, "quarter_1")(quarter))
    half = half + to_pixels(_conv(4 * _HALF, 1, "quarter_out")(quarter))
    half = half + nn.relu(_conv(_HALF, 3, "half_0")(half))
    last = _conv(4 * _NUMBERS, 3, "half_out", kernel_init=_small_init)(half)
    # By squares of four pixels: with the four numbers as last axis this takes XLA 14 ms, not 2.
    shared = _conv(_NUMBERS, 1, "whole_out", kernel_init=_small_init)(whole)
    last = last + jnp.repeat(shared, 4, axis=-1)
    w_a, w_b, w_max, rest = jnp.split(last, _NUMBERS, axis=-1)
    fused = (0.5 + w_a) * a + (0.5 + w_b) * b + w_max * jnp.maximum(a, b) + rest
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


def soft_clip(x: jax.Array) -> jax.Array:
  """`x` in [0, 1]: itself but for the ends, and with a slope everywhere, unlike a clip.

  It is the integral of `sigmoid(s x) - sigmoid(s (x - 1))`, s = 40.
  """
  within = jax.nn.softplus(SHARPNESS * x) - jax.nn.softplus(SHARPNESS * (x - 1))
  return jnp.clip(within / SHARPNESS, 0, 1)  # of what rounding leaves beyond
