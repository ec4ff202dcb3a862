"""SegFormer (Xie et al., NeurIPS 2021, arXiv 2105.15203): Mix Transformer B0 to B5, all-MLP head.

Everything stays [B, H, W, C]; there is no token axis until attention needs one.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tdfusion_jax.networks.batchnorm import BatchNorm
from tdfusion_jax.networks.convhead import ConvHead
from tdfusion_jax.ops.depthwise import depthwise3x3
from tdfusion_jax.ops.resize import resize_bilinear


class Variant(NamedTuple):
  """Sizes of one member of the family."""

  widths: tuple[int, int, int, int]
  depths: tuple[int, int, int, int]
  head_width: int


_WIDE = (64, 128, 320, 512)
VARIANTS = {
  "b0": Variant((32, 64, 160, 256), (2, 2, 2, 2), 256),
  "b1": Variant(_WIDE, (2, 2, 2, 2), 256),
  "b2": Variant(_WIDE, (3, 4, 6, 3), 768),
  "b3": Variant(_WIDE, (3, 4, 18, 3), 768),
  "b4": Variant(_WIDE, (3, 8, 27, 3), 768),
  "b5": Variant(_WIDE, (3, 6, 40, 3), 768),
}
GELUS = ("erf", "tanh")
HEADS = ("mlp", "convs")
MIN_SIZE = 29  # below, the first stage has fewer than 8 rows and its reduction by 8 leaves no keys

_HEADS = (1, 2, 5, 8)
_REDUCTIONS = (8, 4, 2, 1)
_MLP_RATIO = 4

_dense_init = nn.initializers.truncated_normal(0.02)
_conv_init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
_depthwise_init = nn.initializers.normal((2 / 9) ** 0.5)  # fan_out of one window is its nine taps


class SegFormer(nn.Module):
  """Semantic segmentation network T.

  Inputs: images [B, H, W, C] in [0, 1], H and W at least 29, any C (inferred at `init`).
  Output: logits [B, H, W, num_classes].

  `train=True` normalises with batch statistics and moves the `batch_stats` collection if it is
  mutable; dropout and stochastic depth act only if a "dropout" rng is given as well.

  Attributes:
    num_classes: number of classes.
    variant: "b0" to "b5".
    head_eps: BatchNorm eps in the head: 1e-5 in the original and Hugging Face's, 1e-3 in TDFusion's
      code.
    align_corners: of the final resize: False in the original, True in TDFusion's code.
    gelu: "erf" (original, Hugging Face) or "tanh" (the approximation in TDFusion's code).
    norm_eps: LayerNorm eps of blocks and stage ends: 1e-6; Hugging Face's version has 1e-5.
    embed_eps: LayerNorm eps after patch embeddings and reductions: 1e-5; OpenMMLab's version has
      1e-6.
    head: "mlp", the paper's, or "convs", OpenMMLab's, see `convhead`.
    momentum: weight of a new batch in the running statistics (PyTorch's meaning).
    dropout: probability of dropping a channel before the classifier.
    drop_path: stochastic depth of the last block; linear from 0 at the first.

  Raises:
    ValueError: unknown variant, gelu or head, or an image that is too small.
  """

  num_classes: int
  variant: str = "b0"
  head_eps: float = 1e-5
  align_corners: bool = False
  gelu: str = "erf"
  norm_eps: float = 1e-6
  momentum: float = 0.03
  dropout: float = 0.1
  drop_path: float = 0.1
  embed_eps: float = 1e-5
  head: str = "mlp"

  @nn.compact
  def __call__(
    self, images: Float[Array, "b h w c"], train: bool = False
  ) -> Float[Array, "b h w classes"]:
    """Images in [0, 1] -> logits, see the class."""
    if self.variant not in VARIANTS:
      raise ValueError(f"SegFormer variant {self.variant!r} is not one of {', '.join(VARIANTS)}.")
    if self.gelu not in GELUS:
      raise ValueError(f"SegFormer gelu {self.gelu!r} is not one of {', '.join(GELUS)}.")
    if self.head not in HEADS:
      raise ValueError(f"SegFormer head {self.head!r} is not one of {', '.join(HEADS)}.")
    _, height, width, _ = images.shape
    if min(height, width) < MIN_SIZE:
      raise ValueError(
        f"SegFormer needs at least {MIN_SIZE}x{MIN_SIZE} pixels, not {height}x{width}."
      )
    sizes = VARIANTS[self.variant]
    backbone = MixTransformer(
      sizes.widths,
      sizes.depths,
      self.gelu,
      self.norm_eps,
      self.drop_path,
      self.embed_eps,
      name="backbone",
    )
    head = (Head if self.head == "mlp" else ConvHead)(
      self.num_classes,
      sizes.head_width,
      self.head_eps,
      self.momentum,
      self.dropout,
      name="decode_head",
    )
    logits = head(backbone(images, train), train)
    return resize_bilinear(logits, height, width, self.align_corners)


class MixTransformer(nn.Module):
  """The backbone: [B, H, W, C] -> features of its four stages at strides 4, 8, 16 and 32."""

  widths: tuple[int, ...]
  depths: tuple[int, ...]
  gelu: str
  norm_eps: float
  drop_path: float
  embed_eps: float

  @nn.compact
  def __call__(self, x: Float[Array, "b h w c"], train: bool) -> list[Array]:
    """Images -> features of the four stages, [B, H / stride, W / stride, width] each."""
    features = []
    last_block = max(sum(self.depths) - 1, 1)
    block = 0
    for stage, (width, depth) in enumerate(zip(self.widths, self.depths, strict=True)):
      kernel, stride = (7, 4) if stage == 0 else (3, 2)
      x = PatchEmbed(width, kernel, stride, self.embed_eps, name=f"patch_embed{stage + 1}")(x)
      for i in range(depth):
        drop = self.drop_path * block / last_block
        heads, reduction = _HEADS[stage], _REDUCTIONS[stage]
        name = f"block{stage + 1}_{i}"
        block_of = Block(
          heads, reduction, self.gelu, self.norm_eps, drop, self.embed_eps, name=name
        )
        x = block_of(x, train)
        block += 1
      x = _norm(self.norm_eps, f"norm{stage + 1}")(x)
      features.append(x)
    return features


class PatchEmbed(nn.Module):
  """Overlapping patch embedding: strided convolution with padding kernel // 2, then LayerNorm."""

  features: int
  kernel: int
  stride: int
  eps: float

  @nn.compact
  def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b i j o"]:
    """Images or features -> features at 1 / stride of the size."""
    shape = (self.kernel, self.kernel, x.shape[-1], self.features)
    kernel, bias = Affine(shape, _conv_init, name="proj")()
    x = _strided_conv(x, kernel, self.stride) + bias.reshape(1, 1, 1, -1)
    return _norm(self.eps, "norm")(x)


class Block(nn.Module):
  """`x += attention(norm(x)); x += mix_ffn(norm(x))`, each dropped per sample at rate `drop`."""

  heads: int
  reduction: int
  gelu: str
  norm_eps: float
  drop: float
  embed_eps: float

  @nn.compact
  def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h w c"]:
    """Features -> features."""
    attend = Attention(self.heads, self.reduction, self.embed_eps, name="attn")
    attended = attend(_norm(self.norm_eps, "norm1")(x))
    x = x + self._drop_path(attended, train)
    mixed = MixFFN(self.gelu, name="mlp")(_norm(self.norm_eps, "norm2")(x))
    return x + self._drop_path(mixed, train)

  def _drop_path(self, branch: Array, train: bool) -> Array:
    random = train and self.has_rng("dropout")
    return nn.Dropout(self.drop, broadcast_dims=(1, 2, 3))(branch, deterministic=not random)


class Attention(nn.Module):
  """Multi-head attention; keys and values see the image reduced by `reduction` along each axis."""

  heads: int
  reduction: int
  eps: float

  @nn.compact
  def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Features -> features."""
    batch, height, width, channels = x.shape
    size = channels // self.heads
    q = _dense(channels, "q")(x).reshape(batch, -1, self.heads, size)
    if self.reduction > 1:
      shape = (self.reduction, self.reduction, channels, channels)
      kernel, bias = Affine(shape, _conv_init, name="sr")()
      x = _patch_conv(x, kernel) + bias.reshape(1, 1, 1, -1)
      x = _norm(self.eps, "norm")(x)
    kv = _dense(2 * channels, "kv")(x).reshape(batch, -1, 2, self.heads, size)
    scores = jnp.einsum("bnhd,bmhd->bhnm", q * size**-0.5, kv[:, :, 0])
    out = jnp.einsum("bhnm,bmhd->bnhd", jax.nn.softmax(scores, axis=-1), kv[:, :, 1])
    return _dense(channels, "proj")(out.reshape(batch, height, width, channels))


class MixFFN(nn.Module):
  """Linear, depthwise 3x3 (which also tells positions apart), GELU, linear."""

  gelu: str

  @nn.compact
  def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Features -> features."""
    channels = x.shape[-1]
    x = _dense(_MLP_RATIO * channels, "fc1")(x)
    kernel, bias = Affine((3, 3, _MLP_RATIO * channels), _depthwise_init, name="dwconv")()
    x = depthwise3x3(x, kernel) + bias.reshape(1, 1, 1, -1)
    return _dense(channels, "fc2")(jax.nn.gelu(x, approximate=self.gelu == "tanh"))


class Head(nn.Module):
  """All-MLP head.

  Per-stage linear, resize to stride 4, concat c4 c3 c2 c1, 1x1, BatchNorm, ReLU, classifier.

  Between the per-stage linears and BatchNorm everything is linear, and a resize commutes with
  anything that acts on channels alone. So the 1x1 is folded into each stage's linear and applied
  before the resize: the same function, without ever forming the concatenation.
  """

  num_classes: int
  width: int
  eps: float
  momentum: float
  dropout: float

  @nn.compact
  def __call__(self, features: list[Array], train: bool) -> Float[Array, "b h w classes"]:
    """Features of the four stages -> logits at the size of the first."""
    _, height, width, _ = features[0].shape
    fuse = self.param("linear_fuse", _conv_init, (len(features) * self.width, self.width))
    x = constant = jnp.zeros((), features[0].dtype)
    for i, level in enumerate(reversed(range(len(features)))):
      shape = (features[level].shape[-1], self.width)
      kernel, bias = Affine(shape, _dense_init, name=f"linear_c{level + 1}")()
      share = fuse[i * self.width : (i + 1) * self.width]
      x = x + resize_bilinear(features[level] @ (kernel @ share), height, width)
      constant = constant + (bias @ share).reshape(1, 1, 1, -1)
    # BatchNorm takes a constant off again, so that its gradient is rounding and nothing else, which
    # Adam would follow; in bfloat16 far enough to leave the running mean behind.
    x = x + (jax.lax.stop_gradient(constant) if train else constant)
    x = nn.relu(BatchNorm(self.eps, self.momentum, name="bn")(x, train))
    random = train and self.has_rng("dropout")
    # Whole channels, as in the original's Dropout2d.
    x = nn.Dropout(self.dropout, broadcast_dims=(1, 2))(x, deterministic=not random)
    return _dense(self.num_classes, "linear_pred")(x)


class Affine(nn.Module):
  """Only the parameters: (kernel of `shape`, bias [last axis])."""

  shape: tuple[int, ...]
  kernel_init: nn.initializers.Initializer

  @nn.compact
  def __call__(self) -> tuple[Array, Array]:
    """(kernel, bias)."""
    kernel = self.param("kernel", self.kernel_init, self.shape)
    return kernel, self.param("bias", nn.initializers.zeros, (self.shape[-1],))


def _dense(features: int, name: str) -> nn.Dense:
  return nn.Dense(features, kernel_init=_dense_init, name=name)


def _norm(eps: float, name: str) -> nn.LayerNorm:
  # E[x^2] - E[x]^2 cancels in float32 when the mean dominates
  return nn.LayerNorm(epsilon=eps, use_fast_variance=False, name=name)


def _strided_conv(x: Array, kernel: Array, stride: int) -> Array:
  """Convolution with padding k // 2.

  x [B, H, W, C], kernel [k, k, C, O] -> [B, ceil(H / stride), ceil(W / stride), O].
  """
  size = kernel.shape[0]
  pad = size // 2
  if size > 3:  # 49 copies of the image cost more than the convolution's gradient saves
    edges = ((pad, pad), (pad, pad))
    return jax.lax.conv_general_dilated(
      x, kernel, (stride, stride), edges, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
  # One product over the nine taps: with its gradient a quarter faster on CPU than a strided
  # convolution.
  rows, columns = (-(-n // stride) for n in x.shape[1:3])
  x = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
  last_row, last_column = (rows - 1) * stride + 1, (columns - 1) * stride + 1
  offsets = [(i, j) for i in range(size) for j in range(size)]
  taps = [x[:, i : i + last_row : stride, j : j + last_column : stride] for i, j in offsets]
  return jnp.concatenate(taps, axis=-1) @ kernel.reshape(-1, kernel.shape[-1])


def _patch_conv(x: Array, kernel: Array) -> Array:
  """Convolution with stride = kernel size.

  x [B, H, W, C], kernel [r, r, C, O] -> [B, H // r, W // r, O].

  A product over whole patches, because the gradient of a strided convolution is a slow dilated one.
  """
  ratio, batch, channels = kernel.shape[0], x.shape[0], x.shape[-1]
  rows, columns = x.shape[1] // ratio, x.shape[2] // ratio
  x = x[:, : rows * ratio, : columns * ratio].reshape(batch, rows, ratio, columns, ratio, channels)
  x = x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, rows, columns, -1)
  return x @ kernel.reshape(-1, kernel.shape[-1])
