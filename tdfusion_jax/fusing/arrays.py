"""Fusing batches of arrays of one size, gray and colour."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from tdfusion_jax.fusing.finish import finish
from tdfusion_jax.ops import compiling
from tdfusion_jax.ops.image import luminance


def make_fuse_fn(
  fuse_fn: Callable, params: Any, *, stretch: bool = False, dtype: Any = None
) -> Callable:
  """Jit-compiled fusion of batches of gray or colour images; each size compiles once.

  F sees luminances (BT.601). Colour in, colour out: chroma comes from the one colour input; of two,
  each pixel's chroma is weighed by its distance from gray. Two gray images give a gray one.

  Args:
    fuse_fn: (params, ir, vi) -> fused, on [B, H, W, 1]; a `fusers.Fuser` or any function.
    params: of `fuse_fn`.
    stretch: stretch each fused luminance to [0, 1], as the published numbers are made; it flickers
      in video.
    dtype: that F computes in, such as `jnp.bfloat16`; None is the images' own. Colour stays in the
      images' own.

  Returns:
    (ir, vi) -> fused in [0, 1]: [B, H, W, 1 or 3] each, equal B, H, W; any size, never padded,
    since F's attention sums over all pixels. ValueError for other shapes, and for images that are
    not floats.
  """

  @compiling.jit
  def fuse(params, ir, vi):
    a, b = (cast(dtype, luminance(image)) for image in (ir, vi))
    fused = fuse_fn(params, a, b).astype(ir.dtype)
    return finish(fused, ir, vi, stretch=stretch)

  def checked(ir, vi):
    if ir.ndim != 4 or vi.ndim != 4 or ir.shape[:3] != vi.shape[:3]:
      raise ValueError(f"pairs are [B, H, W, 1 or 3] of equal size, not {ir.shape} and {vi.shape}.")
    if ir.shape[-1] not in (1, 3) or vi.shape[-1] not in (1, 3):
      raise ValueError(f"images have 1 or 3 channels, not {ir.shape[-1]} and {vi.shape[-1]}.")
    if not all(jnp.issubdtype(image.dtype, jnp.floating) for image in (ir, vi)):
      raise ValueError(
        f"images are floats in [0, 1], not {ir.dtype} and {vi.dtype}; divide 8 bits by 255."
      )
    return fuse(params, jnp.asarray(ir), jnp.asarray(vi))

  params = jax.tree.map(lambda x: cast(dtype, jnp.asarray(x)), params)
  return checked


def cast(dtype: Any, x: Any) -> Any:
  """`x` in `dtype`, or as it is for None."""
  return x if dtype is None else x.astype(dtype)
