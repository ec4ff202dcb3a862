"""From a fused luminance to a finished image: its range, and the colour of its sources."""

from typing import Any

from tdfusion_jax.batch import LUMA
from tdfusion_jax.ops.image import fuse_chroma, luminance
from tdfusion_jax.ops.image import min_max_stretch as _stretched


def finish(fused: Any, ir: Any, vi: Any, *, stretch: bool = False) -> Any:
  """The finished image of a fused luminance; every way of fusing ends here.

  Args:
    fused: [..., H, W, 1] in [0, 1]: a JAX array, within a compiled function too, or a NumPy array.
    ir: what was fused, [..., H, W, 1 or 3] in [0, 1].
    vi: likewise.
    stretch: stretch each image to [0, 1]; a flat image stays as it is.

  Returns:
    [..., H, W, 1], or [..., H, W, 3] if a source has colour: RGB in [0, 1].
  """
  return coloured(_stretched(fused) if stretch else fused, ir, vi)


def coloured(fused: Any, ir: Any, vi: Any) -> Any:
  """`fused` with the colour of its sources, see `finish`; itself if neither has any.

  Chroma comes from the one colour source; of two, each pixel's is weighed by its strength.
  """
  colour = [image for image in (ir, vi) if image.shape[-1] == 3]
  if not colour:
    return fused
  xp = fused.__array_namespace__()
  if len(colour) == 1:  # the same as by way of Cb and Cr, in a third of the time
    return xp.clip(colour[0] + (fused - luminance(colour[0])), 0, 1)
  y = fused[..., 0]
  (blue_a, red_a), (blue_b, red_b) = (_chroma(image) for image in colour)
  blue = y + (fuse_chroma(blue_a, blue_b) - 0.5)
  red = y + (fuse_chroma(red_a, red_b) - 0.5)
  green = (y - LUMA[0] * red - LUMA[2] * blue) / LUMA[1]
  return xp.clip(xp.stack([red, green, blue], axis=-1), 0, 1)


def _chroma(image: Any) -> tuple[Any, Any]:
  """B - Y and R - Y around 1/2: Cb and Cr but for a factor, which weighing by strength ignores."""
  y = luminance(image)[..., 0]
  return 0.5 + (image[..., 2] - y), 0.5 + (image[..., 0] - y)
