"""Which program computes F: our own, or ONNX Runtime or OpenVINO where that is faster."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np

from tdfusion_jax import fusers
from tdfusion_jax.engines.onnx import EngineError, fusion_model, onnx_session
from tdfusion_jax.engines.onnx_openvino import openvino_infer
from tdfusion_jax.fusing.pairs import EngineFuser, PairFuser, is_half, make_pair_fuser
from tdfusion_jax.ops import platform

BACKENDS = ("auto", "jax", "onnx", "openvino")
_NEEDED = {"onnx": ("onnx", "onnxruntime"), "openvino": ("onnx", "openvino")}
_TURNS = 2  # of each, the faster counts
_CLEARLY = (
  0.85  # of the time of the first: less is not worth losing its overlap of one pair with the next
)


def onnx_infer(params: Any) -> Callable:
  """F by ONNX Runtime: two luminances [B, H, W, 1] float32 -> the fused one.

  Raises:
    EngineError: the onnx or onnxruntime package is missing.
  """
  try:
    model = fusion_model(params)
  except ImportError:
    raise EngineError("this backend needs ONNX: pip install 'tdfusion-jax[onnx]'") from None
  session, one_at_a_time = onnx_session(model.SerializeToString()), threading.Lock()

  def infer(ir, vi):
    with one_at_a_time:  # a run uses all cores; two at once use up each other's cache
      return session.run(["fused"], {"ir": ir, "vi": vi})[0]

  return infer


def make_fuser(
  backend: str, fuse_fn: Callable, params: Any, *, stretch: bool = False, dtype: Any = None
) -> PairFuser:
  """`fusing.make_pair_fuser`, or its counterpart by ONNX Runtime or OpenVINO.

  Args:
    backend: "jax", "onnx", "openvino", or "auto": on a CPU those that are installed are timed on
      the first pair.
    fuse_fn: from `fusers.load_fusion`; anything but F runs in JAX.
    params: of `fuse_fn`.
    stretch: as for `fusing.make_fuse_fn`.
    dtype: as for `fusing.make_fuse_fn`; OpenVINO has bfloat16 too, ONNX Runtime float32 alone.

  Raises:
    EngineError: another than "jax" is asked for and cannot be had.
  """
  others = _others(fuse_fn, params, dtype)
  if backend in ("onnx", "openvino"):
    if backend not in others:
      raise EngineError(_refusal(backend, fuse_fn))
    return EngineFuser(others[backend](), stretch=stretch)
  ours = make_pair_fuser(fuse_fn, params, stretch=stretch, dtype=dtype)
  if backend == "jax" or platform.backend() != "cpu":
    return ours
  theirs = {
    name: EngineFuser(_when_used(make), stretch=stretch)
    for name, make in others.items()
    if all(find_spec(module) for module in _NEEDED[name])
  }
  return FasterFuser({"jax": ours, **theirs}) if theirs else ours


def _others(fuse_fn: Callable, params: Any, dtype: Any) -> dict[str, Callable[[], Callable]]:
  """{backend: what makes its `infer`}, of those that compute this network in this dtype."""
  if not fusers.is_f(fuse_fn):
    return {}
  if dtype is None:
    return {
      "onnx": lambda: onnx_infer(params),
      "openvino": lambda: openvino_infer(params),
    }
  return {"openvino": lambda: openvino_infer(params, half=True)} if is_half(dtype) else {}


def _refusal(backend: str, fuse_fn: Callable) -> str:
  name = getattr(fuse_fn, "name", "a network of your own")
  only = "" if backend == "openvino" else ", and in float32"
  also = name if not fusers.is_f(fuse_fn) else "other types"
  return f"the {backend} backend computes F alone{only}; --backend jax computes {also} too."


def _when_used(make: Callable[[], Callable]) -> Callable:
  """What `make` makes, once it is called: a single pair is not worth a session."""
  made = cache(make)
  return lambda ir, vi: made()(ir, vi)


class FasterFuser:
  """The first fuser, unless another is clearly faster on the first pair of several.

  Another whose engine is installed but cannot be used is left out.
  """

  def __init__(self, fusers: dict[str, PairFuser]):
    self._fusers = fusers
    self._chosen: PairFuser | None = None
    self.note = ""
    """What was measured."""

  @property
  def compiled(self) -> list[float]:
    """See `PairFuser`."""
    return [seconds for fuser in self._fusers.values() for seconds in fuser.compiled]

  def plan(self, sizes: list[tuple[int, int]]) -> None:
    """See `PairFuser`."""
    for fuser in self._fusers.values():
      fuser.plan(sizes)
    if len(sizes) < 2:
      self._chosen = next(iter(self._fusers.values()))

  def start(self, ir: np.ndarray, vi: np.ndarray) -> Callable[[], np.ndarray]:
    """See `PairFuser`."""
    if self._chosen is None:
      (first, ours), *others = self._fusers.items()
      seconds = {first: _fastest(ours, ir, vi)}
      for name, fuser in others:
        with suppress(EngineError):
          seconds[name] = _fastest(fuser, ir, vi)
      best = min(seconds, key=seconds.__getitem__)
      best = best if seconds[best] < _CLEARLY * seconds[first] else first
      self._chosen = self._fusers[best]
      times = ", ".join(f"{name} {s:.2f} s" for name, s in seconds.items())
      self.note = f"backend {best}: the first pair ({ir.shape[1]}x{ir.shape[0]}) took {times}"
    return self._chosen.start(ir, vi)


def _fastest(fuser: PairFuser, ir: np.ndarray, vi: np.ndarray) -> float:
  fuser.start(ir, vi)()  # compiles
  times = []
  for _ in range(_TURNS):
    began = time.perf_counter()
    fuser.start(ir, vi)()
    times.append(time.perf_counter() - began)
  return min(times)
