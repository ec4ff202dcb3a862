"""T of one convolution with batch norm, for tests of what a batch is spread over."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from tdfusion_jax.losses.segmentation import cross_entropy
from tdfusion_jax.networks.batchnorm import BatchNorm
from tdfusion_jax.tasks import Task


class _Net(nn.Module):
  classes: int

  @nn.compact
  def __call__(self, x, train=False):
    x = nn.Conv(8, (3, 3), use_bias=False, name="conv")(x)
    x = jax.nn.silu(BatchNorm(name="norm")(x, train))
    return nn.Dense(self.classes, name="head")(x)


def task(num_classes, variant="", **options) -> Task:
  """Its statistics cross the images, and its loss divides by what the whole batch has of labels."""
  del variant, options
  net = _Net(num_classes)

  def init(key, images):
    variables = net.init(key, images)
    return variables["params"], variables["batch_stats"]

  def apply(params, stats, images, *, train, key=None):
    del key
    variables = {"params": params, "batch_stats": stats}
    if not train:
      return net.apply(variables, images), stats
    logits, moved = net.apply(variables, images, train=True, mutable=["batch_stats"])
    return logits, moved["batch_stats"]

  def predict(params, stats, images):
    logits, _ = apply(params, stats, images, train=False)
    return {"labels": jnp.argmax(logits, axis=-1).astype(jnp.int32)}

  return Task(init, apply, cross_entropy, predict, labels="segmentation")
