"""Scenic models as T and our SegFormer as one, with a stand-in of Scenic's documented interface."""

import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny
from runs import TINY, rows

from configs import load
from tdfusion_jax.batch import SegTarget
from tdfusion_jax.config import ConfigError
from tdfusion_jax.integrations import scenic
from tdfusion_jax.networks.segformer import SegFormer
from tdfusion_jax.train import build
from tdfusion_jax.train.loop import train


class Net(nn.Module):
  """Two layers with running statistics and dropout, called as Scenic calls its networks."""

  num_classes: int

  @nn.compact
  def __call__(self, x, *, train: bool, debug: bool = False):
    assert x.shape[-1] == 3
    x = nn.Conv(4, (3, 3))(x)
    x = nn.BatchNorm(use_running_average=not train)(x)
    x = nn.Dropout(0.1, deterministic=not train)(nn.relu(x))
    return nn.Conv(self.num_classes, (1, 1))(x)


class StandIn:
  """The interface of scenic.model_lib.base_models.segmentation_model.SegmentationModel."""

  def __init__(self, config, dataset_meta_data):
    self.config = config if config is not None else self.default_flax_model_config()
    self.dataset_meta_data = dataset_meta_data
    self.flax_model = self.build_flax_model()

  def default_flax_model_config(self):
    return None

  def build_flax_model(self):
    return Net(self.dataset_meta_data["num_classes"])

  def loss_function(self, logits, batch, model_params=None):
    del model_params
    assert not self.dataset_meta_data["target_is_onehot"]
    error = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
    return jnp.sum(error * batch["batch_mask"]) / jnp.maximum(jnp.sum(batch["batch_mask"]), 1)

  def get_metrics_fn(self, split=None):
    del split

    def measure(logits, batch):
      right = (jnp.argmax(logits, -1) == batch["label"]) * batch["batch_mask"]
      sums = {"accuracy": (jnp.sum(right), jnp.sum(batch["batch_mask"]))}
      return jax.lax.psum(sums, axis_name="batch")

    return measure


NAME = f"{__name__}:StandIn"


def test_the_task_masks_unknown_pixels_and_repeats_gray_images():
  """The mean cross-entropy of the known pixels alone, from optax."""
  task = scenic.task_from_names(3, model=NAME)
  images = jnp.asarray(np.random.default_rng(0).random((2, 8, 8, 1), np.float32))
  params, stats = task.init(jax.random.key(0), images)
  assert set(stats) == {"batch_stats"}
  labels = np.random.default_rng(1).integers(0, 3, (2, 8, 8)).astype(np.int32)
  labels[:, ::2] = 255
  logits, moved = task.apply(params, stats, images, train=True)
  expected = optax.softmax_cross_entropy_with_integer_labels(
    logits[:, 1::2], labels[:, 1::2]
  ).mean()
  np.testing.assert_allclose(task.loss(logits, SegTarget(labels))[0], expected, rtol=1e-6)
  before, after = jax.tree.leaves(stats), jax.tree.leaves(moved)
  assert any(not np.array_equal(a, b) for a, b in zip(before, after, strict=True))
  again, same = task.apply(params, stats, images, train=False)
  assert same is stats
  np.testing.assert_array_equal(
    task.predict(params, stats, images)["labels"], jnp.argmax(again, -1)
  )


def test_metrics_work_outside_of_a_mapped_axis():
  """Half of the known pixels are right; the unknown one does not count."""
  measure = scenic.metrics(StandIn(None, {"num_classes": 2, "target_is_onehot": False}))
  logits = jnp.asarray([[[[2.0, 0], [0, 2.0], [2.0, 0]]]])
  assert float(measure(logits, SegTarget(np.array([[[0, 0, 255]]])))["accuracy"]) == 0.5


def scenic_config(model):
  made = load("synthetic_seg")
  with made.unlocked():
    made.task.options = {"model": model}
  small = {key: value for key, value in TINY.items() if key != "train.pretrain_steps"}
  small |= {
    "fusion.network": "tiny:fuser",
    "loss.weights": "fixed",
    "meta.steps": 0,
    "log.checkpoint_every": 1000,
  }  # what the meta step does with a T is in test_meta
  made.update_from_flattened_dict({**small, "task.kind": "scenic", "train.epochs": 1})
  return made


def test_a_scenic_model_trains_as_t_from_a_config(tmp_path):
  from flax.traverse_util import flatten_dict

  from tdfusion_jax.weightfiles import load_weights

  made = scenic_config(NAME)
  start = build.experiment(made).init()
  state = train(made, tmp_path)
  moved = flatten_dict(state.params.t)
  assert any(
    not np.array_equal(moved[path], value) for path, value in flatten_dict(start.params.t).items()
  )
  assert all(np.isfinite(value).all() for value in moved.values()) and rows(tmp_path)
  assert load_weights(tmp_path / "weights" / "t.safetensors")[1]["arch"] == "scenic"


OURS = scenic.segformer_model_class(StandIn)


OF_A_WHOLE_NETWORK = pytest.mark.slow  # two passes through SegFormer take long to compile


@pytest.mark.parametrize("name", [NAME, pytest.param(f"{__name__}:OURS", marks=OF_A_WHOLE_NETWORK)])
def test_a_scenic_model_teaches_g_through_the_meta_step(name, monkeypatch):
  """Eq. 6 from a config: G moves by a gradient through the Scenic model, which stays as it is."""
  tiny.compile_quickly(monkeypatch)
  made = load("synthetic_seg")
  with made.unlocked():
    made.task.options = {"model": name}
  made.update_from_flattened_dict(
    {
      **TINY,
      **tiny.NETWORKS,
      "task.kind": "scenic",
      "train.pretrain_steps": 0,
      "meta.steps": 1,
    }
  )
  experiment = build.experiment(made)
  state = experiment.init()
  before = jax.tree.map(
    np.asarray, {"g": state.params.g, "t": state.params.t, "stats": state.params.t_stats}
  )
  state, measured = experiment.g_step(state, build.to_device(experiment.steps[0]))
  assert measured["g_grad_norm"] > 0 and np.isfinite(measured["g_grad_norm"])
  assert (
    np.isfinite(measured["task_loss_inner"])
    and measured["task_loss_inner"] != measured["task_loss_outer"]
  )
  now = {"g": state.params.g, "t": state.params.t, "stats": state.params.t_stats}
  same = {
    part: jax.tree.leaves(jax.tree.map(np.array_equal, now[part], before[part])) for part in now
  }
  assert not any(same["g"]) and all(same["t"]) and all(same["stats"]) and len(same["t"]) > 3


def test_without_scenic_the_error_says_which_one_and_how(monkeypatch):
  monkeypatch.setitem(sys.modules, "scenic", None)  # as if it were not installed
  with pytest.raises(ConfigError, match=r"(?s)unrelated project.*git checkout [0-9a-f]{40}"):
    build.experiment(scenic_config("scenic.projects.baselines.unet:UNetSegmentationModel"))


@pytest.mark.parametrize("content", ["", "import a_package_that_it_needs_and_nobody_has"])
def test_the_other_scenic_is_recognised(monkeypatch, tmp_path, content):
  """PyPI's package: same import name, no model_lib; its import needs much that is missing."""
  (tmp_path / "scenic").mkdir()
  (tmp_path / "scenic" / "__init__.py").write_text(content)
  monkeypatch.syspath_prepend(str(tmp_path))
  for name in [name for name in sys.modules if name.split(".")[0] == "scenic"]:
    monkeypatch.delitem(sys.modules, name)
  with pytest.raises(scenic.ScenicError, match="is not google-research/scenic"):
    scenic.segformer_model_class()
  sys.modules.pop("scenic", None)


def test_the_right_scenic_is_used(monkeypatch, tmp_path):
  (tmp_path / "scenic" / "model_lib").mkdir(parents=True)
  (tmp_path / "scenic" / "__init__.py").write_text("")
  (tmp_path / "scenic" / "model_lib" / "__init__.py").write_text("class Model: pass")
  monkeypatch.syspath_prepend(str(tmp_path))
  assert scenic.load_model_class("scenic.model_lib:Model").__name__ == "Model"
  with pytest.raises(scenic.ScenicError, match="cannot be imported"):
    scenic.load_model_class("scenic.model_lib:Other")
  for name in ("scenic", "scenic.model_lib"):
    sys.modules.pop(name, None)


@pytest.mark.parametrize(
  ("name", "message"), [("", "write package.module:Class"), ("json:Nothing", "cannot be imported")]
)
def test_wrong_model_names_are_errors(name, message):
  with pytest.raises(scenic.ScenicError, match=message):
    scenic.task_from_names(2, model=name)


def test_our_segformer_is_a_scenic_model():
  """Called as Scenic calls it, it gives the logits of the plain network."""
  made = scenic.segformer_model_class(StandIn)(None, {"num_classes": 4, "target_is_onehot": False})
  images = jnp.asarray(np.random.default_rng(0).random((1, 32, 32, 3), np.float32))
  shapes = jax.eval_shape(
    lambda: made.flax_model.init(jax.random.key(0), images, train=False, debug=False)
  )
  rng = np.random.default_rng(1)
  variables = jax.tree.map(
    lambda x: jnp.asarray(np.abs(rng.standard_normal(x.shape, np.float32)) / 20), shapes
  )
  logits = made.flax_model.apply(variables, images, train=False, debug=False)
  np.testing.assert_array_equal(logits, SegFormer(4, "b0").apply(variables, images))
  assert logits.shape == (1, 32, 32, 4) and np.ptp(logits) > 0
