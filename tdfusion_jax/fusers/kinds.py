"""What a network in the place of F or G is."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

F_ARCHITECTURE = "fusion"
"""The architecture that all engines know: machine code, one program for all sizes, tiles, ONNX."""

FAST_ARCHITECTURE = "fast"
"""The architecture of `networks.fast`, which JAX, machine code and ONNX know."""


# Not a named tuple: `jax.jit` compiles only what can be held by weak reference, which no tuple can.
# Equal to itself only, since a network of the user's may not be hashable.
@dataclasses.dataclass(frozen=True, eq=False)
class Fuser:
  """A network in the place of F, called as its `fuse`; parameters travel beside it."""

  name: str
  """What a weight file notes as its network."""
  network: Any
  """Has `init(key, ir, vi)` -> {"params": tree} for images [B, H, W, 1], such as a Flax module."""
  fuse: Callable[..., Any]
  """(params, ir, vi) -> fused [B, H, W, 1] in [0, 1]; ir, vi [B, H, W, 1] in [0, 1].

  Each image by itself: a batch may be spread over devices, or computed in parts."""
  architecture: str = ""
  """`F_ARCHITECTURE` or `FAST_ARCHITECTURE` if `fuse` returns what that network returns for such
  parameters: engines may then compute it their own way. Empty for a network of your own, which runs
  in JAX as it is."""

  def __call__(self, params: Any, ir: Any, vi: Any) -> Any:
    """See `fuse`."""
    return self.fuse(params, ir, vi)


@dataclasses.dataclass(frozen=True, eq=False)
class Weigher:
  """A network in the place of G, called as its `weigh`."""

  name: str
  """What a weight file notes as its network."""
  network: Any
  """As of a `Fuser`."""
  weigh: Callable[..., Any]
  """(params, ir, vi) -> (w_a, w_b) [B, H, W, 2], positive with w_a + w_b = 1; as a `Fuser` does,
  each image by itself."""

  def __call__(self, params: Any, ir: Any, vi: Any) -> Any:
    """See `weigh`."""
    return self.weigh(params, ir, vi)


class _Late:
  """A network that is made once something of it is asked for."""

  def __init__(self, made: Callable[[], Any]):
    self._made = made

  def __getattr__(self, name: str) -> Any:
    return getattr(self._made(), name)


def late_f() -> Fuser:
  """`fusion_network()`, made when JAX is to compute it: machine code needs the parameters alone."""
  return _late("fusion", F_ARCHITECTURE, "fusion_network")


def late_fast() -> Fuser:
  """`fast_network()`, made as late."""
  return _late("fast", FAST_ARCHITECTURE, "fast_network")


def _late(name: str, architecture: str, factory: str) -> Fuser:
  @functools.cache
  def made() -> Fuser:
    from tdfusion_jax.fusers import ours

    return getattr(ours, factory)()

  def fuse(params: Any, ir: Any, vi: Any) -> Any:
    return made().fuse(params, ir, vi)

  return Fuser(name, _Late(lambda: made().network), fuse, architecture)


def is_f(fuse_fn: Callable) -> bool:
  """Whether `fuse_fn` is a `Fuser` that computes F; nothing is known about a plain function."""
  return getattr(fuse_fn, "architecture", "") == F_ARCHITECTURE


def is_fast(fuse_fn: Callable) -> bool:
  """Whether `fuse_fn` is a `Fuser` that computes the fast network."""
  return getattr(fuse_fn, "architecture", "") == FAST_ARCHITECTURE
