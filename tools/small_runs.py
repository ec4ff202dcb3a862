"""Runs that take seconds, for tools that make many: networks of one convolution, tiny images.

Everything around the networks is the real command's. `install` puts them into the places of F and
G; T is named in the settings.
"""

from pathlib import Path
from typing import Any

from tdfusion_jax.tasks import Task

ROOT = Path(__file__).resolve().parent.parent
CONFIG = "configs/synthetic_seg.py"
STAGES = ("fusion", "task")
SWEEP = """config = "{config}"
seeds = [0, 1]
compare_to = "half"
select = "val"
report = "test"
scores = ["mIoU"]
[set]
"data.train_options.size" = [32, 48]
"data.train_options.noise" = 4.0
"data.val_split" = "val"
[fusion]
"data.crop_size" = [16, 24]
"train.epochs" = 4
[task]
"data.test_split" = "test"
"optim.t.rule" = "adam"
"optim.t.learning_rate" = 1e-3
[arms.half]
options = "weights=0.5"
fusion = {{ "task.kind" = "none" }}
[best."the best"]
of = ["half", "infrared"]
by = "mIoU"
[arms.infrared]
images = "infrared"
"""
"""A sweep file of two arms and a best one; `{config}` is the config file."""


class Convolution:
  """[B, H, W, 1] twice -> `channels` by one 1x1 convolution."""

  def __init__(self, channels: int):
    self.channels = channels

  def init(self, key: Any, ir: Any, vi: Any) -> dict[str, Any]:
    """{"params": {"kernel" [2, channels]}}."""
    import jax

    del ir, vi
    return {"params": {"kernel": 0.1 * jax.random.normal(key, (2, self.channels))}}


def install() -> None:
  """Has this process train one convolution each in the places of F and G."""
  import jax
  import jax.numpy as jnp

  from tdfusion_jax import fusers
  from tdfusion_jax.fusers import load, ours

  def convolved(params, ir, vi):
    return jnp.concatenate([ir, vi], axis=-1) @ params["kernel"]

  def fuse(params, ir, vi):
    return jax.nn.sigmoid(convolved(params, ir, vi))

  def weigh(params, ir, vi):
    return jax.nn.softmax(convolved(params, ir, vi))

  def fusion_network(*_: Any) -> fusers.Fuser:
    return fusers.Fuser("fusion", Convolution(1), fuse)

  def loss_network(*_: Any) -> fusers.Weigher:
    return fusers.Weigher("lossgen", Convolution(2), weigh)

  for place in (fusers, ours):
    vars(place).update(fusion_network=fusion_network, loss_network=loss_network)
  load.__dict__["late_f"] = fusion_network  # F of a weight file


def settings(stage: str, epochs: int, cache: str = "") -> dict[str, Any]:
  """{field: value} of such a run, that saves every second step.

  Args:
    stage: "fusion" or "task".
    epochs: of 8 pairs.
    cache: folder for compiled programs; empty for none.
  """
  fields: dict[str, Any] = {
    "task.kind": "small_runs:pixel_task",
    "data.task_size": (32, 48),
    "data.train_options.size": (32, 48),
    "data.train_options.count": 8,
    "data.val_options.size": (32, 48),
    "data.val_options.count": 2,
    "data.batch_size": 2,
    "data.cache_mb": 64,
    "train.epochs": epochs,
    "train.pretrain_steps": 0,
    "train.compile_cache": cache,
    "log.every": 1,
    "log.pictures": 0,
    "log.validate_every": 4,
    "log.checkpoint_every": 2,
  }
  if stage == "task":
    return fields | {"fused.images": "infrared", "data.augment": "none"}
  return fields | {"data.crop_size": (16, 16), "meta.pairs": 4, "meta.steps": 3}


def pixel_task(num_classes: int, variant: str = "", in_channels: int = 1, **options: Any) -> Task:
  """A linear classifier of single pixels in T's place."""
  import jax
  import jax.numpy as jnp

  from tdfusion_jax.losses.segmentation import cross_entropy

  del variant, options

  def init(key, images):
    del images
    return {"kernel": 0.1 * jax.random.normal(key, (in_channels, num_classes))}, {}

  def apply(params, stats, images, *, train, key=None):
    del train, key
    return images @ params["kernel"], stats

  def predict(params, stats, images):
    del stats
    return {"labels": jnp.argmax(images @ params["kernel"], -1).astype(jnp.int32)}

  return Task(init, apply, cross_entropy, predict)
