"""T for tests of what judges one: it finds what is bright."""

import jax.numpy as jnp

from tdfusion_jax.tasks import Task


def detector(num_classes, variant="", **options) -> Task:
  """One box around all pixels above the parameter `least`, of class 0."""
  del num_classes, variant, options

  def init(key, images):
    del key, images
    return {"least": jnp.zeros(())}, {}

  def apply(params, stats, images, *, train, key=None):
    del train, key
    return images[..., 0] > params["least"], stats

  def predict(params, stats, images):
    bright = apply(params, stats, images, train=False)[0]
    sides = []
    for axis in (1, 2):  # columns, then rows
      there = bright.any(axis)
      sides.append((jnp.argmax(there, -1), there.shape[1] - jnp.argmax(there[:, ::-1], -1)))
    (left, right), (top, bottom) = sides
    boxes = jnp.stack([left, top, right, bottom], -1)[:, None].astype(jnp.float32)
    found = bright.any((1, 2))[:, None]
    return {
      "boxes": boxes,
      "scores": jnp.where(found, 0.9, 0.0),
      "classes": jnp.zeros(found.shape, jnp.int32),
      "valid": found,
    }

  return Task(init, apply, lambda outputs, target: (0.0, {}), predict, labels="detection")


def segmenter(num_classes, variant="", **options) -> Task:
  """Class 1 where a pixel is above `least`, else 0."""
  made = detector(num_classes, variant, **options)

  def predict(params, stats, images):
    return {"labels": made.apply(params, stats, images, train=False)[0].astype(jnp.int32)}

  return made._replace(predict=predict, labels="segmentation")
