"""YOLOv8 n to x: C2f/SPPF backbone, PAN neck, decoupled anchor-free head with 16-bin distances."""

import math
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tdfusion_jax.networks.batchnorm import BatchNorm

STRIDES = (8, 16, 32)
BINS = 16
# variant -> depth, width, deep factor
VARIANTS = {
  "n": (1 / 3, 0.25, 2.0),
  "s": (1 / 3, 0.5, 2.0),
  "m": (2 / 3, 0.75, 1.5),
  "l": (1, 1, 1.0),
  "x": (1, 1.25, 1.0),
}
_DEEP = 512

# What PyTorch's layers start from.
_kernel_init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


class Detections(NamedTuple):
  """Raw predictions for every anchor: levels in stride order 8, 16, 32, rows first in a level."""

  box_logits: jax.Array
  """[B, A, 64]: left, top, right, bottom, each 16 bins of distance in strides."""
  class_logits: jax.Array
  """[B, A, num_classes]."""
  points: jax.Array
  """[A, 2] anchor centres (x, y) in pixels."""
  strides: jax.Array
  """[A] in pixels."""


def anchor_points(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
  """Anchor centres [A, 2] (x, y) and strides [A], in pixels, of an image of height x width pixels.

  Both sizes are multiples of 32.
  """
  points, strides = [], []
  for stride in STRIDES:
    rows, columns = np.meshgrid(
      np.arange(height // stride), np.arange(width // stride), indexing="ij"
    )
    points.append((np.stack([columns, rows], axis=-1).reshape(-1, 2) + 0.5) * stride)
    strides.append(np.full(len(points[-1]), float(stride)))
  return np.concatenate(points), np.concatenate(strides)


def decode_distances(box_logits: Float[Array, "b a 64"]) -> Float[Array, "b a 4"]:
  """Distances left, top, right, bottom from the anchor centre, in strides.

  The expectation over the bins, by softmax.
  """
  bins = box_logits.reshape(*box_logits.shape[:2], 4, BINS)
  return jax.nn.softmax(bins, axis=-1) @ jnp.arange(BINS, dtype=box_logits.dtype)


def decode_boxes(outputs: Detections) -> Float[Array, "b a 4"]:
  """Predicted boxes (x1, y1, x2, y2) in pixels, not clipped to the image."""
  distances = decode_distances(outputs.box_logits) * outputs.strides[None, :, None]
  points = outputs.points[None]
  return jnp.concatenate([points - distances[..., :2], points + distances[..., 2:]], axis=-1)


class Conv(nn.Module):
  """Convolution without bias, BatchNorm (eps 1e-3, momentum 0.03), SiLU.

  Zero padding of half the kernel.
  """

  features: int
  kernel: int = 1
  stride: int = 1

  @nn.compact
  def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b i j o"]:
    """Features -> features at 1 / stride of the size."""
    if self.stride == 2:
      kernel = self.param("kernel", _kernel_init, (3, 3, x.shape[-1], self.features))
      # Unlike SAME, one row and column of zeros on each side at any size. With its gradients as a
      # whole faster than a stride of one over 2x2 blocks, but for the first layer.
      layout = ("NHWC", "HWIO", "NHWC")
      edges = ((1, 1), (1, 1))
      x = jax.lax.conv_general_dilated(x, kernel, (2, 2), edges, dimension_numbers=layout)
    else:
      conv = partial(nn.Conv, use_bias=False, kernel_init=_kernel_init, name="conv")
      x = conv(self.features, (self.kernel, self.kernel), padding=self.kernel // 2)(x)
    return jax.nn.silu(BatchNorm(1e-3, 0.03, name="bn")(x, train))


class Bottleneck(nn.Module):
  """Two 3x3 Conv of equal width, added to the input in the backbone."""

  add: bool

  @nn.compact
  def __call__(self, x, train: bool):
    """Features [B, H, W, C] -> features, equally shaped."""
    y = Conv(x.shape[-1], 3, name="cv1")(x, train)
    y = Conv(x.shape[-1], 3, name="cv2")(y, train)
    return x + y if self.add else y


class C2f(nn.Module):
  """Split in two; each bottleneck works on the last part and appends its result.

  Then all of them side by side, and a 1x1 Conv.
  """

  features: int
  depth: int
  add: bool

  @nn.compact
  def __call__(self, x, train: bool):
    """Features [B, H, W, C] -> [B, H, W, features]."""
    parts = jnp.split(Conv(self.features, name="cv1")(x, train), 2, axis=-1)
    for i in range(self.depth):
      parts.append(Bottleneck(self.add, name=f"m_{i}")(parts[-1], train))
    return Conv(self.features, name="cv2")(jnp.concatenate(parts, axis=-1), train)


class SPPF(nn.Module):
  """Three 5x5 max-pools in a row between two 1x1 Conv."""

  features: int

  @nn.compact
  def __call__(self, x, train: bool):
    """Features [B, H, W, C] -> [B, H, W, features]."""
    parts = [Conv(x.shape[-1] // 2, name="cv1")(x, train)]
    for _ in range(3):
      parts.append(nn.max_pool(parts[-1], (5, 5), padding="SAME"))
    return Conv(self.features, name="cv2")(jnp.concatenate(parts, axis=-1), train)


class Backbone(nn.Module):
  """[B, H, W, C] -> features at strides 8, 16 and 32."""

  widths: tuple[int, ...]
  depths: tuple[int, ...]

  @nn.compact
  def __call__(self, x, train: bool):
    """Images -> the three features."""
    x = Conv(self.widths[0], 3, 2, name="stem")(x, train)
    features = []
    for i, (width, depth) in enumerate(zip(self.widths[1:], self.depths, strict=True), start=2):
      x = Conv(width, 3, 2, name=f"dark{i}_0")(x, train)
      x = C2f(width, depth, True, name=f"dark{i}_1")(x, train)
      features.append(x)
    features[-1] = SPPF(self.widths[-1], name="dark5_2")(x, train)
    return features[1:]


class YOLOv8(nn.Module):
  """Object detection network T.

  Inputs: images [B, H, W, C] in [0, 1], H and W multiples of 32, any C (inferred at `init`).
  Output: `Detections`. `train=True` normalises with batch statistics and moves `batch_stats` if it
  is mutable.

  Attributes:
    num_classes: number of classes.
    variant: "n", "s", "m", "l" or "x".
    class_width: hidden width of the branches that tell classes apart; 0 has it follow from the
      number of classes. Weights of a network of more classes of which some were kept need theirs.

  Raises:
    ValueError: unknown variant, or a size that is no multiple of 32.
  """

  num_classes: int
  variant: str = "n"
  class_width: int = 0

  @nn.compact
  def __call__(self, images: Float[Array, "b h w c"], train: bool = False) -> Detections:
    """Images in [0, 1] -> raw predictions, see the class."""
    if self.variant not in VARIANTS:
      raise ValueError(f"YOLOv8 variant {self.variant!r} is not one of {', '.join(VARIANTS)}.")
    _, height, width, _ = images.shape
    if height % 32 or width % 32:
      raise ValueError(f"YOLOv8 needs sizes that are multiples of 32, not {height}x{width}.")
    widths, depths = _sizes(self.variant)
    neck_depth = max(round(3 * VARIANTS[self.variant][0]), 1)
    c3, c4, c5 = Backbone(widths, depths, name="backbone")(images, train)
    levels = self._neck(c3, c4, c5, neck_depth, train)
    points, strides = anchor_points(height, width)
    first_width = levels[0].shape[-1]
    heads = [self._head(level, x, first_width, train) for level, x in enumerate(levels)]
    boxes, classes = zip(*heads, strict=True)
    return Detections(
      jnp.concatenate(boxes, axis=1),
      jnp.concatenate(classes, axis=1),
      # bfloat16 has no 128.5.
      jnp.asarray(points, jnp.promote_types(images.dtype, jnp.float32)),
      jnp.asarray(strides, jnp.promote_types(images.dtype, jnp.float32)),
    )

  def _neck(self, c3, c4, c5, depth: int, train: bool):
    """The features from top to bottom and back up (PAN), each as wide as the backbone's."""

    def merge(name, like, *x):
      merged = C2f(like.shape[-1], depth, False, name=name)
      return merged(jnp.concatenate(x, -1), train)

    def halve(name, x):
      return Conv(x.shape[-1], 3, 2, name=name)(x, train)

    p4 = merge("conv3_for_upsample1", c4, _double(c5), c4)
    p3 = merge("conv3_for_upsample2", c3, _double(p4), c3)
    p4 = merge("conv3_for_downsample1", c4, halve("down_sample1", p3), p4)
    p5 = merge("conv3_for_downsample2", c5, halve("down_sample2", p4), c5)
    return p3, p4, p5

  def _head(self, level: int, x, first_width: int, train: bool):
    """(box logits, class logits) of a level, [B, A, 64] and [B, A, num_classes]."""
    # Scores start from a prior: about five objects in an image of 640x640.
    class_bias = math.log(5 / self.num_classes / (640 / STRIDES[level]) ** 2)
    branches = (
      ("cv2", max(16, first_width // 4, 4 * BINS), 4 * BINS, 1.0),
      ("cv3", self.class_width or max(first_width, self.num_classes), self.num_classes, class_bias),
    )
    out = []
    for name, width, features, bias in branches:
      y = Conv(width, 3, name=f"{name}_{level}_0")(x, train)
      y = Conv(width, 3, name=f"{name}_{level}_1")(y, train)
      bias_init = nn.initializers.constant(bias)
      last = partial(nn.Dense, kernel_init=_kernel_init, bias_init=bias_init)
      y = last(features, name=f"{name}_{level}_2")(y)
      out.append(y.reshape(y.shape[0], -1, features))
    return out


def _sizes(variant: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
  depth, width, deep = VARIANTS[variant]
  widths = tuple(int(c * width) for c in (64, 128, 256, 512, _DEEP * deep))
  depths = tuple(max(round(n * depth), 1) for n in (3, 6, 6, 3))
  return widths, depths


def _double(x: Float[Array, "b h w c"]) -> Float[Array, "b i j c"]:
  """Nearest-neighbour upsampling by two."""
  batch, height, width, channels = x.shape
  x = jnp.broadcast_to(x[:, :, None, :, None], (batch, height, 2, width, 2, channels))
  return x.reshape(batch, 2 * height, 2 * width, channels)
