"""A task stage that ends in seconds."""

import jax
import jax.numpy as jnp

from configs import load
from tdfusion_jax.losses.segmentation import cross_entropy
from tdfusion_jax.tasks import Task

WORLD = {
  "data.task_size": (32, 48),
  "data.train_options.size": (32, 48),
  "data.train_options.count": 8,
  "data.val_options.size": (32, 48),
  "data.val_options.count": 4,
}
QUICK = {
  "data.batch_size": 4,
  "train.epochs": 4,
  "log.validate_every": 4,
  "data.augment": "none",
  "optim.warmup_steps": 0,
  "optim.t.learning_rate": 0.3,
}


def pixel_task(num_classes, variant="b0", in_channels=1, **options) -> Task:
  """A linear classifier of single pixels: compiles at once; brightness does separate classes."""
  del variant, options

  def init(key, images):
    assert images.shape[-1] == in_channels
    return {
      "w": 0.1 * jax.random.normal(key, (in_channels, num_classes)),
      "b": jnp.zeros((num_classes,)),
    }, {}

  def apply(params, stats, images, *, train, key=None):
    del train, key
    bias = jnp.broadcast_to(params["b"], (*images.shape[:3], num_classes))
    return images @ params["w"] + bias, stats

  def predict(params, stats, images):
    return {
      "labels": jnp.argmax(apply(params, stats, images, train=False)[0], -1).astype(jnp.int32)
    }

  return Task(init, apply, cross_entropy, predict)


def config(**changes):
  made = load("synthetic_seg", "task")
  made.update_from_flattened_dict({**WORLD, **QUICK, **changes})
  return made
