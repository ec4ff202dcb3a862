"""A training without labels that ends in seconds."""

import numpy as np
from flax.traverse_util import flatten_dict
from runs import TINY

from configs import load
from tdfusion_jax.weightfiles import load_weights

WITHOUT_TASK = {
  "fusion.network": "tiny:fuser",  # what surrounds F is tested, most often by several runs
  "task.kind": "none",
  "loss.weights": "fixed",
  "meta.steps": 0,
  "log.checkpoint_every": 3,
}


def config(**changes):
  made = load("synthetic_det")
  made.update_from_flattened_dict({**TINY, **WITHOUT_TASK, **changes})
  return made


def same_weights(one, other):
  files = sorted(p.name for p in (one / "weights").iterdir())
  assert files == sorted(p.name for p in (other / "weights").iterdir())
  for name in files:
    a, b = (flatten_dict(load_weights(run / "weights" / name)[0]) for run in (one, other))
    assert a.keys() == b.keys() and a
    for key in a:
      np.testing.assert_array_equal(a[key], b[key], err_msg=f"{name} {key}")
