"""Fusing single pairs of any size, one after another, gray and colour."""

import threading
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import ml_dtypes
import numpy as np

from tdfusion_jax import fusers
from tdfusion_jax.engines import fast_host, host
from tdfusion_jax.fusing.finish import finish
from tdfusion_jax.ops import native
from tdfusion_jax.ops.image import luminance
from tdfusion_jax.ops.platform import backend


@runtime_checkable
class PairFuser(Protocol):
  """Fuses one pair after another, of whatever size."""

  @property
  def compiled(self) -> list[float]:
    """Seconds that each program took to compile."""
    ...

  def start(self, ir: np.ndarray, vi: np.ndarray) -> Callable[[], np.ndarray]:
    """Begins with [H, W, 1 or 3] float32 in [0, 1] each.

    Returns:
      A function that waits for the result, [H, W, 1 or 3] in [0, 1].
    """
    ...

  def plan(self, sizes: list[tuple[int, int]]) -> None:
    """Announces (height, width) of pairs to come, so that few programs serve all."""
    ...


def make_pair_fuser(
  fuse_fn: Callable, params: Any, *, stretch: bool = False, dtype: Any = None
) -> PairFuser:
  """A fuser of single pairs; on a CPU F and the fast network are machine code where it can be.

  In bfloat16 that needs F and a processor that multiplies bfloat16 (AMX or AVX512-BF16); elsewhere
  machine code in float32 is faster than 16 bits by XLA, and computes in their place.

  Args:
    fuse_fn: from `fusers.load_fusion`, or any function as for `make_fuse_fn`. For F one program
      serves all sizes, and machine code needs none; anything else compiles for each size.
    params: of `fuse_fn`.
    stretch: as for `make_fuse_fn`.
    dtype: as for `make_fuse_fn`.
  """
  half = is_half(dtype)
  known = fusers.is_f(fuse_fn)
  written = (known or fusers.is_fast(fuse_fn)) and (dtype is None or half)
  if written and backend() == "cpu" and native.library() is not None:
    infer = machine_code(params, half=half and host.has_half()) if known else fast_code(params)
    return EngineFuser(infer, stretch=stretch)
  from tdfusion_jax.fusing import arrays, compiled  # these load JAX

  if known:
    return compiled.AnySizeFuser(params, stretch=stretch, dtype=dtype)
  fuse = arrays.make_fuse_fn(fuse_fn, params, stretch=stretch, dtype=dtype)
  return compiled.ExactFuser(fuse)


def is_half(dtype: Any) -> bool:
  """Whether `dtype`, by whatever name, is bfloat16."""
  return dtype is not None and np.dtype(dtype) == ml_dtypes.bfloat16


def make_frame_fn(
  fuse_fn: Callable, params: Any, *, stretch: bool = False, dtype: Any = None
) -> Callable:
  """What `make_fuse_fn` gives, for NumPy images one at a time; bfloat16 as `make_pair_fuser`.

  Args:
    fuse_fn: see `make_pair_fuser`.
    params: of `fuse_fn`.
    stretch: as for `make_fuse_fn`.
    dtype: as for `make_fuse_fn`.

  Returns:
    (ir, vi) -> fused, each [1, H, W, 1 or 3] in [0, 1].
  """
  if not (is_half(dtype) and (fusers.is_f(fuse_fn) or fusers.is_fast(fuse_fn))):
    from tdfusion_jax.fusing.arrays import make_fuse_fn  # loads JAX

    return make_fuse_fn(fuse_fn, params, stretch=stretch, dtype=dtype)
  fuser = make_pair_fuser(fuse_fn, params, stretch=stretch, dtype=dtype)
  return lambda ir, vi: fuser.start(np.asarray(ir)[0], np.asarray(vi)[0])()[None]


def machine_code(params: Any, *, half: bool = False) -> Callable:
  """F by `engines.host`: two luminances [1, H, W, 1] float32 -> the fused one."""
  weights, one_at_a_time = host.weights_of(params), threading.Lock()

  def infer(ir, vi):
    with one_at_a_time:  # a run uses all cores; two at once use up each other's cache
      return host.fuse(weights, ir[0], vi[0], half=half)[None]

  return infer


def fast_code(params: Any) -> Callable:
  """The fast network by `engines.fast_host`, as `machine_code`."""
  weights, one_at_a_time = fast_host.weights_of(params), threading.Lock()

  def infer(ir, vi):
    with one_at_a_time:
      return fast_host.fuse(weights, ir[0], vi[0])[None]

  return infer


class EngineFuser:
  """A network by an engine that accepts any size and needs no XLA: machine code, ONNX Runtime.

  Args:
    infer: two luminances [1, H, W, 1] float32 -> the fused one.
    stretch: as for `make_fuse_fn`.
  """

  def __init__(self, infer: Callable, *, stretch: bool = False):
    self._infer, self._stretch = infer, stretch
    self.compiled: list[float] = []

  def plan(self, sizes: list[tuple[int, int]]) -> None:
    """There is nothing to prepare."""

  def start(self, ir: np.ndarray, vi: np.ndarray) -> Callable[[], np.ndarray]:
    """See `PairFuser`; the work is done when the result is asked for."""

    def result() -> np.ndarray:
      fused = self._infer(luminance(ir)[None], luminance(vi)[None])[0]
      return finish(fused, ir, vi, stretch=self._stretch)

    return result
