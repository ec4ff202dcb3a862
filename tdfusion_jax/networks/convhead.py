"""The head of OpenMMLab's SegFormer, which is another one than the paper's code has.

Each stage passes a 1x1 convolution, BatchNorm and ReLU of its own before they are put side by side,
where the original has a linear layer alone; so weights of one head do not fit the other.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from tdfusion_jax.networks.batchnorm import BatchNorm
from tdfusion_jax.ops.resize import resize_bilinear

_kernel_init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
_last_init = nn.initializers.normal(0.01)


class ConvBnRelu(nn.Module):
  """Only the parameters of a 1x1 convolution without bias, and what comes behind it."""

  inputs: int
  width: int
  eps: float
  momentum: float

  def setup(self):
    """Makes the parameters."""
    self.kernel = self.param("kernel", _kernel_init, (self.inputs, self.width))
    self.bn = BatchNorm(self.eps, self.momentum)

  def behind(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h w c"]:
    """BatchNorm and ReLU of what the convolution gave."""
    return nn.relu(self.bn(x, train))

  def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h w o"]:
    """Features -> features."""
    return self.behind(x @ self.kernel, train)


class ConvHead(nn.Module):
  """Per stage 1x1, BatchNorm, ReLU; resize to stride 4, concat c1 to c4; 1x1, BatchNorm, ReLU.

  A resize commutes with a 1x1, so that one is applied to each stage before its resize, and the
  concatenation is never formed: the same function.

  Attributes:
    num_classes: number of classes.
    width: of every stage and of their fusion.
    eps: of BatchNorm.
    momentum: weight of a new batch in the running statistics.
    dropout: probability of dropping a channel before the classifier.
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
    sizes = (self.width, self.eps, self.momentum)
    fusion = ConvBnRelu(len(features) * self.width, *sizes, name="fusion_conv")
    kernel = fusion.kernel
    x = jnp.zeros((), features[0].dtype)
    for i, level in enumerate(features):
      own = ConvBnRelu(level.shape[-1], *sizes, name=f"convs_{i}")(level, train)
      mixed = own @ kernel[i * self.width : (i + 1) * self.width]
      x = x + resize_bilinear(mixed, height, width)
    x = fusion.behind(x, train)
    random = train and self.has_rng("dropout")
    x = nn.Dropout(self.dropout, broadcast_dims=(1, 2))(x, deterministic=not random)
    return nn.Dense(self.num_classes, kernel_init=_last_init, name="linear_pred")(x)
