"""Converted SegFormer and YOLOv8 weights as T, from a config.

They are where T starts, and it learns, or stays frozen. F and G are one convolution each here, so
that only T is large.
"""

import jax
import numpy as np
import published
import pytest
import tiny
from flax.traverse_util import flatten_dict

from configs import load
from tdfusion_jax.cli import main
from tdfusion_jax.config import ConfigError
from tdfusion_jax.convert.pth_write import write_pth
from tdfusion_jax.train import build
from tdfusion_jax.weightfiles import CheckpointError

CLASSES = {"synthetic_seg": 5, "synthetic_det": 3}
CASES = {
  "synthetic_seg": (published.huggingface(classes=19), 64),
  "synthetic_det": (published.yolov8(classes=20), 64),
}
SMALL = {
  **tiny.NETWORKS,
  "data.crop_size": (16, 16),
  "data.batch_size": 2,
  "data.train_options.count": 4,
  "data.val_options.count": 2,
  "data.cache_mb": 0,
  "meta.pairs": 2,
  "meta.steps": 1,
  "train.pretrain_steps": 0,
  "train.epochs": 1,
  "task.dropout": False,
}


@pytest.fixture(autouse=True)
def small_networks(monkeypatch):
  tiny.compile_quickly(monkeypatch)


def weights(shapes):
  """Signals neither vanish nor explode: 1 for scales and variances, small values elsewhere."""
  made = published.random(shapes)
  for key, value in made.items():
    if key.endswith("running_var") or (value.ndim == 1 and key.endswith("weight")):
      value[...] = 1
    elif value.ndim and "dfl" not in key:
      value *= 0.1 if value.ndim == 1 else value[0].size ** -0.5
  return made


def converted(kind, folder, *arguments):
  write_pth(folder / "in.pth", weights(CASES[kind][0]))
  out = folder / "t.safetensors"
  assert (
    main(["convert", str(folder / "in.pth"), "--in-channels", "1", "--out", str(out), *arguments])
    == 0
  )
  return out


def experiment(kind, file, frozen, **more):
  config, size = load(kind), CASES[kind][1]
  config.update_from_flattened_dict(
    {**SMALL, "data.task_size": (size, size), "task.frozen": frozen, **more}
  )
  config.init.t = str(file)
  return build.experiment(config)


def untouched(theirs, kind):
  """One array of the file in this package's layout, named and turned by hand."""
  if kind == "synthetic_seg":
    name, path = "segformer.encoder.block.1.0.mlp.dense1", ("backbone", "block2_0", "mlp", "fc1")
  else:
    name, path = "model.2.cv1.conv", ("backbone", "dark2_1", "cv1", "conv")
  kernel = theirs[f"{name}.weight"]
  return path, kernel.T if kernel.ndim == 2 else kernel.transpose(2, 3, 1, 0)


def equal(one, other):
  one, other = flatten_dict(one), flatten_dict(other)
  return {path: np.array_equal(one[path], other[path]) for path in one}


@pytest.mark.slow  # compiles two passes through each whole task network
@pytest.mark.parametrize("kind", CASES)
def test_converted_weights_are_where_t_starts_and_it_trains_or_stays(kind, tmp_path, capsys):
  """The F/T-step moves all of T, unless it is frozen; frozen it can still teach G."""
  file = converted(kind, tmp_path, "--num-classes", str(CLASSES[kind]))
  said = capsys.readouterr().out
  assert "made anew, not trained: " in said and f"({CLASSES[kind]} classes)" in said
  path, expected = untouched(weights(CASES[kind][0]), kind)
  for frozen in (True, False):
    made = experiment(kind, file, frozen)
    state = made.init()
    np.testing.assert_array_equal(flatten_dict(state.params.t)[(*path, "kernel")], expected)
    start = jax.tree.map(np.asarray, (state.params.t, state.params.t_stats, state.params.g))
    if frozen:  # what a G-step does with a T that learns is in test_meta
      state, measured = made.g_step(state, build.to_device(made.steps[0]))
      assert np.isfinite(measured["task_loss_outer"]) and measured["g_grad_norm"] > 0
      assert not any(equal(state.params.g, start[2]).values()) and all(
        equal(state.params.t_stats, start[1]).values()
      )
    state, measured = made.ft_step(state, build.to_device(made.steps[1]))
    kept = equal(state.params.t, start[0])
    if frozen:
      assert all(kept.values()) and all(equal(state.params.t_stats, start[1]).values())
    else:  # a branch of YOLO's head learns nothing from a scene without boxes of its size
      assert np.isfinite(measured["task_loss"]) and not any(
        equal(state.params.t_stats, start[1]).values()
      )
      assert len(kept) > 100 and not any(
        same for path, same in kept.items() if path[0] == "backbone"
      )


def test_a_t_that_stays_must_know_the_datas_classes_in_their_order(tmp_path):
  """The data's are person, car, sign."""
  file = converted("synthetic_det", tmp_path, "--keep-classes", "person=1,sign=2,car=3")
  with pytest.raises(ConfigError, match="knows person,sign,car, the data person,car,sign, in this"):
    experiment("synthetic_det", file, frozen=True)
  with pytest.raises(ConfigError, match="a class would be taken for another"):
    experiment("synthetic_det", file, frozen=False, **{"train.epochs": 0})
  experiment("synthetic_det", file, frozen=False)  # it learns the data's order
  file = converted("synthetic_det", tmp_path, "--keep-classes", "person=1,car=3,sign=2")
  experiment("synthetic_det", file, frozen=True)


def test_weights_of_another_width_say_which_field_they_need(tmp_path):
  """80 classes: the branch that tells them apart stays 80 wide with two of them."""
  write_pth(tmp_path / "in.pth", weights(published.yolov8(classes=80)))
  out = tmp_path / "t.safetensors"
  command = ["convert", str(tmp_path / "in.pth"), "--in-channels", "1", "--out", str(out)]
  assert main([*command, "--keep-classes", "person,stop sign,car"]) == 0
  with pytest.raises(CheckpointError, match=r"task\.options\.class_width=80$"):
    experiment("synthetic_det", out, frozen=False).init()


def test_another_number_of_classes_than_the_datas_is_an_error(tmp_path):
  file = converted("synthetic_seg", tmp_path)
  with pytest.raises(
    CheckpointError, match=r"(?s)\(init\.t\).*linear_pred/kernel is \(256, 19\), not \(256, 5\)"
  ):
    experiment("synthetic_seg", file, False).init()
