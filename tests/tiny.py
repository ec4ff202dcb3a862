"""F and G of one convolution each, for tests of what surrounds them: they compile at once."""

import flax.linen as nn
import jax.numpy as jnp

from tdfusion_jax import fusers
from tdfusion_jax.ops import compiling
from tdfusion_jax.train import build


class One(nn.Module):
  """A convolution in the place of F (one channel, sigmoid) or G (two, softmax)."""

  features: int

  @nn.compact
  def __call__(self, ir, vi):
    x = nn.Conv(self.features, (3, 3), name="only")(jnp.concatenate([ir, vi], axis=-1))
    return nn.sigmoid(x) if self.features == 1 else nn.softmax(x)


def install(monkeypatch):
  """Has configs build them, and everything compile without optimisation, which takes longer than to run it."""

  def run(features):
    return lambda params, ir, vi, tiling=None: One(features).apply({"params": params}, ir, vi)

  monkeypatch.setitem(fusers.FUSERS, "fusion", (lambda: One(1), run(1)))
  monkeypatch.setattr(fusers, "fuse_net", run(1))
  monkeypatch.setattr(fusers, "weigh_net", run(2))
  monkeypatch.setattr(build, "LossNet", lambda: One(2))
  monkeypatch.setattr(compiling, "settings", lambda: {"xla_backend_optimization_level": 0})
