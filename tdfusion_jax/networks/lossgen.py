"""G, the loss generation network: whose intensity the fused image should keep at every pixel."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tdfusion_jax.networks.restormer import Conv3x3, RestormerBlock
from tdfusion_jax.ops.strips import Tiling

_WIDTH = 16


class LossNet(nn.Module):
  """G of TDFusion (paper, section 3): 44,529 parameters, any image size."""

  tiling: Tiling = Tiling()

  @nn.compact
  def __call__(
    self, ir: Float[Array, "b h w 1"], vi: Float[Array, "b h w 1"]
  ) -> Float[Array, "b h w 2"]:
    """Weighs.

    Args:
      ir: infrared, [B, H, W, 1] in [0, 1].
      vi: visible luminance, [B, H, W, 1] in [0, 1].

    Returns:
      [B, H, W, 2], (w_a, w_b) for infrared and visible, positive with w_a + w_b = 1.
    """
    features = []
    for i, image in enumerate((ir, vi), start=1):
      x = Conv3x3(_WIDTH, self.tiling, name=f"patch_embed{i}")(image)
      for j in range(2):
        x = RestormerBlock(self.tiling, name=f"encoder{i}_{j}")(x)
      features.append(x)
    x = jnp.concatenate(features, axis=-1)
    for j in range(2):
      x = RestormerBlock(self.tiling, name=f"encoder3_{j}")(x)
    x = Conv3x3(_WIDTH, self.tiling, name="out1")(x)
    slope = self.param("out2", nn.initializers.constant(0.25), (1,))
    x = jnp.where(x > 0, x, slope.reshape(1, 1, 1, 1) * x)
    return jax.nn.softmax(Conv3x3(2, self.tiling, name="out3")(x), axis=-1)
