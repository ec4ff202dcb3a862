"""Fusing arrays: batches of one size, and single pairs of any size; gray and colour."""

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
from tdfusion_jax.fusing.arrays import LUMINANCE, cast, coloured, make_fuse_fn
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
    """Begins with [H, W, 1 or 3] in [0, 1] each; what comes back waits for the result, [H, W, 1 or 3] in [0, 1]."""
    ...

  def plan(self, sizes: list[tuple[int, int]]) -> None:
    """Tells (height, width) of pairs to come, so that few programs serve all."""
    ...


def make_pair_fuser(
  fuse_fn: Callable, params: Any, *, stretch: bool = False, dtype: Any = None
) -> PairFuser:
  """A fuser of single pairs: one program for all sizes for F, else one a size. See `make_fuse_fn`.

  F in float32 on a CPU is computed by machine code where that is to be had (`networks.host`).
  """
  if fusers.is_f(fuse_fn):
    by_machine = dtype is None and jax.default_backend() == "cpu" and native.ready()
    infer = _machine_infer(params) if by_machine else None
    return AnySizeFuser(params, stretch=stretch, dtype=dtype, infer=infer)
  return _ExactFuser(make_fuse_fn(fuse_fn, params, stretch=stretch, dtype=dtype))


def _machine_infer(params: Any) -> Callable:
  weights, one_at_a_time = host.weights_of(params), threading.Lock()

  def infer(ir, vi):
    with one_at_a_time:  # a run takes all cores; two at once take each other's cache
      return host.fuse(weights, ir[0], vi[0])[None]

  return infer


class _ExactFuser:
  """Compiles for every size."""

  def __init__(self, fuse: Callable):
    self._fuse, self._seen = fuse, set()
    self.compiled: list[float] = []

  def plan(self, sizes: list[tuple[int, int]]) -> None:
    """Sizes stay what they are."""

  def start(self, ir: np.ndarray, vi: np.ndarray) -> Callable[[], np.ndarray]:
    began = time.monotonic()
    fused = self._fuse(ir[None], vi[None])
    if (shapes := (ir.shape, vi.shape)) not in self._seen:
      self._seen.add(shapes)
      self.compiled.append(time.monotonic() - began)
    return lambda: np.asarray(fused)[0]


class AnySizeFuser:
  """F by `networks.anysize`: pairs of many sizes share a program, gray and colour alike.

  Args:
    params: of F.
    stretch, dtype: as for `make_fuse_fn`.
    infer: computes F in place of JAX: two luminances [1, H, W, 1] float32 -> the fused one.
  """

  def __init__(
    self, params: Any, *, stretch: bool = False, dtype: Any = None, infer: Callable | None = None
  ):
    self._params = jax.tree.map(lambda x: cast(dtype, jnp.asarray(x)), params)
    self._stretch, self._dtype, self._infer = stretch, dtype, infer
    self._programs: dict[Room, Callable] = {}
    self._rooms: list[Room] = []
    self._lock = threading.Lock()
    self.compiled: list[float] = []

  def plan(self, sizes: list[tuple[int, int]]) -> None:
    """Chooses rooms for these sizes, as wide as the widest needs; an image takes up at least a quarter of its own."""
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
    channels = max(ir.shape[-1], vi.shape[-1])
    rgb = [np.broadcast_to(image, (height, width, 3)) for image in (ir, vi)]
    images = [lay_out(image, room) for image in rgb]
    size = (np.int32(height), np.int32(width))
    if self._infer is None:
      fused = self._program(room, self._params, *images, *size)
      return lambda: take_up(np.asarray(fused), room, height, width)[..., :channels]
    infer = self._infer

    def elsewhere():
      grays = [(image @ LUMINANCE)[None, ..., None] for image in rgb]
      fused = self._program(room, lay_out(infer(*grays)[0], room), *images, *size)
      return take_up(np.asarray(fused), room, height, width)[..., :channels]

    return elsewhere

  def _program(self, room: Room, *arguments: Any) -> jax.Array:
    with self._lock:
      if room not in self._programs:
        began = time.monotonic()
        self._programs[room] = compiling.jit(partial(self._fuse, room)).lower(*arguments).compile()
        self.compiled.append(time.monotonic() - began)
    return self._programs[room](*arguments)

  def _fuse(
    self, room: Room, source: Any, ir: jax.Array, vi: jax.Array, height: jax.Array, width: jax.Array
  ):
    """`source`: parameters of F, or what F returned."""
    fused = source
    if self._infer is None:
      a, b = (cast(self._dtype, luminance(image)) for image in (ir, vi))
      fused = fuse_flat(source, a, b, ground_of(room, height, width, a.dtype)).astype(ir.dtype)
    if self._stretch:
      inside = ground_of(room, height, width, fused.dtype).mask > 0
      low, high = (f(jnp.where(inside, fused, fused[room.margin])) for f in (jnp.min, jnp.max))
      fused = jnp.where(high > low, (fused - low) / jnp.where(high > low, high - low, 1), fused)
    return coloured(fused, ir, vi)
