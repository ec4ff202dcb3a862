"""From a config to functions: what teaches G, and whether a task fits the data."""

import sys
from functools import partial

import jax
import numpy as np
import pytest
import toy
from flax.traverse_util import flatten_dict
from pixel_task import pixel_task
from safetensors.numpy import load_file

from configs import load
from tdfusion_jax import fusers, meta
from tdfusion_jax.config import ConfigError
from tdfusion_jax.files import UsageError
from tdfusion_jax.train import build, checks, initial

CODE = """
from tdfusion_jax.meta import Outer


def towards_infrared(strength=1.0):
  def teacher(method, g_params, state, mtr, mts, key):
    w_a = method.weigh(g_params, mts.whole.ir, mts.whole.vi)[..., 0]
    return -strength * w_a.mean(), Outer(state.t_opt, measured={"w_a": w_a.mean()})

  return teacher
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(sys, "path", list(sys.path))
  (tmp_path / "plug_rule.py").write_text(CODE)
  yield
  sys.modules.pop("plug_rule", None)


def config(**options):
  made = load("synthetic_seg")
  with made.unlocked():
    made.meta.rule_options = options
  made.meta.rule = "plug_rule:towards_infrared"
  checks.check(made)
  return made


def test_a_rule_of_ones_own_gets_its_options(mine):
  """The gradient of `-3 mean(w_a)` is three times that of `-mean(w_a)`, and it is not zero."""
  state, views = toy.state(toy.adams(), np.float32), toy.views(1, np.float32)
  gradients = []
  for options in ({"strength": 3.0}, {}):
    teacher = build.teacher(config(**options), lambda step: meta.Rates(0, 0), toy.adams().t)
    key = jax.random.key(0)
    gradients.append(meta.teach(teacher, toy.method(), state, views, views, key)[0]["r"])
  assert abs(gradients[1]) > 1e-3
  np.testing.assert_allclose(gradients[0], 3 * gradients[1], rtol=1e-6)


def test_options_that_a_rule_of_ones_own_does_not_have_are_an_error(mine):
  with pytest.raises(UsageError, match=r"config\.meta\.rule=.*'strengthh'"):
    build.teacher(config(strengthh=3.0), lambda step: meta.Rates(0, 0), toy.adams().t)


def test_a_task_of_ones_own_names_the_labels_that_it_reads():
  made = load("synthetic_seg", "weights=0.5")
  task = pixel_task(5)._replace(labels="detection")
  with pytest.raises(
    ConfigError, match="reads labels for detection, and they are for segmentation"
  ):
    build.experiment(made, task)
  assert build.experiment(made, task._replace(labels="segmentation")).method.task.labels
  assert build.experiment(made, pixel_task(5)).method.task.labels is None  # whatever there is


def test_f_starts_from_weights_by_name():
  """Expected: what another reader finds in the shipped file. G and T have no names."""
  config = load("synthetic_seg")
  config.init.f = config.init.g = "starter"
  fresh = partial(fusers.init_variables, fusers.fusion_network().network, jax.random.key(0))
  found = flatten_dict(initial._start(config, "f", fresh), sep="/")
  shipped = load_file(fusers.shipped_weights())
  assert found.keys() == shipped.keys()
  for name, array in found.items():
    np.testing.assert_array_equal(array, shipped[name])
  with pytest.raises(UsageError, match="starter does not exist"):
    initial._start(config, "g", fresh)
