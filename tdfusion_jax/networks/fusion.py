"""F, the fusion network: two registered images in, one fused image out."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tdfusion_jax.networks.restormer import (
  HEADS,
  Conv3x3,
  Kernel,
  RestormerBlock,
  channel_attention,
  kernel_init,
)
from tdfusion_jax.networks.weights import BlockWeights, CrossWeights, Widening, as_one_block
from tdfusion_jax.ops import blocks
from tdfusion_jax.ops.parts import gelu, gram, widened
from tdfusion_jax.ops.pointwise import pointwise
from tdfusion_jax.ops.strips import Tiling, over_strips

_WIDTH = 16


class FusionModule(nn.Module):
  """Cross attention between the modalities, then gates computed from both that filter each."""

  tiling: Tiling = Tiling()

  @nn.compact
  def __call__(
    self, x1: Float[Array, "b h w c"], x2: Float[Array, "b h w c"]
  ) -> Float[Array, "b h w 2*c"]:
    """Features of both modalities -> features of the fused image, twice the channels."""
    channels = x1.shape[-1]
    weights = self._weights(channels)
    side_by_side = jnp.concatenate([x1, x2], axis=-1)
    if blocks.usable(side_by_side, self.tiling):
      one_block = as_one_block(weights, jnp, jax.scipy.linalg.block_diag)
      return _apply_block(self.tiling, one_block, side_by_side)
    tiles = {"tiling": self.tiling, "channels": 8 * channels}
    sums = over_strips(cross_sums_strip, weights.qk, (x1, x2), total=True, **tiles)
    mixed = [
      jnp.einsum("bcd,co->bdo", channel_attention(of_side, temperature), project)
      for of_side, temperature, project in zip(
        sums, weights.temperature, weights.project, strict=True
      )
    ]
    x1, x2 = over_strips(cross_strip, weights.v, (x1, x2), mixed, **tiles)
    gates = (weights.gates, weights.filtered, weights.out)
    return over_strips(gate_strip, gates, (x1, x2), **tiles)

  def _weights(self, channels: int) -> CrossWeights:
    """Makes or reads the parameters, in an order that fresh ones depend on."""
    qk, v, project, temperature = [], [], [], []
    for i in (1, 2):
      qkv = Kernel(name=f"qkv{i}")(channels, 3 * channels)
      dwconv = Kernel(name=f"qkv{i}_dwconv")(3, 3, 3 * channels)
      qk.append(Widening(None, qkv[:, : 2 * channels], dwconv[..., : 2 * channels]))
      v.append(Widening(None, qkv[:, 2 * channels :], dwconv[..., 2 * channels :]))
      temperature.append(self.param(f"temperature{i}", nn.initializers.ones, (HEADS,)))
      project.append(self.param(f"project_mid{i}", kernel_init, (channels, channels)))
    gates = Widening(
      None,
      Kernel(name="project_E")(2 * channels, 8 * channels),
      Kernel(name="project_E_d")(3, 3, 8 * channels),
    )
    filtered, out = [], []
    for i in (1, 2):
      matrix = Kernel(name=f"project_E{i}")(channels, 4 * channels)
      kernel = Kernel(name=f"project_E{i}_d")(3, 3, 4 * channels)
      filtered.append(Widening(None, matrix, kernel))
      out.append(Kernel(name=f"project_out{i}")(4 * channels, 2 * channels))
    return CrossWeights(
      qk=(qk[0], qk[1]),
      v=(v[0], v[1]),
      temperature=(temperature[0], temperature[1]),
      project=(project[0], project[1]),
      gates=gates,
      filtered=(filtered[0], filtered[1]),
      out=(out[0], out[1]),
    )


def _apply_block(tiling: Tiling, block: BlockWeights, x: jax.Array) -> jax.Array:
  sums = blocks.sums(tiling, block.qk, x)
  mixed = jnp.einsum("bcd,co->bdo", channel_attention(sums, block.temperature), block.project)
  x = blocks.attend(tiling, block.v, mixed, x)
  return blocks.feed(tiling, block.feed, block.out, x)


def cross_sums_strip(weights, _, strips, inside):
  """`cross_sums` of a strip of both modalities (see `over_strips`).

  Args:
    weights: `CrossWeights.qk`.
    strips: of both modalities.
    inside: 1 on rows of the image, see `over_strips`.
  """
  return cross_sums(weights, strips, inside, inside)


def cross_sums(weights, strips, inside, counted):
  """What the cross attention needs to know of a strip: `gram` for the queries of each modality.

  Args:
    weights: `CrossWeights.qk`.
    strips: of both modalities, [P, R + 2, W, C] each.
    inside: 1 on rows of the image, see `over_strips`.
    counted: 1 on the pixels whose sums are asked for, [P, R + 2, W or 1, 1].
  """
  qk = [
    widened(own, strip, inside) * counted[:, 1:-1]
    for own, strip in zip(weights, strips, strict=True)
  ]
  (q1, k1), (q2, k2) = (jnp.split(x, 2, axis=-1) for x in qk)
  return gram(q2, k1), gram(q1, k2)  # the queries of each modality ask the keys of the other


def cross_strip(weights, mixed, strips, inside):
  """The cross attention of a strip of both modalities (see `over_strips`).

  Args:
    weights: `CrossWeights.v`.
    mixed: attention and projection of each as one matrix.
    strips: of both modalities.
    inside: 1 on rows of the image, see `over_strips`.
  """
  return tuple(
    strip[:, 1:-1] + pointwise(widened(own, strip, inside), m.astype(strip.dtype))
    for own, m, strip in zip(weights, mixed, strips, strict=True)
  )


def gate_strip(weights, _, strips, inside):
  """The gates of a strip of both modalities, which become one image of twice the channels.

  Args:
    weights: `gates`, `filtered` and `out` of `CrossWeights`.
    strips: of both modalities.
    inside: 1 on rows of the image, see `over_strips`.
  """
  gates, filtered, outs = weights
  x = jnp.concatenate(strips, axis=-1)
  opened = jnp.split(widened(gates, x, inside), 2, axis=-1)
  x = x[:, 1:-1]
  for gate, strip, own, out in zip(opened, strips, filtered, outs, strict=True):
    x = x + pointwise(gelu(gate) * widened(own, strip, inside), out)
  return x


class FusionNet(nn.Module):
  """F of TDFusion (paper, section 3): 59,856 parameters, any image size.

  Its attention sums over all pixels: padding an image changes every output pixel, so never pad its
  input.
  """

  tiling: Tiling = Tiling()

  @nn.compact
  def __call__(
    self, ir: Float[Array, "b h w 1"], vi: Float[Array, "b h w 1"]
  ) -> Float[Array, "b h w 1"]:
    """Fuses.

    Args:
      ir: infrared, [B, H, W, 1] in [0, 1].
      vi: visible luminance, [B, H, W, 1] in [0, 1].

    Returns:
      [B, H, W, 1] in (0, 1), not stretched.
    """
    features = []
    for i, image in enumerate((ir, vi), start=1):
      x = Conv3x3(_WIDTH, self.tiling, name=f"project_in_{i}")(image)
      for j in range(2):
        x = RestormerBlock(self.tiling, name=f"encoder{i}_{j}")(x)
      features.append(x)
    x = FusionModule(self.tiling, name="FM")(*features)
    for j in range(2):
      x = RestormerBlock(self.tiling, name=f"decoder_{j}")(x)
    x = jax.nn.leaky_relu(Conv3x3(_WIDTH, self.tiling, name="project_out_0")(x), 0.01)
    return jax.nn.sigmoid(Conv3x3(1, self.tiling, name="project_out_1")(x))
