"""Reads the reference numbers and weights, and compares with them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import goldens, load_rule_weights, real_weights

from tdfusion_jax import convert
from tdfusion_jax.batch import DetTarget
from tdfusion_jax.convert.pth import read_pth

# The reference assigns boxes in float32. XLA may contract a product and a sum into one rounding;
# unoptimised it does not, and the assignment rounds as the reference's. (Contracted, the det
# gradients are off by 3e-6.)
PLAIN_ARITHMETIC = {"xla_backend_optimization_level": 0}
UPSTREAM = {"gelu": "tanh", "head_eps": 1e-3, "align_corners": True}


def npz(name):
  path = goldens() / name
  if not path.is_file():
    pytest.skip(f"{path} is not there")
  return np.load(path)


def nhwc(array):
  return jnp.asarray(np.moveaxis(array, -3, -1))


def widen(tree, dtype=np.float64):
  return jax.tree.map(lambda a: jnp.asarray(a, dtype), tree)


def rule_weights(spec, arch, dtype=np.float64):
  return widen(convert.from_torch(load_rule_weights(goldens() / spec), arch), dtype)


def real_fusion(dtype=np.float64):
  return widen(convert.from_torch(read_pth(real_weights() / "ReFusion_IVIF.pth"), "fusion"), dtype)[
    "params"
  ]


def close(ours, theirs, tolerance):
  """Relative to the largest entry: meta-gradients are tiny, so an absolute tolerance would pass a
  zero."""
  theirs = np.asarray(theirs)
  scale = np.abs(theirs).max()
  error = np.abs(np.asarray(ours, np.float64) - theirs).max()
  assert ours.shape == theirs.shape and scale > 0
  assert error <= tolerance * scale, f"off by {error / scale:.2e} of the largest entry"


def boxes_of(rows, batch, height, width):
  """Rows (image, class, cx, cy, w, h in [0, 1]) -> padded DetTarget in pixels, float32 as the
  reference holds it."""
  rows = rows.astype(np.float32)
  count = max((rows[:, 0] == i).sum() for i in range(batch)) + 2
  boxes, classes = np.zeros((batch, count, 4), np.float32), np.zeros((batch, count), np.int32)
  valid = np.zeros((batch, count), bool)
  for i in range(batch):
    mine = rows[rows[:, 0] == i]
    centre, half = (side * np.float32([width, height]) for side in (mine[:, 2:4], mine[:, 4:6] / 2))
    boxes[i, : len(mine)] = np.concatenate([centre - half, centre + half], axis=1)
    classes[i, : len(mine)], valid[i, : len(mine)] = mine[:, 1], True
  return DetTarget(jnp.asarray(boxes), jnp.asarray(classes), jnp.asarray(valid))
