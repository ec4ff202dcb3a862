"""Fusing batches of arrays of one size, gray and colour."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from tdfusion_jax.files import UsageError
from tdfusion_jax.fusing.finish import finish
from tdfusion_jax.ops import compiling
from tdfusion_jax.ops.image import luminance

_SLACK = 0.1  # resampling overshoots a little; other ranges ([-1, 1], 0 to 255) go further


def make_fuse_fn(
  fuse_fn: Callable, params: Any, *, stretch: bool = False, dtype: Any = None
) -> Callable:
  """Jit-compiled fusion of batches of gray or colour images; each size compiles once.

  F sees luminances (BT.601). Colour in, colour out: chroma comes from the one colour input; of two,
  each pixel's chroma is weighed by its distance from gray. Two gray images give a gray one.

  The function may be called within `jax.jit`, `jax.vmap`, `jax.grad` (of images and of `params`)
  and `jax.shard_map` over the batch. Shapes and dtypes are checked there too. Values are not, since
  they are not known while JAX traces: there, images in [0, 1] without NaN are the caller's duty.

  Args:
    fuse_fn: (params, ir, vi) -> fused, on [B, H, W, 1]; a `fusers.Fuser` or any function.
    params: of `fuse_fn`; tracers too.
    stretch: stretch each fused luminance to [0, 1], as the published numbers are made; it flickers
      in video.
    dtype: that F computes in, such as `jnp.bfloat16`; None is the images' own. Colour stays in the
      images' own.

  Returns:
    (ir, vi) -> fused in [0, 1]: [B, H, W, 1 or 3] each, equal B, H, W; any size, never padded,
    since F's attention sums over all pixels. NumPy or JAX arrays. UsageError (a ValueError) for
    anything else: lists, other shapes, nothing in the batch, images that are not floats, NaN,
    infinity, and values that lie more than 0.1 outside [0, 1].
  """

  def fuse(params, ir, vi):
    a, b = (cast(dtype, luminance(image)) for image in (ir, vi))
    fused = fuse_fn(params, a, b).astype(ir.dtype)
    return finish(fused, ir, vi, stretch=stretch)

  outermost, nested = compiling.jit(fuse), jax.jit(fuse)

  def checked(ir, vi):
    _check_kind(ir, vi)
    for name, image in (("ir", ir), ("vi", vi)):
      _check_values(name, image)
    inside = any(_traced(leaf) for leaf in jax.tree.leaves((params, ir, vi, jnp.zeros(()))))
    return (nested if inside else outermost)(params, jnp.asarray(ir), jnp.asarray(vi))

  params = jax.tree.map(lambda x: cast(dtype, jnp.asarray(x)), params)
  return checked


def cast(dtype: Any, x: Any) -> Any:
  """`x` in `dtype`, or as it is for None."""
  return x if dtype is None else x.astype(dtype)


def _traced(x: Any) -> bool:
  """Of an array made here and now: whether this is within a `jax.jit` of the caller's."""
  return isinstance(x, Tracer)


def _check_kind(ir: Any, vi: Any) -> None:
  """Raises UsageError for what tracing knows as well: types, shapes, dtypes."""
  for name, image in (("ir", ir), ("vi", vi)):
    if not isinstance(image, (np.ndarray, jax.Array)):
      kind = type(image).__name__
      raise UsageError(f"{name} is a {kind}, not a NumPy or JAX array; stack images by np.stack.")
  if ir.ndim != 4 or vi.ndim != 4 or ir.shape[:3] != vi.shape[:3]:
    hint = "; one pair is a batch of one, image[None]" if 3 in (ir.ndim, vi.ndim) else ""
    raise UsageError(
      f"pairs are [B, H, W, 1 or 3] of equal size, not {ir.shape} and {vi.shape}{hint}."
    )
  if ir.shape[-1] not in (1, 3) or vi.shape[-1] not in (1, 3):
    raise UsageError(f"images have 1 or 3 channels, not {ir.shape[-1]} and {vi.shape[-1]}.")
  if 0 in ir.shape:
    raise UsageError(f"there is nothing to fuse in a batch of {ir.shape}.")
  for name, image in (("ir", ir), ("vi", vi)):
    if not jnp.issubdtype(image.dtype, jnp.floating):
      how = "take its real part" if jnp.iscomplexobj(image) else "divide 8 bits by 255"
      raise UsageError(f"{name}: images are floats in [0, 1], not {image.dtype}; {how}.")


def _check_values(name: str, image: Any) -> None:
  """Raises UsageError for NaN, infinity and other ranges than [0, 1], where values are known."""
  if _traced(image):
    return
  if isinstance(image, np.ndarray):
    low, high = float(image.min()), float(image.max())
  else:
    with jax.ensure_compile_time_eval():  # a constant of a function that is being traced
      low, high = (float(x) for x in _extent(image))
  if not (np.isfinite(low) and np.isfinite(high)):
    raise UsageError(f"{name} holds NaN or infinity; fill them first, as with np.nan_to_num.")
  if low < -_SLACK or high > 1 + _SLACK:
    how = "divide by 255" if low >= 0 and high <= 255 else "scale them"
    raise UsageError(f"{name} has values from {low:g} to {high:g}, not in [0, 1]; {how}.")


@jax.jit
def _extent(image):
  return image.min(), image.max()
