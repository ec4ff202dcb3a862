"""Configs: every file and option builds, typos and contradictions name the field."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from configs import CONFIGS, NAMES, load
from tdfusion_jax import fusers
from tdfusion_jax.config import ConfigError, shared
from tdfusion_jax.config.file import read_config
from tdfusion_jax.train import build, checks


def test_the_nine_configs_are_there():
  own, official = ["folder_det", "folder_seg"], ["fmb_seg", "llvip_det", "m3fd_det", "msrs_seg"]
  assert sorted([*own, *official, "first", "synthetic_det", "synthetic_seg"]) == NAMES


@pytest.mark.parametrize("options", ["", "runlocal"])
def test_the_configs_of_the_starter_weights_are_consistent(options):
  f, g = load("starter", options), load("starter_g", options)
  checks.check(f)
  checks.check(g)
  assert f.task.kind == "none" and f.loss.weights == "fixed"
  assert g.loss.weights == "learned" and Path(g.init.f) == fusers.shipped_weights()


@pytest.mark.parametrize("options", ["", "runlocal", "weights=0.75", "ablation=I", "task"])
def test_the_config_of_a_detector_that_stays_is_consistent(options):
  config = load("frozen_det", options)
  if options in ("", "runlocal"):  # all that is missing is the detector
    with pytest.raises(ConfigError, match="init.t"):
      checks.check(config)
  config.init.t = "detector.safetensors"
  checks.check(config)
  assert config.task.frozen == (options != "task")
  assert config.loss.alpha == 0 and config.data.crop_size is None


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
  "option",
  [
    "",
    "runlocal",
    "upstream",
    "weights=0.9",
    *(f"ablation={n}" for n in ("I", "II", "III", "IV", "V")),
  ],
)
def test_every_option_of_every_config_is_consistent(name, option):
  checks.check(load(name, option))


@pytest.mark.parametrize("name", NAMES)
def test_a_file_works_wherever_it_is_copied_to(name, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  shutil.copy(CONFIGS / f"{name}.py", tmp_path / "mine.py")
  assert read_config("mine.py", "runlocal", {}) == load(name, "runlocal")


@pytest.mark.parametrize("name", [n for n in NAMES if "synthetic" not in n and n != "first"])
def test_real_data_keep_the_papers_values(name):
  config = load(name)
  assert (config.loss.alpha, config.data.batch_size, config.train.epochs, config.meta.pairs) == (
    1.0,
    2,
    50,
    200,
  )
  assert {config.optim[k].learning_rate for k in "fgt"} == {1e-4}
  assert config.name == name


def test_upstream_departs_where_the_spec_says():
  config = load("llvip_det", "upstream,runlocal")
  assert (config.loss.intensity, config.meta.inner_task, config.optim.g.rule) == (
    "upstream",
    "adam",
    "max_norm_sgd",
  )
  assert (config.data.swap, config.optim.decay_every) == ("copy", 10)


@pytest.mark.parametrize(
  ("option", "message"),
  [
    ("runlokal", "'runlokal' is not known"),
    ("ablation=VI", "'ablation=VI' is not known"),
    ("weights=x", "weights=x"),
    ("runlocal=1", "'runlocal=1' is not known"),
    ("weights", "'weights' is not known"),
  ],
)
def test_unknown_options_are_errors(option, message):
  with pytest.raises(ConfigError, match=message):
    load("synthetic_det", option)


@pytest.mark.parametrize("name", NAMES)
def test_options_may_come_in_any_order(name):
  for options in (
    "runlocal,weights=0.3",
    "runlocal,ablation=I",
    "upstream,runlocal",
    "runlocal,task",
  ):
    config = load(name, options)
    checks.check(config)
    assert config == load(name, ",".join(reversed(options.split(","))))
    assert config.train.epochs <= 3
  assert load(name, "task").train.epochs == 300


def test_one_option_cannot_have_two_values():
  with pytest.raises(ConfigError, match=r"weights: 0\.3 or 0\.4"):
    load("synthetic_seg", "weights=0.3,weights=0.4")


def test_unknown_fields_are_errors():
  with pytest.raises(AttributeError, match="learning_rat"):
    load("synthetic_det").optim.f.learning_rat = 1.0


@pytest.mark.parametrize(
  ("changes", "field"),
  [
    ({"task.kind": "guess"}, "task.kind"),
    ({"loss.weights": "fixed"}, "meta.steps"),
    ({"loss.weights": "fixed", "meta.steps": 0, "loss.fixed_w_a": 0.9}, "data.swap"),
    ({"task.frozen": True}, "init.t"),
    ({"loss.none": True}, "meta.fuse_in_outer"),
    ({"data.task_size": (100, 128)}, "data.task_size"),
    ({"data.view": "letterbox"}, "data.view='letterbox': is for stage='task'"),
    ({"data.photometric": True}, "data.photometric=True: is for stage='task'"),
    ({"data.crop_view": (64, 64)}, "data.crop_view=.*is for masks"),
    ({"task.kind": "none", "meta.steps": 0}, "loss.weights"),
    ({"meta.damping": 0.1}, "is for meta.rule='gauss_newton', and it is 'lookahead'"),
    ({"meta.rule": "direct", "meta.inner_steps": 2}, "is for meta.rule='lookahead'"),
    ({"meta.inner_fuse": "adam", "optim.f.rule": "sgd"}, "optim.f.rule='adam'"),
    ({"task.statistics": "frozen"}, "needs a pretrained T"),
    ({"meta.anchor_to": 0.7}, "meta.anchor > 0"),
    ({"meta.rule": "equilibrium", "meta.anchor": 0.1, "meta.anchor_to": 0.7}, "data.swap='none'"),
    ({"log.every": 0}, "log.every=0: at least 1"),
    ({"fused.w_a": 0.7}, "fused.w_a=0.7: .*needs fused.images='average'"),
    ({"fused.images": "average", "fused.w_a": 1.1}, "fused.w_a=1.1: is not between 0 and 1"),
    ({"meta.fuse_in_outer": True, "meta.steps": 0}, "meta.steps=0 never trains F"),
    ({"meta.fuse_in_outer": True, "meta.rule": "equilibrium"}, "meta.rule='lookahead'"),
    (
      {"task.kind": "none", "loss.weights": "fixed", "meta.steps": 0, "loss.task_weight": 1.0},
      "loss.task_weight",
    ),
    ({"meta.rule_options": {"strength": 2}}, "meta.rule_options="),
    ({"meta.derivative": "magic"}, "meta.derivative='magic': one of forward_over_reverse"),
    (
      {
        "loss.weights": "truth",
        "meta.steps": 0,
        "log.validate_every": 0,
        "data.augment": "task",
        "data.crop_size": None,
      },
      "data.augment='none' or crops",
    ),
    ({"log.checkpoint_every": 0}, "log.checkpoint_every"),
    ({"train.epochs": -1}, "train.epochs"),
    ({"optim.f.learning_rate": -1.0}, "optim.f.learning_rate"),
    ({"meta.eta_f": float("nan")}, "meta.eta_f=nan"),
    ({"data.task_size": (96,)}, r"data.task_size=\(96,\): \(height, width\)"),
    ({"data.crop_size": (0, 64)}, "data.crop_size"),
  ],
)
def test_contradictions_name_the_field(changes, field):
  config = load("synthetic_det")
  config.update_from_flattened_dict(changes)
  with pytest.raises(ConfigError, match=field):
    checks.check(config)


def test_labels_of_another_task_are_an_error():
  config = load("synthetic_det")
  config.data.name = "synthetic_seg"
  with pytest.raises(ConfigError, match="task.kind='detection' does not fit synthetic_seg"):
    build.source(config, "train")


def test_both_splits_must_name_their_classes_alike(monkeypatch):
  """The names of a user's folder may come in another order, which no shape would tell."""
  sources = {
    "train": SimpleNamespace(classes=("person", "car")),
    "val": SimpleNamespace(classes=("car", "person")),
  }
  monkeypatch.setattr(build, "source", lambda config, split, own_task: sources[split])
  with pytest.raises(ConfigError, match="differently"):
    build.experiment(load("synthetic_det"))


def test_small_objects_teach_a_fresh_t_where_there_are_many():
  """M3FD's median object is 10 pixels at its size; LLVIP's people are 25 by 59."""
  eps = {name: load(name).task.options.assigner_eps for name in ("m3fd_det", "llvip_det")}
  assert eps == {"m3fd_det": shared.SMALL_OBJECTS, "llvip_det": 1e-9}
