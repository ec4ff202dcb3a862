"""The fast network on NumPy arrays by machine code (`ops.native`): any size, nothing to compile.

The same function as `networks.fast.FastNet`, in float32. Inference only.
"""

import ctypes
from collections.abc import Mapping
from typing import Any

import numpy as np

from tdfusion_jax.engines.host import numbers, pointer, threads
from tdfusion_jax.networks.fast_layers import LAYERS, leaves
from tdfusion_jax.ops import native


def weights_of(params: Mapping[str, Any]) -> np.ndarray:
  """Lays out the parameters of `FastNet` for `fuse`: one array of float32."""
  return np.concatenate([np.asarray(x, np.float32).ravel() for x in leaves(params)])


_FLOATS = sum(side * side * inner * outer + outer for side, inner, outer in LAYERS.values())


def fuse(weights: np.ndarray, ir: np.ndarray, vi: np.ndarray) -> np.ndarray:
  """The fast network of one pair of luminances.

  Args:
    weights: from `weights_of`.
    ir: infrared, [H, W, 1] in [0, 1], any size.
    vi: visible, equally shaped.

  Returns:
    [H, W, 1] float32 in [0, 1], not stretched.

  Raises:
    ValueError: other shapes.
  """
  if ir.shape != vi.shape or ir.ndim != 3 or ir.shape[-1] != 1 or not ir.size:
    raise ValueError(f"two luminances [H, W, 1] are needed, not {ir.shape} and {vi.shape}.")
  if weights.shape != (_FLOATS,):
    raise ValueError(f"weights from weights_of are needed, not {weights.shape}.")
  images = [np.ascontiguousarray(image, np.float32) for image in (ir, vi)]
  out = np.empty(ir.shape, np.float32)
  native.library().TdfusionFuseFast(  # pyright: ignore[reportOptionalMemberAccess]
    numbers(*ir.shape[:2]),
    ctypes.c_int64(threads()),
    *(pointer(image) for image in images),
    pointer(weights),
    pointer(out),
  )
  return out
