"""F, the fusion network: two registered images in, one fused image out."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tdfusion_jax.networks import restormer
from tdfusion_jax.networks.restormer import (
  Depthwise,
  RestormerBlock,
  attend,
  channel_attention,
  conv3x3,
  pointwise,
)

_WIDTH = 16


class FusionModule(nn.Module):
  """Cross attention between the modalities, then gates computed from both that filter each."""

  @nn.compact
  def __call__(self, x1: Float[Array, "b h w c"], x2: Float[Array, "b h w c"]) -> Float[Array, "b h w 2*c"]:
    channels = x1.shape[-1]
    q1, k1, v1 = self._qkv(x1, 1)
    q2, k2, v2 = self._qkv(x2, 2)
    x1 = x1 + self._cross(q2, k1, v1, 1)
    x2 = x2 + self._cross(q1, k2, v2, 2)
    x = jnp.concatenate([x1, x2], axis=-1)
    gates = Depthwise(name="project_E_d")(pointwise(8 * channels, name="project_E")(x))
    for i, (gate, own) in enumerate(zip(jnp.split(gates, 2, axis=-1), (x1, x2), strict=True), start=1):
      value = Depthwise(name=f"project_E{i}_d")(pointwise(4 * channels, name=f"project_E{i}")(own))
      x = x + pointwise(2 * channels, name=f"project_out{i}")(jax.nn.gelu(gate, approximate=False) * value)
    return x

  def _qkv(self, x, i):
    qkv = pointwise(3 * x.shape[-1], name=f"qkv{i}")(x)
    return jnp.split(Depthwise(name=f"qkv{i}_dwconv")(qkv), 3, axis=-1)

  def _cross(self, q, k, v, i):
    channels = v.shape[-1]
    temperature = self.param(f"temperature{i}", nn.initializers.ones, (restormer.HEADS,))
    project = self.param(f"project_mid{i}", restormer.kernel_init, (channels, channels))
    return attend(channel_attention(q, k, temperature), v, project)


class FusionNet(nn.Module):
  """F of TDFusion (paper, section 3): 59,856 parameters, any image size.

  Its attention sums over all pixels: padding an image changes every output pixel, so never pad its input.
  """

  @nn.compact
  def __call__(self, ir: Float[Array, "b h w 1"], vi: Float[Array, "b h w 1"]) -> Float[Array, "b h w 1"]:
    """Fuses.

    Args:
      ir, vi: [B, H, W, 1] in [0, 1].

    Returns:
      [B, H, W, 1] in (0, 1), not stretched.
    """
    features = []
    for i, image in enumerate((ir, vi), start=1):
      x = conv3x3(_WIDTH, name=f"project_in_{i}")(image)
      for j in range(2):
        x = RestormerBlock(name=f"encoder{i}_{j}")(x)
      features.append(x)
    x = FusionModule(name="FM")(*features)
    for j in range(2):
      x = RestormerBlock(name=f"decoder_{j}")(x)
    x = jax.nn.leaky_relu(conv3x3(_WIDTH, name="project_out_0")(x), 0.01)
    return jax.nn.sigmoid(conv3x3(1, name="project_out_1")(x))
