"""From a fused luminance to a finished image: its range, and the colour of its sources."""

from typing import Any

from tdfusion_jax.ops.image import fuse_chroma, rgb_to_ycbcr, ycbcr_to_rgb
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
  chroma = [rgb_to_ycbcr(image)[..., 1:] for image in (ir, vi) if image.shape[-1] == 3]
  if not chroma:
    return fused
  xp = fused.__array_namespace__()
  both = fuse_chroma(*chroma) if len(chroma) == 2 else chroma[0]
  return xp.clip(ycbcr_to_rgb(xp.concatenate([fused, both], axis=-1)), 0, 1)
