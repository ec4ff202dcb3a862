"""Colour spaces, range and gradients of images.

They accept JAX arrays, within a compiled function too, or NumPy arrays, and return the same.
Neither JAX nor jaxtyping is imported: fusing by machine code starts without them.
"""

from typing import Any

from tdfusion_jax.batch import LUMA

# BT.601: the width of blue's and of red's difference from luminance, 2 (1 - its weight).
_BLUE_SPAN, _RED_SPAN = 1.772, 1.402


def rgb_to_ycbcr(rgb: Any) -> Any:
  """RGB [..., 3] in [0, 1] -> Y, Cb, Cr in [0, 1] (BT.601, full range).

  Chroma is centred at 1/2; gray has Cb = Cr = 1/2.
  """
  y = luminance(rgb)[..., 0]
  cb = 0.5 + (rgb[..., 2] - y) / _BLUE_SPAN
  cr = 0.5 + (rgb[..., 0] - y) / _RED_SPAN
  return rgb.__array_namespace__().stack([y, cb, cr], axis=-1)


def ycbcr_to_rgb(ycbcr: Any) -> Any:
  """The inverse of `rgb_to_ycbcr`; values outside [0, 1] are left for the caller to clip."""
  y, cb, cr = (ycbcr[..., i] for i in range(3))
  red = y + _RED_SPAN * (cr - 0.5)
  blue = y + _BLUE_SPAN * (cb - 0.5)
  green = (y - LUMA[0] * red - LUMA[2] * blue) / LUMA[1]
  return ycbcr.__array_namespace__().stack([red, green, blue], axis=-1)


def luminance(image: Any) -> Any:
  """BT.601 luminance [..., 1] of RGB [..., 3], or the image itself, [..., 1]; in [0, 1]."""
  if image.shape[-1] == 1:
    return image
  if image.shape[-1] != 3:
    raise ValueError(f"an image has 1 or 3 channels, not {image.shape[-1]}.")
  red, green, blue = (weight * image[..., i] for i, weight in enumerate(LUMA))
  return (red + green + blue)[..., None]


def fuse_chroma(a: Any, b: Any) -> Any:
  """One chroma channel [...] of two colour images, each weighed by its distance from gray.

  1/2 where both are gray.
  """
  xp = a.__array_namespace__()
  from_a, from_b = xp.abs(a - 0.5), xp.abs(b - 0.5)
  total = from_a + from_b
  return xp.where(total > 0, (a * from_a + b * from_b) / xp.where(total > 0, total, 1), 0.5)


def min_max_stretch(image: Any) -> Any:
  """Stretches each image [..., H, W, C] to [0, 1]; a flat image stays as it is."""
  inside = {"axis": (-3, -2, -1), "keepdims": True}
  return stretch(image, image.min(**inside), image.max(**inside))


def stretch(image: Any, low: Any, high: Any) -> Any:
  """`low` becomes 0 and `high` 1; where they are equal, the image stays as it is.

  Args:
    image: [..., H, W, C] of whatever range.
    low: a number for all images, or one for each, [*N, 1, 1, 1].
    high: likewise, not below `low`.
  """
  xp = image.__array_namespace__()
  extent = high - low
  return xp.where(extent > 0, (image - low) / xp.where(extent > 0, extent, 1), image)


def sobel(x: Any) -> tuple[Any, Any]:
  """Horizontal and vertical Sobel 3x3 responses with zero padding, cross-correlation as in PyTorch.

  [B, H, W, 1] each. A ramp of slope 1 along x gives (8, 0) away from the border.
  """
  padded = x.__array_namespace__().pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
  across = padded[:, :, 2:] - padded[:, :, :-2]
  down = padded[:, 2:] - padded[:, :-2]
  horizontal = across[:, :-2] + 2 * across[:, 1:-1] + across[:, 2:]
  vertical = down[:, :, :-2] + 2 * down[:, :, 1:-1] + down[:, :, 2:]
  return horizontal, vertical
