"""F on NumPy arrays by machine code (`tdfusion_jax.native`): any size, nothing to compile, on this processor.

The same function as `networks.fusion.FusionNet` in float32. XLA compiles a program for each size of
image; this takes them as they come, which is what fusing folders, videos and tiles of huge images
needs. Inference only.
"""

import ctypes
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from tdfusion_jax.ops import native

Sums = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Over pixels, of q k^T [D, D], q^2 and k^2 [D]."""
Window = tuple[slice, slice]
"""Rows and columns of an image that are counted."""

_WHOLE = (slice(None), slice(None))


class Part(NamedTuple):
  """Weights of one part of a block (`ops.blocks`)."""

  norm: tuple[np.ndarray, np.ndarray] | None
  """Scale and bias [C]."""
  w: np.ndarray
  """[C, N]."""
  k: np.ndarray
  """[3, 3, N]."""
  o: np.ndarray | None = None
  """[N / 2, C] of a feed-forward part."""


class Block(NamedTuple):
  """Weights of a Restormer block, or of the fusion module in the form of one."""

  qk: Part
  v: Part
  feed: Part
  temperature: np.ndarray
  """[heads]."""
  project: np.ndarray
  """[C, C]."""


class Weights(NamedTuple):
  """F's, laid out for this module; see `weights_of`."""

  start: tuple[np.ndarray, np.ndarray]
  """[3, 3, 1, 16] of each modality."""
  encoders: tuple[tuple[Block, Block], tuple[Block, Block]]
  fusion: Block
  decoders: tuple[Block, Block]
  end: tuple[np.ndarray, np.ndarray]
  """[3, 3, 32, 16], [3, 3, 16, 1]."""


def weights_of(params: Mapping[str, Any]) -> Weights:
  """Lays out F's parameters, {"project_in_1": {"kernel": ...}, ...}."""
  kernel = lambda name: _packed(params[name]["kernel"])  # noqa: E731
  return Weights(
    (kernel("project_in_1"), kernel("project_in_2")),
    tuple(tuple(_block(params[f"encoder{i}_{j}"]) for j in range(2)) for i in (1, 2)),  # pyright: ignore
    _fusion_block(params["FM"]),
    (_block(params["decoder_0"]), _block(params["decoder_1"])),
    (kernel("project_out_0"), kernel("project_out_1")),
  )


def _packed(*arrays: Any) -> np.ndarray:
  return np.ascontiguousarray(np.concatenate([np.asarray(a, np.float32) for a in arrays], axis=-1))


def _block(p: Mapping[str, Any]) -> Block:
  norms = [(_packed(p[n]["scale"]), _packed(p[n]["bias"])) for n in ("norm1", "norm2")]
  attn, ffn = p["attn"], p["ffn"]
  w, k = (np.asarray(attn[name]["kernel"]) for name in ("qkv", "qkv_dwconv"))
  qk = 2 * w.shape[0]
  return Block(
    Part(norms[0], _packed(w[:, :qk]), _packed(k[..., :qk])),
    Part(norms[0], _packed(w[:, qk:]), _packed(k[..., qk:])),
    Part(
      norms[1], *(_packed(ffn[name]["kernel"]) for name in ("project_in", "dwconv", "project_out"))
    ),
    _packed(attn["temperature"]),
    _packed(attn["project_out"]),
  )


def _fusion_block(p: Mapping[str, Any]) -> Block:
  """Both modalities side by side; the queries of each ask the keys of the other (see `networks.fusion`)."""
  kernel = lambda name: np.asarray(p[name]["kernel"], np.float32)  # noqa: E731
  (q1, k1, v1), (q2, k2, v2) = (np.split(kernel(f"qkv{i}"), 3, axis=-1) for i in (1, 2))
  (dq1, dk1, dv1), (dq2, dk2, dv2) = (
    np.split(kernel(f"qkv{i}_dwconv"), 3, axis=-1) for i in (1, 2)
  )
  none = np.zeros_like(q1)
  diagonal = lambda a, b: np.block([[a, np.zeros_like(b)], [np.zeros_like(a), b]])  # noqa: E731
  return Block(
    Part(None, np.block([[none, q1, k1, none], [q2, none, none, k2]]), _packed(dq2, dq1, dk1, dk2)),
    Part(None, diagonal(v1, v2), _packed(dv1, dv2)),
    Part(
      None,
      _packed(kernel("project_E"), diagonal(kernel("project_E1"), kernel("project_E2"))),
      _packed(kernel("project_E_d"), kernel("project_E1_d"), kernel("project_E2_d")),
      np.concatenate([kernel("project_out1"), kernel("project_out2")]),
    ),
    _packed(p["temperature1"], p["temperature2"]),
    diagonal(*(np.asarray(p[f"project_mid{i}"], np.float32) for i in (1, 2))),
  )


def threads() -> int:
  """How many this process may use."""
  return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _pointer(array: np.ndarray | None) -> ctypes.c_void_p:
  if array is not None and (array.dtype != np.float32 or not array.flags.c_contiguous):
    raise ValueError(
      f"a contiguous float32 array is needed, not {array.dtype} with strides {array.strides}."
    )
  return ctypes.c_void_p(None if array is None else array.ctypes.data)


def _numbers(*values: int) -> Any:
  return (ctypes.c_int64 * len(values))(*values)


def _run(
  head: int,
  part: Part,
  o: np.ndarray | None,
  x: np.ndarray,
  out: np.ndarray,
  window: Window = _WHOLE,
) -> None:
  rows, columns = (s.indices(n)[:2] for s, n in zip(window, x.shape, strict=False))
  scale, bias = part.norm or (None, None)
  weights = (ctypes.c_void_p * 5)(*(_pointer(a) for a in (scale, bias, part.w, part.k, o)))
  native.library().TdfusionPart(  # pyright: ignore[reportOptionalMemberAccess]
    ctypes.c_int64(head),
    _numbers(*x.shape, part.w.shape[1]),
    _numbers(*rows, *columns),
    ctypes.c_int64(threads()),
    _pointer(x),
    weights,
    _pointer(out),
  )


def sums(block: Block, x: np.ndarray, window: Window = _WHOLE) -> Sums:
  """What the attention of `block` needs to know of the pixels of x [H, W, C] in a window."""
  half = block.qk.w.shape[1] // 2
  out = np.empty(half * (half + 2), np.float32)
  _run(0, block.qk, None, x, out, window)
  return (
    out[: half * half].reshape(half, half),
    out[half * half :][:half],
    out[half * half + half :],
  )


def mixture(block: Block, found: Sums) -> np.ndarray:
  """Attention and the projection behind it as one matrix [C, C] for the values; see `restormer.channel_attention`."""
  products, *squares = found
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
  block: Block, mixed: np.ndarray, x: np.ndarray, scratch: np.ndarray | None = None
) -> np.ndarray:
  """The block on x [H, W, C], given its `mixture`, in place of x; `scratch` is shaped like x.

  Fresh memory costs about as much as the arithmetic on it: a page at a time comes from the
  operating system.
  """
  scratch = np.empty_like(x) if scratch is None else scratch
  _run(1, block.v, mixed, x, scratch)
  _run(2, block.feed, block.feed.o, scratch, x)
  return x


def conv3x3(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
  """[H, W, C] with [3, 3, C, O], zero padded."""
  out = np.empty((*x.shape[:2], kernel.shape[-1]), np.float32)
  native.library().TdfusionConv(  # pyright: ignore[reportOptionalMemberAccess]
    _numbers(*x.shape[:2], *kernel.shape[2:]),
    ctypes.c_int64(threads()),
    _pointer(x),
    _pointer(kernel),
    _pointer(out),
  )
  return out


def begin(weights: Weights, ir: np.ndarray, vi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """The first features [H, W, 16] of both modalities."""
  return conv3x3(_image(ir), weights.start[0]), conv3x3(_image(vi), weights.start[1])


def finish(weights: Weights, x: np.ndarray) -> np.ndarray:
  """The fused image [H, W, 1] of the last features [H, W, 32]."""
  x = conv3x3(x, weights.end[0])
  for rows in np.array_split(x, max(1, len(x) // 64)):  # leaky ReLU, a little at a time
    np.maximum(rows, 0.01 * rows, out=rows)
  x = conv3x3(x, weights.end[1])
  with np.errstate(over="ignore"):  # 1 / (1 + inf) is the 0 that it should be
    return 1 / (1 + np.exp(-x))


def _image(x: np.ndarray) -> np.ndarray:
  if x.ndim != 3 or x.shape[-1] != 1:
    raise ValueError(f"one luminance [H, W, 1] is needed, not {x.shape}.")
  return np.ascontiguousarray(x, np.float32)


def fuse(weights: Weights, ir: np.ndarray, vi: np.ndarray) -> np.ndarray:
  """F of one pair of luminances.

  Args:
    weights: from `weights_of`.
    ir, vi: [H, W, 1] in [0, 1], any size.

  Returns:
    [H, W, 1] float32 in (0, 1), not stretched.

  Raises:
    ValueError: other shapes.
  """
  if ir.shape != vi.shape:
    raise ValueError(f"two luminances of equal size are needed, not {ir.shape} and {vi.shape}.")
  sides = begin(weights, ir, vi)
  scratch = np.empty_like(sides[0])
  for x, encoder in zip(sides, weights.encoders, strict=True):
    for block in encoder:
      apply(block, mixture(block, sums(block, x)), x, scratch)
  x = np.concatenate(sides, axis=-1)
  del sides, scratch
  scratch = np.empty_like(x)
  for block in (weights.fusion, *weights.decoders):
    apply(block, mixture(block, sums(block, x)), x, scratch)
  return finish(weights, x)
