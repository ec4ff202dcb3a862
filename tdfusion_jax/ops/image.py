"""Colour spaces, range and gradients of images."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def rgb_to_ycbcr(rgb: Float[Array, "*n 3"]) -> Float[Array, "*n 3"]:
  """BT.601 full range. RGB in [0, 1] -> Y, Cb, Cr in [0, 1], chroma centred at 1/2; gray has Cb = Cr = 1/2."""
  y = luminance(rgb)[..., 0]
  return jnp.stack([y, 0.5 + (rgb[..., 2] - y) / 1.772, 0.5 + (rgb[..., 0] - y) / 1.402], axis=-1)


def ycbcr_to_rgb(ycbcr: Float[Array, "*n 3"]) -> Float[Array, "*n 3"]:
  """The inverse of `rgb_to_ycbcr`; values outside [0, 1] are left for the caller to clip."""
  y, cb, cr = (ycbcr[..., i] for i in range(3))
  red, blue = y + 1.402 * (cr - 0.5), y + 1.772 * (cb - 0.5)
  return jnp.stack([red, (y - 0.299 * red - 0.114 * blue) / 0.587, blue], axis=-1)


def luminance(image: Float[Array, "*n c"]) -> Float[Array, "*n 1"]:
  """BT.601 luminance of RGB (C = 3), or the image itself (C = 1); in [0, 1]."""
  if image.shape[-1] == 1:
    return image
  if image.shape[-1] != 3:
    raise ValueError(f"an image has 1 or 3 channels, not {image.shape[-1]}.")
  return (0.299 * image[..., 0] + 0.587 * image[..., 1] + 0.114 * image[..., 2])[..., None]


def fuse_chroma(a: Float[Array, "*n"], b: Float[Array, "*n"]) -> Float[Array, "*n"]:
  """One chroma channel of two colour images, each weighed by its distance from gray; 1/2 where both are gray."""
  from_a, from_b = jnp.abs(a - 0.5), jnp.abs(b - 0.5)
  total = from_a + from_b
  return jnp.where(total > 0, (a * from_a + b * from_b) / jnp.where(total > 0, total, 1), 0.5)


def min_max_stretch(image: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
  """Stretches each image to [0, 1]; a flat image stays as it is."""
  low = image.min(axis=(1, 2, 3), keepdims=True)
  extent = image.max(axis=(1, 2, 3), keepdims=True) - low
  return jnp.where(extent > 0, (image - low) / jnp.where(extent > 0, extent, 1), image)


def sobel(x: Float[Array, "b h w 1"]) -> tuple[Float[Array, "b h w 1"], Float[Array, "b h w 1"]]:
  """Horizontal and vertical Sobel 3x3 responses with zero padding, cross-correlation as in PyTorch.

  A ramp of slope 1 along x gives (8, 0) away from the border.
  """
  padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
  across = padded[:, :, 2:] - padded[:, :, :-2]
  down = padded[:, 2:] - padded[:, :-2]
  horizontal = across[:, :-2] + 2 * across[:, 1:-1] + across[:, 2:]
  vertical = down[:, :, :-2] + 2 * down[:, :, 1:-1] + down[:, :, 2:]
  return horizontal, vertical
