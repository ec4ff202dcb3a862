"""What makes one image of two, and its weights: F, the average of ablation V, and the stand-ins of controls."""

from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from tdfusion_jax import weightfiles
from tdfusion_jax.networks.fusion import FusionNet
from tdfusion_jax.networks.lossgen import LossNet
from tdfusion_jax.ops.strips import Tiling

_TILING = Tiling()


def fuse_net(f_params, ir: jax.Array, vi: jax.Array, *, tiling: Tiling = _TILING) -> Any:
  """F: [B, H, W, 1] twice -> fused [B, H, W, 1]."""
  return FusionNet(tiling).apply({"params": f_params}, ir, vi)


def weigh_net(g_params, ir: jax.Array, vi: jax.Array, *, tiling: Tiling = _TILING) -> Any:
  """G: [B, H, W, 1] twice -> (w_a, w_b) [B, H, W, 2]."""
  return LossNet(tiling).apply({"params": g_params}, ir, vi)


def fuse_average(g_params, ir: jax.Array, vi: jax.Array, *, tiling: Tiling = _TILING) -> jax.Array:
  """Ablation V: `I_f = w_a a + w_b b` with G's own weights."""
  weights = weigh_net(g_params, ir, vi, tiling=tiling)
  return jnp.sum(weights * jnp.concatenate([ir, vi], axis=-1), axis=-1, keepdims=True)


FUSERS = {"fusion": (FusionNet, fuse_net), "average": (LossNet, fuse_average)}


def init_variables(network: nn.Module, key) -> dict:
  """{"params": fresh ones} of F or G."""
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


def load_fusion(*, checkpoint_dir: str | Path | None = None, weights: str | Path | None = None):
  """The fusion function of a run folder, of a weight file, or of the weights that ship with the package.

  Args:
    checkpoint_dir: a run's workdir; its newest exported weights are taken.
    weights: a `.safetensors` file of F.

  Returns:
    (fuse_fn, params) with `fuse_fn(params, ir, vi)` on [B, H, W, 1] in [0, 1].

  Raises:
    CheckpointError: no such run or file, or it holds something else.
  """
  weights = fusion_file(checkpoint_dir=checkpoint_dir, weights=weights)
  loaded, metadata = weightfiles.load_weights(weights)
  name = metadata.get("arch", "fusion")
  if name not in FUSERS:
    raise weightfiles.CheckpointError(f"{weights} holds {name!r}, not a fusion network.")
  network, fuse_fn = FUSERS[name]
  shapes = jax.eval_shape(lambda: init_variables(network(), jax.random.key(0)))
  return fuse_fn, weightfiles.match(loaded, shapes, str(weights))["params"]
