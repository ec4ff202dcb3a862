"""Networks that fuse and networks that weigh, with their functions, and the weight files of F."""

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from tdfusion_jax import weightfiles
from tdfusion_jax.networks.fusion import FusionNet
from tdfusion_jax.networks.lossgen import LossNet
from tdfusion_jax.ops.strips import Tiling

F_ARCHITECTURE = "fusion"
"""The architecture that all engines know: machine code, one program for all sizes, tiles, ONNX."""

_TILING = Tiling()


# Not a named tuple: `jax.jit` compiles only what can be held by weak reference, which no tuple can.
# Equal to itself only, since a network of the user's may not be hashable.
@dataclasses.dataclass(frozen=True, eq=False)
class Fuser:
  """A network in the place of F, called as its `fuse`; parameters travel beside it."""

  name: str
  """What a weight file says it holds."""
  network: Any
  """Has `init(key, ir, vi)` -> {"params": tree} for images [B, H, W, 1], such as a Flax module."""
  fuse: Callable[..., Any]
  """(params, ir, vi) -> fused [B, H, W, 1] in [0, 1]; ir, vi [B, H, W, 1] in [0, 1]."""
  architecture: str = ""
  """`F_ARCHITECTURE` if `fuse` returns what F returns for F's parameters: engines may then compute
  it their own way. Empty for any other network, which runs in JAX as it is."""

  def __call__(self, params: Any, ir: jax.Array, vi: jax.Array) -> Any:
    """See `fuse`."""
    return self.fuse(params, ir, vi)


@dataclasses.dataclass(frozen=True, eq=False)
class Weigher:
  """A network in the place of G, called as its `weigh`."""

  name: str
  """What a weight file says it holds."""
  network: Any
  """As of a `Fuser`."""
  weigh: Callable[..., Any]
  """(params, ir, vi) -> (w_a, w_b) [B, H, W, 2], positive with w_a + w_b = 1."""

  def __call__(self, params: Any, ir: jax.Array, vi: jax.Array) -> Any:
    """See `weigh`."""
    return self.weigh(params, ir, vi)


def fuse_net(f_params, ir: jax.Array, vi: jax.Array, *, tiling: Tiling = _TILING) -> Any:
  """F: [B, H, W, 1] twice -> fused [B, H, W, 1]."""
  return FusionNet(tiling).apply({"params": f_params}, ir, vi)


def weigh_net(g_params, ir: jax.Array, vi: jax.Array, *, tiling: Tiling = _TILING) -> Any:
  """G: [B, H, W, 1] twice -> (w_a, w_b) [B, H, W, 2]."""
  return LossNet(tiling).apply({"params": g_params}, ir, vi)


def fusion_network(tiling: Tiling = _TILING) -> Fuser:
  """F of the paper."""
  return Fuser("fusion", FusionNet(tiling), partial(fuse_net, tiling=tiling), F_ARCHITECTURE)


def loss_network(tiling: Tiling = _TILING) -> Weigher:
  """G of the paper."""
  return Weigher("lossgen", LossNet(tiling), partial(weigh_net, tiling=tiling))


def average(weigher: Weigher) -> Fuser:
  """Ablation V: `I_f = w_a a + w_b b`; F is the network of `weigher` with parameters of its own."""

  def fuse(f_params, ir: jax.Array, vi: jax.Array) -> jax.Array:
    weights = weigher.weigh(f_params, ir, vi)
    return jnp.sum(weights * jnp.concatenate([ir, vi], axis=-1), axis=-1, keepdims=True)

  return Fuser("average", weigher.network, fuse)


def is_f(fuse_fn: Callable) -> bool:
  """Whether `fuse_fn` is a `Fuser` that computes F; a plain function says nothing about itself."""
  return getattr(fuse_fn, "architecture", "") == F_ARCHITECTURE


def init_variables(network: Any, key) -> dict:
  """{"params": fresh ones} of a network that takes two images."""
  image = jnp.zeros((1, 16, 16, 1))
  return {"params": jax.jit(network.init)(key, image, image)["params"]}


def shipped_weights() -> Path:
  """The weights of F that come with the package."""
  return Path(__file__).with_name("weights") / "f.safetensors"


def fusion_file(
  *, checkpoint_dir: str | Path | None = None, weights: str | Path | None = None
) -> Path:
  """The weight file that `load_fusion` reads.

  Raises:
    CheckpointError: no such run.
  """
  if checkpoint_dir is None:
    return shipped_weights() if weights is None else Path(weights)
  inside = Path("weights") / "f.safetensors"
  if not (Path(checkpoint_dir) / inside).is_file():
    raise weightfiles.CheckpointError(f"{checkpoint_dir} is not a run folder with {inside}.")
  return Path(checkpoint_dir) / inside


def load_fusion(
  *, checkpoint_dir: str | Path | None = None, weights: str | Path | None = None
) -> tuple[Fuser, Any]:
  """The fusion network of a run folder, of a weight file, or of the shipped weights.

  Args:
    checkpoint_dir: a run's workdir; its newest exported weights are read.
    weights: a `.safetensors` file of F.

  Returns:
    (fuser, params), made to be passed on as they are: `make_fuse_fn(*load_fusion())`. The fuser is
    called as `fuser(params, ir, vi)` on [B, H, W, 1] in [0, 1].

  Raises:
    CheckpointError: no such run or file, or it holds something else.
  """
  weights = fusion_file(checkpoint_dir=checkpoint_dir, weights=weights)
  loaded, metadata = weightfiles.load_weights(weights)
  name = metadata.get("arch", "fusion")
  makers = {"fusion": fusion_network, "average": lambda: average(loss_network())}
  if name not in makers:
    raise weightfiles.CheckpointError(f"{weights} holds {name!r}, not a fusion network.")
  fuser = makers[name]()
  shapes = jax.eval_shape(lambda: init_variables(fuser.network, jax.random.key(0)))
  return fuser, weightfiles.match(loaded, shapes, str(weights))["params"]
