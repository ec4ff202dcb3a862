"""Recipes of the task stage: what a name sets for T's training, all in one table."""

from typing import Any

from tdfusion_jax.config.fields import Config, ConfigError

_ULTRALYTICS = {
  "data.batch_size": 16,
  "data.task_size": (640, 640),
  "data.view": "letterbox",
  "data.mosaic": 1.0,
  "data.close_mosaic": 10,
  "data.hsv_value": 0.4,
  "optim.t.rule": "nesterov",
  "optim.t.learning_rate": 0.01,
  "optim.t.momentum": 0.937,
  "optim.t.weight_decay": 5e-4,
  "optim.t.no_decay": "vectors",
  "optim.t.falls_by": "epoch",
  "optim.final_rate": 0.01,
  "optim.t.warmup_epochs": 3.0,
  "optim.warmup_steps": 100,
  "optim.t.warmup_from": 0.0,
  "optim.t.warmup_bias_rate": 0.1,
  "optim.t.warmup_momentum": 0.8,
  "optim.t.nominal_batch": 64,
  "optim.t.loss_times_batch": True,
  "optim.t.clip_norm": 10.0,
  "optim.t.ema": 0.9999,
  "task.options.multi_label": True,  # one class alone has one label anyway
  "task.options.candidates": 30_000,
}
_MMSEG = {
  "data.batch_size": 8,
  "data.crop_view": (512, 512),  # where the pairs' own size is known
  "data.cat_max_ratio": 0.75,
  "data.photometric": True,
  "optim.t.rule": "adamw",
  "optim.t.learning_rate": 6e-5,
  "optim.t.weight_decay": 0.01,
  "optim.t.no_decay": "norms",
  "optim.t.head_factor": 10.0,
  "optim.t.poly_power": 1.0,
  "optim.final_rate": 0.0,
  "optim.warmup_steps": 1500,
  "optim.t.warmup_from": 1e-6,
  "task.options.drop_path": 0.1,
  "task.options.momentum": 0.1,  # of a new batch in the head's running statistics
}
_SIMPLE = {"data.batch_size": 16, "optim.warmup_steps": 300}

# recipe -> labels of the task -> {field: value}
RECIPES: dict[str, dict[str, dict[str, Any]]] = {
  "ultralytics": {"detection": _ULTRALYTICS},
  "mmseg": {"segmentation": _MMSEG},
  "simple": {
    "detection": {
      **_SIMPLE,
      "optim.t.rule": "nesterov",
      "optim.t.learning_rate": 1e-2,
      "optim.final_rate": 0.01,
    },
    "segmentation": {
      **_SIMPLE,
      "optim.t.rule": "adamw",
      "optim.t.learning_rate": 1e-4,
      "optim.final_rate": 0.0,
    },
  },
}
USUAL = {"detection": "ultralytics", "segmentation": "mmseg"}
"""What the task stage takes if no recipe is named; `simple` for tasks of other kinds."""

SHORT: dict[str, dict[str, Any]] = {
  "ultralytics": {
    "data.close_mosaic": -1,
    "optim.warmup_steps": 10,
    "optim.t.warmup_epochs": 1.0,
    "optim.t.nominal_batch": 4,
  },
  "mmseg": {"data.crop_view": None, "optim.warmup_steps": 10},
  "simple": {"optim.warmup_steps": 10},
}
"""What `runlocal` changes of a recipe, whose numbers are for hundreds of epochs."""


def usual(config: Config) -> str:
  """The recipe for the kind of task that `config` has."""
  return USUAL.get(config.task.kind, "simple")


def use(config: Config, name: str, full_size: tuple[int, int] | None = None) -> None:
  """Sets the fields of a recipe.

  Args:
    config: of the task stage, with its kind of task.
    name: of `RECIPES`.
    full_size: (height, width) of the data set's pairs, for recipes with windows of whole pairs;
      None leaves `data.task_size`, and the windows are as large.

  Raises:
    ConfigError: no such recipe, or one for other labels.
  """
  if name not in RECIPES:
    raise ConfigError(f"config option recipe={name}: one of {', '.join(RECIPES)} is needed.")
  kind = config.task.kind
  of_kind = RECIPES[name]
  # Of any other task, such as one of Scenic's, nothing but its rule and rates is set here.
  fields = of_kind.get(kind if kind == "detection" else "segmentation")
  if fields is None or (name != "simple" and kind not in of_kind):
    fitting = ", ".join(other for other, kinds in RECIPES.items() if kind in kinds) or "simple"
    raise ConfigError(
      f"config.task.kind={kind!r}: recipe={name} is for {', '.join(of_kind)}; take "
      f"recipe={fitting.replace(', ', ' or recipe=')}."
    )
  fields = dict(fields)
  if "data.crop_view" in fields:
    if full_size is None:
      del fields["data.crop_view"]
    else:
      fields["data.task_size"] = full_size
  with config.unlocked():
    config.update_from_flattened_dict(fields)
