"""Strided convolutions whose gradients are ordinary convolutions."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def conv3x3_stride2(x: Float[Array, "b h w c"], kernel: Float[Array, "3 3 c o"]) -> Float[Array, "b i j o"]:
  """3x3 convolution with stride 2 and zero padding 1, as PyTorch's; any size, out = (size + 1) // 2.

  Computed as a 2x2 convolution of stride 1 over 2x2 blocks: the gradient of a strided convolution would be
  a dilated one, which XLA runs far slower on CPU.
  """
  batch, height, width, channels = x.shape
  rows, columns = (height + 1) // 2, (width + 1) // 2
  padding = ((0, 0), (1, 2 * rows + 1 - height), (1, 2 * columns + 1 - width), (0, 0))
  blocks = jnp.pad(x, padding).reshape(batch, rows + 1, 2, columns + 1, 2, channels)
  blocks = blocks.transpose(0, 1, 3, 2, 4, 5).reshape(batch, rows + 1, columns + 1, 4 * channels)
  taps = jnp.pad(kernel, ((0, 1), (0, 1), (0, 0), (0, 0))).reshape(2, 2, 2, 2, channels, -1)
  taps = taps.transpose(0, 2, 1, 3, 4, 5).reshape(2, 2, 4 * channels, -1)
  return jax.lax.conv_general_dilated(blocks, taps, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
