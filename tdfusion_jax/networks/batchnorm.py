"""Batch normalisation with PyTorch's running statistics."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp


class BatchNorm(nn.Module):
  """BatchNorm over all axes but the last, as PyTorch computes it.

  Differs from `flax.linen.BatchNorm` in what is remembered: the running variance takes the
  *unbiased* batch variance (n / (n - 1)), while the batch itself is normalised with the biased one.

  Attributes:
    eps: added to the variance.
    momentum: weight of the new batch in the running statistics (PyTorch's meaning).
  """

  eps: float = 1e-5
  momentum: float = 0.03
  scale_init: Callable = nn.initializers.ones

  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
    """Normalises x [..., C].

    Args:
      x: any number of axes, channels last.
      train: with the statistics of the batch, which move the `batch_stats` collection; otherwise
        with the collection's.
    """
    features = x.shape[-1]
    scale = self.param("scale", self.scale_init, (features,))
    bias = self.param("bias", nn.initializers.zeros, (features,))
    running_mean = self.variable("batch_stats", "mean", jnp.zeros, (features,))
    running_var = self.variable("batch_stats", "var", jnp.ones, (features,))
    dtype = x.dtype
    x = x.astype(jnp.promote_types(dtype, jnp.float32))  # statistics of bfloat16 would be coarse
    if train:
      axes = tuple(range(x.ndim - 1))
      mean = jnp.mean(x, axes)
      # Two passes: E[x^2] - E[x]^2 cancels in float32 when the mean dominates.
      var = jnp.mean(jnp.square(x - mean.reshape((1,) * len(axes) + (-1,))), axes)
      if not self.is_initializing() and self.is_mutable_collection("batch_stats"):
        count = x.size // features
        unbiased = var * (count / max(count - 1, 1))
        running_mean.value += self.momentum * (mean - running_mean.value)
        running_var.value += self.momentum * (unbiased - running_var.value)
    else:
      mean, var = running_mean.value, running_var.value
    gain = scale * jax.lax.rsqrt(var + self.eps)
    shape = (1,) * (x.ndim - 1) + (-1,)
    return (x * gain.reshape(shape) + (bias - mean * gain).reshape(shape)).astype(dtype)
