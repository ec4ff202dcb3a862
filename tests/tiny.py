"""F and G of one convolution each, for tests of what surrounds them: they compile at once."""

import flax.linen as nn
import jax.numpy as jnp

from tdfusion_jax import fusers
from tdfusion_jax.ops import compiling

NETWORKS = {"fusion.network": "tiny:fuser", "loss.network": "tiny:weigher"}
"""Fields of a config that trains them."""

SHORT_RUN = {
  **NETWORKS,
  "data.task_size": (32, 64),
  "data.train_options.size": (32, 64),
  "data.train_options.count": 8,
  "data.val_options.size": (32, 64),
  "data.val_options.count": 3,
  "data.crop_size": (16, 16),
  "data.batch_size": 2,
  "task.kind": "none",
  "train.pretrain_steps": 0,
  "train.epochs": 2,
}
"""Fields of a training in the built-in world that ends in seconds, without a task."""


class One(nn.Module):
  """A convolution in the place of F (one channel, sigmoid) or G (two, softmax)."""

  features: int

  @nn.compact
  def __call__(self, ir, vi):
    x = nn.Conv(self.features, (3, 3), name="only")(jnp.concatenate([ir, vi], axis=-1))
    return nn.sigmoid(x) if self.features == 1 else nn.softmax(x)


def fuser() -> fusers.Fuser:
  return fusers.from_module("one", One(1))


def weigher() -> fusers.Weigher:
  return fusers.weigher_from_module("one", One(2))


def compile_quickly(monkeypatch):
  """Nothing is optimised, which takes longer than to run it."""
  monkeypatch.setattr(compiling, "settings", lambda: {"xla_backend_optimization_level": 0})
