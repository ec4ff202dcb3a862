"""Fusing single pairs by programs that XLA compiles: one for each size, or one for many."""

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tdfusion_jax.engines.anysize import Room, fuse_flat, ground_of, lay_out, room_for, take_up
from tdfusion_jax.fusing.arrays import cast
from tdfusion_jax.fusing.finish import finish
from tdfusion_jax.ops import compiling
from tdfusion_jax.ops.image import luminance


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
