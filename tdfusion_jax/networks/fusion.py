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
from tdfusion_jax.ops import blocks
from tdfusion_jax.ops.parts import gelu, gram, qkv_of_strip
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
    channels = x1.shape[-1]
    qk, v, project, temperature = [], [], [], []
    for i in (1, 2):
      qkv = Kernel(name=f"qkv{i}")(channels, 3 * channels)
      dwconv = Kernel(name=f"qkv{i}_dwconv")(3, 3, 3 * channels)
      qk.append((qkv[:, : 2 * channels], dwconv[..., : 2 * channels]))
      v.append((qkv[:, 2 * channels :], dwconv[..., 2 * channels :]))
      temperature.append(self.param(f"temperature{i}", nn.initializers.ones, (HEADS,)))
      project.append(self.param(f"project_mid{i}", kernel_init, (channels, channels)))
    gates = (
      Kernel(name="project_E")(2 * channels, 8 * channels),
      Kernel(name="project_E_d")(3, 3, 8 * channels),
    )
    filters = [
      (
        Kernel(name=f"project_E{i}")(channels, 4 * channels),
        Kernel(name=f"project_E{i}_d")(3, 3, 4 * channels),
        Kernel(name=f"project_out{i}")(4 * channels, 2 * channels),
      )
      for i in (1, 2)
    ]
    side_by_side = jnp.concatenate([x1, x2], axis=-1)
    if blocks.usable(side_by_side, self.tiling):
      return _as_one_block(self.tiling, side_by_side, qk, v, temperature, project, gates, filters)
    tiles = {"tiling": self.tiling, "channels": 8 * channels}
    grams = over_strips(grams_of_strip, qk, (x1, x2), total=True, **tiles)
    mixed = [
      jnp.einsum("bcd,co->bdo", channel_attention(sums, scale), out)
      for sums, scale, out in zip(grams, temperature, project, strict=True)
    ]
    x1, x2 = over_strips(cross_strip, v, (x1, x2), mixed, **tiles)
    return over_strips(gate_strip, (gates, filters), (x1, x2), **tiles)


def _as_one_block(tiling, x, qk, v, temperature, project, gates, filters):
  """The fusion module on both modalities side by side, in the form of a Restormer block.

  Matrices of one modality become blocks of a wider one, with zeros elsewhere. The zeros cost a
  twelfth of F's arithmetic and spare a second set of machine code.
  """
  on_diagonal = jax.scipy.linalg.block_diag
  (q1, k1), (q2, k2) = (jnp.split(w, 2, axis=-1) for w, _ in qk)
  nothing = jnp.zeros_like(q1)
  # The queries of each modality ask the keys of the other: heads of q2 | q1 over those of k1 | k2.
  wide = jnp.block([[nothing, q1, k1, nothing], [q2, nothing, nothing, k2]])
  (dq1, dk1), (dq2, dk2) = (jnp.split(kernel, 2, axis=-1) for _, kernel in qk)
  sums = blocks.sums(tiling, (None, wide, jnp.concatenate([dq2, dq1, dk1, dk2], axis=-1)), x)
  attention = channel_attention(sums, jnp.concatenate(temperature))
  mixed = jnp.einsum("bcd,co->bdo", attention, on_diagonal(*project))
  values = on_diagonal(*(w for w, _ in v)), jnp.concatenate([kernel for _, kernel in v], axis=-1)
  x = blocks.attend(tiling, (None, *values), mixed, x)
  wide = jnp.concatenate([gates[0], on_diagonal(*(w for w, _, _ in filters))], axis=-1)
  kernel = jnp.concatenate([gates[1], *(kernel for _, kernel, _ in filters)], axis=-1)
  return blocks.feed(
    tiling, (None, wide, kernel), jnp.concatenate([out for _, _, out in filters]), x
  )


def grams_of_strip(weights, _, strips, inside):
  """The queries of each modality ask the keys of the other."""
  qk = [
    qkv_of_strip((None, *own), strip, inside) * inside[:, 1:-1]
    for own, strip in zip(weights, strips, strict=True)
  ]
  (q1, k1), (q2, k2) = (jnp.split(x, 2, axis=-1) for x in qk)
  return gram(q2, k1), gram(q1, k2)


def cross_strip(weights, mixed, strips, inside):
  """The cross attention of a strip of both modalities."""
  return tuple(
    strip[:, 1:-1] + pointwise(qkv_of_strip((None, *own), strip, inside), m)
    for own, m, strip in zip(weights, mixed, strips, strict=True)
  )


def gate_strip(weights, _, strips, inside):
  """The gates of a strip of both modalities, which become one image of twice the channels."""
  gates, filters = weights
  x = jnp.concatenate(strips, axis=-1)
  opened = jnp.split(qkv_of_strip((None, *gates), x, inside), 2, axis=-1)
  x = x[:, 1:-1]
  for gate, strip, (*into, out) in zip(opened, strips, filters, strict=True):
    x = x + pointwise(gelu(gate) * qkv_of_strip((None, *into), strip, inside), out)
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
      ir, vi: [B, H, W, 1] in [0, 1].

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
