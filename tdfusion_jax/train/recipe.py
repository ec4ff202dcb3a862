"""The recipe of the task stage, from the config's fields `optim.t.*`."""

from tdfusion_jax.config import Config, base
from tdfusion_jax.meta import Averaging
from tdfusion_jax.train import optimisers, task_optimiser
from tdfusion_jax.train.requiring import one_of, require

_SHARED = ("rule", "learning_rate", "eps")  # of optim.t, with the optimisers of F and G


def has_recipe(config: Config) -> bool:
  """Whether T steps by `task_optimiser`, and not as in the fusion stage."""
  return config.optim.t.rule == "auto" or bool(_changed(config))


def _changed(config: Config) -> list[str]:
  """Names in `optim.t` that only a recipe has and that are not as they are without one."""
  usual = base().optim.t
  return [name for name in usual if name not in _SHARED and config.optim.t[name] != usual[name]]


def check(config: Config) -> None:
  """Raises ConfigError for fields of `optim.t` that do not fit each other or the stage."""
  of_t, changed = config.optim.t, _changed(config)
  alone = config.stage == "task"
  one_of(config, "optim.t.rule", rules(alone=alone, recipe=bool(changed)))
  for name in changed:
    require(config, alone, f"optim.t.{name}", "is for stage='task', the config option task.")
  one_of(config, "optim.t.no_decay", task_optimiser.NO_DECAY)
  one_of(config, "optim.t.falls_by", task_optimiser.FALLS_BY)
  for name in ("momentum", "ema"):
    fits = 0 <= of_t[name] < 1
    require(config, fits, f"optim.t.{name}", "must be at least 0 and less than 1.")
  require(
    config,
    "momentum" not in changed or of_t.rule in ("nesterov", "auto"),
    "optim.t.momentum",
    f"is for optim.t.rule='nesterov', and it is {of_t.rule!r}.",
  )
  require(
    config, "ema_ramp" not in changed or of_t.ema > 0, "optim.t.ema_ramp", "needs optim.t.ema > 0."
  )
  require(config, of_t.ema_ramp > 0, "optim.t.ema_ramp", "must be above 0.")
  require(config, of_t.warmup_momentum < 1, "optim.t.warmup_momentum", "must be less than 1.")
  require(config, of_t.warmup_from <= 1, "optim.t.warmup_from", "must be at most 1.")
  require(
    config,
    not (alone and has_recipe(config) and config.optim.decay_every),
    "optim.decay_every",
    "does not go with a recipe, whose rates fall to optim.final_rate; set 0, or recipe=simple.",
  )


def rules(*, alone: bool, recipe: bool) -> tuple[str, ...]:
  """Names that `optim.t.rule` may have.

  Args:
    alone: in the task stage.
    recipe: with other fields of a recipe.
  """
  if alone and recipe:
    return (*task_optimiser.RULES, "auto")
  return (*optimisers.RULES, "auto") if alone else optimisers.RULES


def recipe_of(
  config: Config, steps_per_epoch: int, num_images: int, num_classes: int
) -> task_optimiser.Recipe:
  """How T steps in the task stage.

  Args:
    config: checked.
    steps_per_epoch: batches in an epoch.
    num_images: of an epoch.
    num_classes: of the data set.
  """
  recipe = task_optimiser.Recipe(
    **config.optim.t.to_dict(),
    warmup_steps=config.optim.warmup_steps,
    final_rate=config.optim.final_rate,
    batch_size=config.data.batch_size,
    steps_per_epoch=steps_per_epoch,
    epochs=config.train.epochs,
  )
  if recipe.rule == "auto":
    return task_optimiser.chosen_by_ultralytics(recipe, num_images, num_classes)
  return recipe


def averaging_of(config: Config) -> Averaging | None:
  """The moving average of T that `optim.t.ema` asks for."""
  of_t = config.optim.t
  return task_optimiser.averaging(of_t.ema, of_t.ema_ramp) if of_t.ema else None
