"""Pairs of random images, and a fusion whose answer is known."""

import numpy as np

from tdfusion_jax.images.writing import write_image

RNG = np.random.default_rng(0)


def mean_fuse(params, ir, vi):
  """A fusion whose answer is known: the mean of both luminances."""
  del params
  return (ir + vi) / 2


def images(*shape):
  return RNG.random(shape).astype(np.float32)


def folders(tmp_path, sizes):
  for side in ("ir", "vi"):
    for name, (height, width) in sizes.items():
      write_image(tmp_path / side / f"{name}.png", images(height, width, 1 if side == "ir" else 3))
  return tmp_path / "ir", tmp_path / "vi", tmp_path / "out"
