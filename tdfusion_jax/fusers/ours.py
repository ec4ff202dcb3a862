"""The networks of the paper and the fast one as fusers and weighers, and those of a Flax module."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from tdfusion_jax.files import UsageError
from tdfusion_jax.fusers.kinds import F_ARCHITECTURE, FAST_ARCHITECTURE, Fuser, Weigher
from tdfusion_jax.networks import fast_native
from tdfusion_jax.networks.fast import FastNet
from tdfusion_jax.networks.fresh import fresh_variables
from tdfusion_jax.networks.fusion import FusionNet
from tdfusion_jax.networks.lossgen import LossNet
from tdfusion_jax.ops.strips import Tiling

_TAKEN = {"average": "ablation V", "fast": "fusion.variant='fast'"}
_TILING = Tiling()


def fuse_net(f_params, ir: jax.Array, vi: jax.Array, *, tiling: Tiling = _TILING) -> Any:
  """F: [B, H, W, 1] twice -> fused [B, H, W, 1]."""
  return FusionNet(tiling).apply({"params": f_params}, ir, vi)


def weigh_net(g_params, ir: jax.Array, vi: jax.Array, *, tiling: Tiling = _TILING) -> Any:
  """G: [B, H, W, 1] twice -> (w_a, w_b) [B, H, W, 2]."""
  return LossNet(tiling).apply({"params": g_params}, ir, vi)


def fusion_network(tiling: Tiling = _TILING) -> Fuser:
  """F of the paper."""
  return Fuser("fusion", FusionNet(tiling), partial(fuse_net, tiling=tiling), F_ARCHITECTURE)


def fast_network() -> Fuser:
  """The network for real time that can be trained in F's place, see `networks.fast`."""
  return Fuser("fast", FastNet(), fast_native.fuse, FAST_ARCHITECTURE)


def loss_network(tiling: Tiling = _TILING) -> Weigher:
  """G of the paper."""
  return Weigher("lossgen", LossNet(tiling), partial(weigh_net, tiling=tiling))


def average(weigher: Weigher) -> Fuser:
  """Ablation V: `I_f = w_a a + w_b b`; F is the network of `weigher` with parameters of its own."""

  def fuse(f_params, ir: jax.Array, vi: jax.Array) -> jax.Array:
    weights = weigher.weigh(f_params, ir, vi)
    return jnp.sum(weights * jnp.concatenate([ir, vi], axis=-1), axis=-1, keepdims=True)

  return Fuser("average", weigher.network, fuse)


def from_module(name: str, module: Any) -> Fuser:
  """A `Fuser` of a Flax module that is called with (ir, vi), [B, H, W, 1] each, and returns one.

  Args:
    name: what weight files shall note as their network.
    module: with parameters only; no running statistics, no dropout.
  """
  return Fuser(name, module, _applied(module))


def weigher_from_module(name: str, module: Any) -> Weigher:
  """A `Weigher` of a Flax module that is called with (ir, vi) and returns [B, H, W, 2].

  Args:
    name: what weight files shall note as their network.
    module: with parameters only; its two channels are positive and add up to 1.
  """
  return Weigher(name, module, _applied(module))


def _applied(module: Any) -> Callable[..., Any]:
  def apply(params, ir: jax.Array, vi: jax.Array) -> Any:
    return module.apply({"params": params}, ir, vi)

  return apply


def init_variables(network: Any, key) -> dict:
  """{"params": fresh ones} of a network that takes two images.

  Raises:
    UsageError: it has other variables too, such as running statistics, which nothing would keep.
  """
  image = jnp.zeros((1, 16, 16, 1))
  variables = fresh_variables(network, key, image, image)
  others = sorted(set(variables) - {"params"})
  if others:
    raise UsageError(
      f"{type(network).__name__} has {', '.join(others)} beside its parameters; a network in the "
      "place of F or G has parameters only (normalise by the image itself, not by statistics)."
    )
  return {"params": variables["params"]}


def require_fit(made: Fuser | Weigher, where: str) -> None:
  """Raises UsageError, before anything is computed, if a network does not fit its place.

  Args:
    made: a network of the user's own.
    where: what named it, for messages.
  """
  if isinstance(made, Fuser) and made.name in _TAKEN:
    whose = _TAKEN[made.name]
    raise UsageError(f"{where}: the name {made.name} belongs to {whose}; choose another name.")
  image = jax.ShapeDtypeStruct((1, 16, 16, 1), jnp.float32)
  params = jax.eval_shape(lambda: init_variables(made.network, jax.random.key(0)))["params"]
  out: Any = jax.eval_shape(made, params, image, image)
  needed = (1, 16, 16, 1 if isinstance(made, Fuser) else 2)
  shape = getattr(out, "shape", None)
  if shape != needed:
    raise UsageError(
      f"{where}: of two images {image.shape} {list(needed)} is needed, not "
      f"{list(shape) if shape else type(out).__name__}."
    )
