"""Semantic segmentation as a task: SegFormer and cross-entropy."""

from typing import Any

import jax.numpy as jnp

from tdfusion_jax.losses.segmentation import cross_entropy
from tdfusion_jax.networks.fresh import fresh_variables
from tdfusion_jax.networks.segformer import SegFormer
from tdfusion_jax.tasks import Task


def segmentation(num_classes: int, variant: str = "b0", in_channels: int = 1, **network) -> Task:
  """A `Task` with SegFormer as network and pixel-wise cross-entropy as loss.

  Args:
    num_classes: number of classes; targets are `SegTarget`.
    variant: "b0" to "b5".
    in_channels: channels of the images: 1 for fused images, 3 for colour ones.
    **network: further options of `SegFormer`.

  Returns:
    Task; `outputs` are logits [B, H, W, num_classes], `predict` gives {"labels": [B, H, W] int32}.

  Raises:
    ValueError: images without `in_channels` channels; whatever `SegFormer` refuses.
  """
  net = SegFormer(num_classes, variant, **network)

  def check(images):
    if images.shape[-1] != in_channels:
      raise ValueError(
        f"this segmentation task needs {in_channels} channel(s), not images of {images.shape}."
      )

  def init(key, images):
    check(images)
    variables = fresh_variables(net, key, images)
    return variables["params"], variables["batch_stats"]

  def apply(params, stats, images, *, train, key=None) -> tuple[Any, Any]:
    check(images)
    variables = {"params": params, "batch_stats": stats}
    if not train:
      return net.apply(variables, images), stats
    rngs = None if key is None else {"dropout": key}
    logits, moved = net.apply(variables, images, train=True, mutable=["batch_stats"], rngs=rngs)
    return logits, moved["batch_stats"]

  def predict(params, stats, images):
    logits, _ = apply(params, stats, images, train=False)
    return {"labels": jnp.argmax(logits, axis=-1).astype(jnp.int32)}

  return Task(init, apply, cross_entropy, predict)
