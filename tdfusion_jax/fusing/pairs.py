"""Fusing single pairs of any size, one after another, gray and colour."""

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from tdfusion_jax import fusers
from tdfusion_jax.engines import host
from tdfusion_jax.engines.anysize import Room, fuse_flat, ground_of, lay_out, room_for, take_up
from tdfusion_jax.fusing.arrays import cast, make_fuse_fn
from tdfusion_jax.fusing.finish import finish
from tdfusion_jax.ops import compiling, native
from tdfusion_jax.ops.image import luminance


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
  """A fuser of single pairs; F on a CPU is computed by machine code where it can be.

  In bfloat16 that needs a processor with tiles (AMX); on others machine code in float32 is faster
  than 16 bits by XLA, and computes in their place.

  Args:
    fuse_fn: from `fusers.load_fusion`, or any function as for `make_fuse_fn`. For F one program
      serves all sizes; anything else compiles for each size.
    params: of `fuse_fn`.
    stretch: as for `make_fuse_fn`.
    dtype: as for `make_fuse_fn`.
  """
  if not fusers.is_f(fuse_fn):
    return ExactFuser(make_fuse_fn(fuse_fn, params, stretch=stretch, dtype=dtype))
  half = dtype == jnp.bfloat16
  if (dtype is None or half) and jax.default_backend() == "cpu" and native.ready():
    return EngineFuser(machine_code(params, half=half and host.has_half()), stretch=stretch)
  return AnySizeFuser(params, stretch=stretch, dtype=dtype)


def make_frame_fn(
  fuse_fn: Callable, params: Any, *, stretch: bool = False, dtype: Any = None
) -> Callable:
  """What `make_fuse_fn` gives, for NumPy images one at a time; F in bfloat16 as `make_pair_fuser`.

  Args:
    fuse_fn: see `make_pair_fuser`.
    params: of `fuse_fn`.
    stretch: as for `make_fuse_fn`.
    dtype: as for `make_fuse_fn`.

  Returns:
    (ir, vi) -> fused, each [1, H, W, 1 or 3] in [0, 1].
  """
  if dtype != jnp.bfloat16 or not fusers.is_f(fuse_fn):
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


class ExactFuser:
  """Any network, compiled for every size.

  Args:
    fuse: from `make_fuse_fn`.
  """

  def __init__(self, fuse: Callable):
    self._fuse, self._seen = fuse, set()
    self.compiled: list[float] = []

  def plan(self, sizes: list[tuple[int, int]]) -> None:
    """Sizes stay what they are."""

  def start(self, ir: np.ndarray, vi: np.ndarray) -> Callable[[], np.ndarray]:
    """See `PairFuser`."""
    began = time.monotonic()
    fused = self._fuse(ir[None], vi[None])
    if (shapes := (ir.shape, vi.shape)) not in self._seen:
      self._seen.add(shapes)
      self.compiled.append(time.monotonic() - began)
    return lambda: np.asarray(fused)[0]


class EngineFuser:
  """F by an engine that accepts sizes as they come and needs no XLA: machine code, ONNX Runtime.

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


class AnySizeFuser:
  """F by `engines.anysize`: pairs of many sizes share a program.

  Args:
    params: of F.
    stretch: as for `make_fuse_fn`.
    dtype: as for `make_fuse_fn`.
  """

  def __init__(self, params: Any, *, stretch: bool = False, dtype: Any = None):
    self._params = jax.tree.map(lambda x: cast(dtype, jnp.asarray(x)), params)
    self._stretch, self._dtype = stretch, dtype
    self._programs: dict[Room, Callable] = {}
    self._rooms: list[Room] = []
    self._lock = threading.Lock()
    self.compiled: list[float] = []

  def plan(self, sizes: list[tuple[int, int]]) -> None:
    """Chooses rooms for these sizes, as wide as the widest needs and at least a quarter full."""
    needs = sorted({room_for(*size) for size in sizes}, reverse=True)
    stride = max((need.stride for need in needs), default=0)
    for need in needs:
      if not self._rooms or need.cells * 4 < self._rooms[-1].cells:
        self._rooms.append(need._replace(stride=stride))

  def start(self, ir: np.ndarray, vi: np.ndarray) -> Callable[[], np.ndarray]:
    """See `PairFuser`."""
    height, width, _ = ir.shape
    fitting = [room for room in self._rooms if room.fits(height, width)]
    room = fitting[-1] if fitting else room_for(height, width)
    a, b = (lay_out(np.asarray(luminance(x)), room) for x in (ir, vi))
    flat = self._program(room, self._params, a, b, np.int32(height), np.int32(width))

    def result() -> np.ndarray:
      fused = take_up(np.asarray(flat), room, height, width)
      return finish(fused, ir, vi, stretch=self._stretch)

    return result

  def _program(self, room: Room, *arguments: Any) -> jax.Array:
    with self._lock:
      if room not in self._programs:
        began = time.monotonic()
        self._programs[room] = compiling.jit(partial(self._fuse, room)).lower(*arguments).compile()
        self.compiled.append(time.monotonic() - began)
    return self._programs[room](*arguments)

  def _fuse(
    self, room: Room, params: Any, ir: jax.Array, vi: jax.Array, height: jax.Array, width: jax.Array
  ) -> jax.Array:
    a, b = cast(self._dtype, ir), cast(self._dtype, vi)
    ground = ground_of(room, height, width, a.dtype)
    return fuse_flat(params, a, b, ground).astype(ir.dtype)
