"""Recipes of the task stage: what a name sets, and which fit a task."""

import json

import pytest

from configs import CONFIGS, NAMES, load
from tdfusion_jax import main
from tdfusion_jax.config import ConfigError, recipes
from tdfusion_jax.config.commandline import parse_config
from tdfusion_jax.train import checks


@pytest.mark.parametrize("name", NAMES)
def test_the_usual_recipe_is_that_of_the_network(name):
  config = load(name, "task")
  checks.check(config)
  usual = recipes.USUAL[config.task.kind]
  built_in = name.startswith(("first", "synthetic"))
  assert (config == load(name, f"task,recipe={usual}")) == (not built_in)
  assert (config == load(name, "task,recipe=simple")) == built_in


def test_simple_is_what_the_stage_did_before_there_were_recipes():
  """Expected: the fields as they were, of both kinds of task."""
  for name, rule, rate, final in (
    ("llvip_det", "nesterov", 1e-2, 0.01),
    ("msrs_seg", "adamw", 1e-4, 0.0),
  ):
    config, before = load(name, "task,recipe=simple"), load(name)
    assert config.optim.t.to_dict() == {**before.optim.t, "rule": rule, "learning_rate": rate}
    assert (config.optim.final_rate, config.optim.warmup_steps) == (final, 300)
    assert config.data.batch_size == 16 and config.data.task_size == before.data.task_size
    assert config.data.view == "resize"
    assert config.task.options.to_dict() == before.task.options.to_dict()


def test_boxes_are_chosen_as_in_the_package_and_assigned_as_published():
  options = load("llvip_det", "task").task.options
  assert (options.multi_label, options.candidates) == (True, 30_000)
  assert "assigner_least_side" not in options


def test_every_field_of_a_recipe_is_one_of_the_config():
  for name, kinds in recipes.RECIPES.items():
    for kind, fields in kinds.items():
      config = load(
        {"detection": "llvip_det", "segmentation": "msrs_seg"}[kind], f"task,recipe={name}"
      )
      found = json.loads(config.to_json())
      for field, value in fields.items():
        place = found
        for part in field.split("."):
          place = place[part]
        assert place == (list(value) if isinstance(value, tuple) else value), field


def test_masks_are_trained_on_windows_of_whole_pairs_where_their_size_is_known():
  for name, size, window in (
    ("msrs_seg", (480, 640), (512, 512)),
    ("fmb_seg", (600, 800), (512, 512)),
    ("folder_seg", (240, 320), None),
  ):
    data = load(name, "task").data
    assert (data.task_size, data.crop_view) == (size, window)
  assert load("msrs_seg", "runlocal,task").data.crop_view is None
  assert load("msrs_seg", "runlocal,task").data.task_size == (120, 160)


def test_single_parts_are_set_afterwards():
  file = f"{CONFIGS / 'llvip_det.py'}:task,recipe=ultralytics"
  changes = ["--config.optim.t.ema=0", "--config.data.view=resize"]
  config = parse_config(main.parser(), [f"--config={file}", "--workdir=run", *changes]).config
  assert config.optim.t.ema == 0 and config.data.view == "resize"
  assert config.optim.t.clip_norm == 10


@pytest.mark.parametrize(
  ("name", "options", "message"),
  [
    ("llvip_det", "task,recipe=mmseg", "task.kind='detection': recipe=mmseg is for segmentation"),
    ("msrs_seg", "task,recipe=ultralytics", "take recipe=mmseg or recipe=simple"),
    ("msrs_seg", "task,recipe=best", "recipe=best: one of ultralytics, mmseg, simple"),
    ("msrs_seg", "recipe=simple", "recipe is for the task stage"),
    ("msrs_seg", "task,recipe", "'recipe' is not known"),
    ("starter", "task,recipe=mmseg", "task.kind='none': recipe=mmseg"),
  ],
)
def test_a_recipe_that_does_not_fit_is_an_error(name, options, message):
  with pytest.raises(ConfigError, match=message):
    load(name, options)
