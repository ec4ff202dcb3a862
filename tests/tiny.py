"""F and G of one convolution each, for tests of what surrounds them: they compile at once."""

import flax.linen as nn
import jax.numpy as jnp

from tdfusion_jax import fusers
from tdfusion_jax.ops import compiling


class One(nn.Module):
  """A convolution in the place of F (one channel, sigmoid) or G (two, softmax)."""

  features: int

  @nn.compact
  def __call__(self, ir, vi):
    x = nn.Conv(self.features, (3, 3), name="only")(jnp.concatenate([ir, vi], axis=-1))
    return nn.sigmoid(x) if self.features == 1 else nn.softmax(x)


def install(monkeypatch):
  """Has configs build them; nothing is optimised, which takes longer than to run it."""

  def run(params, ir, vi):
    features = params["only"]["bias"].size
    return One(features).apply({"params": params}, ir, vi)

  monkeypatch.setattr(fusers, "fusion_network", lambda _=None: fusers.Fuser("fusion", One(1), run))
  monkeypatch.setattr(fusers, "loss_network", lambda _=None: fusers.Weigher("lossgen", One(2), run))
  monkeypatch.setattr(compiling, "settings", lambda: {"xla_backend_optimization_level": 0})
