"""`loss.weights="given"`: F alone is trained, after a G that stays as its file has it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from runs import rows

from configs import load
from tdfusion_jax import fusers
from tdfusion_jax.config import ConfigError
from tdfusion_jax.data import val_batches
from tdfusion_jax.losses.fusion import fusion_loss
from tdfusion_jax.train import build
from tdfusion_jax.train.checks import check
from tdfusion_jax.train.loop import train
from tdfusion_jax.weightfiles import load_weights, save_weights

GIVEN = {"loss.weights": "given", "meta.steps": 0}


@pytest.fixture
def g_file(tmp_path):
  """A G that takes infrared where the sum of both images is small."""
  params = fusers.init_variables(tiny.weigher().network, jax.random.key(5))["params"]
  file = tmp_path / "g.safetensors"
  save_weights(file, {"params": params}, {"arch": "one"})
  return file


def config(**changes):
  made = load("synthetic_det")
  made.update_from_flattened_dict({**tiny.SHORT_RUN, **GIVEN, **changes})
  return made


def test_f_learns_after_a_g_that_stays(g_file, tmp_path, monkeypatch):
  tiny.compile_quickly(monkeypatch)
  how = config(**{"init.g": str(g_file), "optim.f.learning_rate": 0.05, "data.crop_size": None})
  run = tmp_path / "run"
  train(how, run)
  given, left = (load_weights(file)[0] for file in (g_file, run / "weights" / "g.safetensors"))
  jax.tree.map(np.testing.assert_array_equal, given, left)
  losses = [row["val/fusion_loss"] for row in rows(run) if row["phase"] == "val"]
  assert 0 < losses[-1] < losses[0]
  # By hand: the loss of the validation pairs under that G's weights.
  f_params = load_weights(run / "weights" / "f.safetensors")[0]["params"]
  val = build.source(how, "val")
  each = []
  for pair in val_batches(val, batch_size=1, task_size=(32, 64), max_boxes=64):
    ir, vi = jnp.asarray(pair.ir), jnp.asarray(pair.vi)
    weights = tiny.weigher()(given["params"], ir, vi)
    each.append(
      fusion_loss(tiny.fuser()(f_params, ir, vi), ir, vi, weights, alpha=how.loss.alpha)[0]
    )
  assert losses[-1] == pytest.approx(float(np.mean(each)), rel=1e-5)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({}, "init.g"),
    ({"init.g": "g.safetensors", "meta.steps": 3}, "loss.weights='learned'"),
    ({"init.g": "g.safetensors", "loss.none": True, "meta.fuse_in_outer": True}, "loss.none"),
    ({"init.g": "g.safetensors", "loss.tone_held": True}, "data.crop_size=None"),
  ],
)
def test_contradictions_name_the_field(changes, message):
  with pytest.raises(ConfigError, match=message):
    check(config(**changes))
