"""Runs of networks that compile at once, with every term of the steps, for several devices."""

import jax
import numpy as np
import tiny

from configs import load
from tdfusion_jax.train import build, devices

SETTINGS = {
  **tiny.SHORT_RUN,
  "task.kind": "batchnorm_task:task",
  "data.task_size": (16, 32),
  "data.crop_size": (8, 16),
  "data.batch_size": 4,
  "data.train_options.size": (32, 32),
  "data.train_options.count": 40,
  "data.val_options.size": (32, 32),
  "data.swap": "half",
  "meta.pairs": 8,
  "meta.steps": 10,
  "log.validate_every": 0,
  "data.cache_mb": 100,
  # Adam divides what is nearly nothing by its own size: where a gradient is zero but for rounding,
  # its sign would decide. SGD shows what was computed.
  "optim.f.rule": "sgd",
  "optim.g.rule": "sgd",
  "optim.t.rule": "sgd",
  "optim.f.learning_rate": 0.1,
  "optim.g.learning_rate": 100.0,
  "optim.t.learning_rate": 0.1,
}


def config(**changes):
  made = load("synthetic_seg")
  made.update_from_flattened_dict({**SETTINGS, **changes})
  return made


class Run:
  """Steps of a config, on the devices that it names.

  Args:
    settings: a config.
    dtype: of weights and images, such as float64.
  """

  def __init__(self, settings, dtype=np.float32):
    self.made = build.experiment(settings)
    self._dtype = dtype
    self.state = devices.place_state(self.start(), self.made.mesh)

  def start(self):
    """The state before the first step, on one device."""
    return self._cast(self.made.init())

  def _cast(self, tree):
    return jax.tree.map(lambda x: x.astype(self._dtype) if x.dtype == np.float32 else x, tree)

  def take(self, numbers, *, unknown=False):
    """What each of the steps measured; with `unknown`, no batch has labels of its first image."""
    measured = []
    for step in numbers:
      views = self._cast(self.made.steps[step])
      if unknown:
        for of_role in views.values():
          of_role.whole.target.labels[0] = 255
      kind = self.made.steps.phase(step)[0]
      run_step = self.made.g_step if kind == "g" else self.made.ft_step
      self.state, values = run_step(self.state, devices.place_batch(views, self.made.mesh))
      measured.append({name: float(value) for name, value in values.items()})
    return measured

  @property
  def own(self):
    """The state on one device."""
    return devices.own_copy(self.state, self.made.mesh)

  def go_on_from(self, state):
    """The state of another run, on this one's devices."""
    self.state = devices.place_state(state, self.made.mesh)


def difference(one, other):
  """The largest relative difference of two (measured, parameters): of losses; of F, G and T."""
  losses = [
    abs(a[name] - b[name]) / abs(a[name])
    for a, b in zip(one[0], other[0], strict=True)
    for name in a
    if "loss" in name
  ]

  def apart(a, b):
    a, b = (np.concatenate([x.ravel() for x in jax.tree.leaves(tree)]) for tree in (a, b))
    return float(np.linalg.norm(a - b) / np.linalg.norm(a))

  return max(losses), max(apart(a, b) for a, b in zip(one[1], other[1], strict=True))
