"""F on NumPy arrays by machine code (`ops.native`): any size, nothing to compile.

The same function as `networks.fusion.FusionNet` in float32, or in half precision where the
processor multiplies bfloat16 (AMX or AVX512-BF16). XLA compiles a program for each size of image;
this takes them as they come, which is what fusing folders and tiles of huge images needs. Inference
only.
"""

import ctypes
import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from tdfusion_jax.engines import weights as unpacked
from tdfusion_jax.engines.weights import Weights, each
from tdfusion_jax.networks.weights import BlockWeights, Widening, as_one_block
from tdfusion_jax.ops import native

Sums = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Over pixels, of q k^T [D, D], q^2 and k^2 [D]."""
Region = tuple[slice, slice]
"""Rows and columns of an image that are counted."""

_WHOLE = (slice(None), slice(None))
_HEADS = {"sums": 0, "attend": 1, "feed": 2}  # as `native/host.cc` numbers them


def weights_of(params: Mapping[str, Any]) -> Weights:
  """Lays out F's parameters for this module: contiguous float32, the fusion module as one block."""
  weights = unpacked.weights_of(each(lambda x: np.asarray(x, np.float32), params))
  one_block = as_one_block(weights.fusion, np, _on_diagonal)
  return each(np.ascontiguousarray, weights._replace(fusion=one_block))


def _on_diagonal(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  return np.block([[a, np.zeros_like(b)], [np.zeros_like(a), b]])


def threads() -> int:
  """How many this process may use."""
  return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pointer(array: np.ndarray | None) -> ctypes.c_void_p:
  """Where a contiguous float32 array lies, for machine code; ValueError for others."""
  if array is not None and (array.dtype != np.float32 or not array.flags.c_contiguous):
    raise ValueError(
      f"a contiguous float32 array is needed, not {array.dtype} with strides {array.strides}."
    )
  return ctypes.c_void_p(None if array is None else array.ctypes.data)


def numbers(*values: int) -> Any:
  """An array of int64 for machine code."""
  return (ctypes.c_int64 * len(values))(*values)


def _run(
  head: str,
  part: Widening,
  more: np.ndarray | None,
  x: np.ndarray,
  out: np.ndarray,
  region: Region = _WHOLE,
  *,
  half: bool,
) -> None:
  """A part of a block (`ops.parts`) on x [H, W, C], into `out`; `more`: the head's own matrix."""
  rows, columns = (s.indices(n)[:2] for s, n in zip(region, x.shape[:2], strict=True))
  scale, bias = part.norm or (None, None)
  arrays = (scale, bias, part.matrix, part.kernel, more)
  weights = (ctypes.c_void_p * len(arrays))(*(pointer(array) for array in arrays))
  native.library().TdfusionPart(  # pyright: ignore[reportOptionalMemberAccess]
    ctypes.c_int64(_HEADS[head]),
    ctypes.c_int64(half),
    numbers(*x.shape, part.matrix.shape[1]),
    numbers(*rows, *columns),
    ctypes.c_int64(threads()),
    pointer(x),
    weights,
    pointer(out),
  )


def has_half() -> bool:
  """Whether this processor and its machine code compute in half precision."""
  library = native.library()
  return library is not None and bool(library.TdfusionHasHalf())


def sums(
  block: BlockWeights, x: np.ndarray, region: Region = _WHOLE, *, half: bool = False
) -> Sums:
  """What the attention of `block` needs to know of the pixels of x [H, W, C] in a region."""
  d = block.qk.matrix.shape[1] // 2
  out = np.empty(d * d + d + d, np.float32)
  _run("sums", block.qk, None, x, out, region, half=half)
  products, q_squares, k_squares = np.split(out, (d * d, d * d + d))
  return products.reshape(d, d), q_squares, k_squares


def mixture(block: BlockWeights, amounts: Sums) -> np.ndarray:
  """Attention and the projection behind it as one matrix [C, C] for the values.

  `restormer.channel_attention` explains it.
  """
  products, *squares = amounts
  q, k = (np.sqrt(np.maximum(x, 1e-24)) for x in squares)
  heads = len(block.temperature)
  each = products.shape[0] // heads
  cosine = (products / (q[:, None] * k[None, :])).reshape(heads, each, heads, each)
  own = cosine[np.arange(heads), :, np.arange(heads), :] * block.temperature[:, None, None]
  shares = np.exp(own - own.max(-1, keepdims=True))
  attention = np.zeros((heads, each, heads, each), np.float32)
  attention[np.arange(heads), :, np.arange(heads), :] = shares / shares.sum(-1, keepdims=True)
  return np.ascontiguousarray(attention.reshape(products.shape).T @ block.project, np.float32)


def apply(
  block: BlockWeights,
  mixed: np.ndarray,
  x: np.ndarray,
  scratch: np.ndarray | None = None,
  *,
  half: bool = False,
) -> np.ndarray:
  """The block on an image, in place of the image.

  Args:
    block: weights.
    mixed: its `mixture`.
    x: [H, W, C] float32, overwritten by the result.
    scratch: shaped like x, overwritten. Fresh memory costs about as much as the arithmetic on it,
      since the operating system hands it over a page at a time.
    half: in half precision, where `has_half`.

  Returns:
    x.
  """
  scratch = np.empty_like(x) if scratch is None else scratch
  _run("attend", block.v, mixed, x, scratch, half=half)
  _run("feed", block.feed, block.out, scratch, x, half=half)
  return x


def conv3x3(
  x: np.ndarray, kernel: np.ndarray, out: np.ndarray | None = None, *, half: bool = False
) -> np.ndarray:
  """[H, W, C] with [3, 3, C, O], zero padded; into `out` if that is given."""
  out = np.empty((*x.shape[:2], kernel.shape[-1]), np.float32) if out is None else out
  native.library().TdfusionConv(  # pyright: ignore[reportOptionalMemberAccess]
    numbers(*x.shape[:2], *kernel.shape[2:]),
    ctypes.c_int64(half),
    ctypes.c_int64(threads()),
    pointer(x),
    pointer(kernel),
    pointer(out),
  )
  return out


def begin(weights: Weights, ir: np.ndarray, vi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """The first features [H, W, 16] of both modalities."""
  return conv3x3(_image(ir), weights.start[0]), conv3x3(_image(vi), weights.start[1])


def finish(
  weights: Weights, x: np.ndarray, scratch: np.ndarray | None = None, *, half: bool = False
) -> np.ndarray:
  """The fused image [H, W, 1] of the last features [H, W, 32]; scratch: [H, W, 16]."""
  x = conv3x3(x, weights.end[0], scratch, half=half)
  for rows in np.array_split(x, max(1, len(x) // 64)):  # leaky ReLU, a little at a time
    np.maximum(rows, 0.01 * rows, out=rows)
  x = conv3x3(x, weights.end[1])
  with np.errstate(over="ignore"):  # 1 / (1 + inf) is the 0 that it should be
    return 1 / (1 + np.exp(-x))


def _image(x: np.ndarray) -> np.ndarray:
  if x.ndim != 3 or x.shape[-1] != 1:
    raise ValueError(f"one luminance [H, W, 1] is needed, not {x.shape}.")
  return np.ascontiguousarray(x, np.float32)


def _on_lines(shape: tuple[int, ...]) -> np.ndarray:
  """A fresh array whose pixels begin where lines of the cache do."""
  room = np.empty(math.prod(shape) + 16, np.float32)
  skipped = -room.ctypes.data % 64 // 4
  return room[skipped : skipped + math.prod(shape)].reshape(shape)


def fuse(weights: Weights, ir: np.ndarray, vi: np.ndarray, *, half: bool = False) -> np.ndarray:
  """F of one pair of luminances.

  Args:
    weights: from `weights_of`.
    ir: infrared, [H, W, 1] in [0, 1], any size.
    vi: visible, equally shaped.
    half: the blocks in half precision (`ops/native/half.h`), where `has_half`.

  Returns:
    [H, W, 1] float32 in (0, 1), not stretched.

  Raises:
    ValueError: other shapes.
  """
  if ir.shape != vi.shape:
    raise ValueError(f"two luminances of equal size are needed, not {ir.shape} and {vi.shape}.")
  # Two pieces of memory that take turns, for the reason that `apply` gives.
  first, second = (_on_lines((2, *ir.shape[:2], 16)) for _ in range(2))
  for x, image, kernel, encoder in zip(
    first, (ir, vi), weights.start, weights.encoders, strict=True
  ):
    conv3x3(_image(image), kernel, x)
    for block in encoder:
      apply(block, mixture(block, sums(block, x, half=half)), x, second[0], half=half)
  wide = (*ir.shape[:2], 32)
  x = np.concatenate([*first], axis=-1, out=second.reshape(wide))
  for block in (weights.fusion, *weights.decoders):
    apply(block, mixture(block, sums(block, x, half=half)), x, first.reshape(wide), half=half)
  return finish(weights, x, first[0], half=half)
