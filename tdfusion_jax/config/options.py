"""What stands after the colon of `--config=FILE:options`."""

from tdfusion_jax.config import recipes
from tdfusion_jax.config.fields import Config, ConfigError
from tdfusion_jax.config.typed import open_options

OPTIONS = ("runlocal", "paper", "upstream", "ablation=I..V", "weights=W", "task", "recipe=R")


ABLATIONS = ("I", "II", "III", "IV", "V")


def finish(
  config: Config,
  options: str | None,
  runlocal: dict,
  recipe: str = "",
  full_size: tuple[int, int] | None = None,
) -> Config:
  """Applies the options after the colon and locks the config, so that an unknown field is an error.

  Only the fields that hold a factory's arguments, such as `task.options`, accept further names.

  Options are applied in the order below, however they are written.

  Args:
    config: filled in.
    options: comma separated: `paper` for its own rule where a config has another; `upstream`;
      `runlocal`; `ablation=I` to `V`; `weights=W` for a fixed
      w_a; `task` for the stage that trains a T of its own on finished images (table 2), a short one
      beside `runlocal`; `recipe=R` for how, one of `recipes.RECIPES`.
    runlocal: {"a.b": value}, what shrinks this config to minutes on two CPU cores.
    recipe: of the task stage if the options name none; empty takes the usual one for the task.
    full_size: (height, width) of the data set's pairs, for a recipe that trains T on windows of
      them.

  Raises:
    ConfigError: unknown option, or a recipe that is for another kind of task.
  """
  config.lock()
  open_options(config)
  given = _parsed(options or "")
  if "paper" in given:
    _papers_rule(config)
  if "upstream" in given:
    _upstream(config)
  if "runlocal" in given:
    config.update_from_flattened_dict(runlocal)
  if "ablation" in given:
    _ablation(config, given["ablation"])
  if "weights" in given:
    _fixed_weights(config, _number(given["weights"]))
  if "recipe" in given and "task" not in given:
    raise ConfigError(
      "config option recipe is for the task stage: write it beside the option task."
    )
  if "task" in given:
    chosen = given.get("recipe") or recipe or recipes.usual(config)
    _task_stage(config)
    size = config.data.task_size
    recipes.use(config, chosen, full_size)
    if "runlocal" in given:
      config.data.task_size = size
      config.update_from_flattened_dict({**_SHORT_TASK, **recipes.SHORT[chosen]})
  return config


def _parsed(options: str) -> dict[str, str]:
  """{name: value} of `upstream,ablation=I`; the value of an option without one is empty."""
  names = [known.partition("=")[0] for known in OPTIONS]
  given: dict[str, str] = {}
  for option in filter(None, options.split(",")):
    name, equals, value = option.partition("=")
    # A value where there is one to give, and none elsewhere.
    valued = {"ablation": value in ABLATIONS, "weights": bool(value), "recipe": bool(value)}
    fits = valued.get(name, not equals)
    if name not in names or not fits:
      raise ConfigError(f"config option {option!r} is not known; there are: {', '.join(OPTIONS)}.")
    if given.setdefault(name, value) != value:
      raise ConfigError(f"config option {name}: {given[name]} or {value}?")
  return given


_SHORT_TASK = {
  "data.batch_size": 4,
  "train.epochs": 3,
  "log.validate_every": 1,
}


def _number(text: str) -> float:
  try:
    return float(text)
  except ValueError:
    raise ConfigError(f"config option weights={text}: a number from 0 to 1 is needed.") from None


def _papers_rule(config: Config) -> None:
  """G learns by Eq. 7 and nothing beside it, in a config that has another rule."""
  config.meta.rule, config.meta.anchor, config.meta.anchor_to = "lookahead", 0.0, 0.5
  config.loss.tone, config.loss.tone_held, config.loss.stride = 0.5, False, 1


def _upstream(config: Config) -> None:
  """The public code where it departs from the paper.

  Its swapped box axes are a defect and not reproduced.
  """
  config.loss.intensity = "upstream"
  config.meta.inner_task = "adam"
  config.optim.g.rule = "max_norm_sgd"
  config.data.swap = "copy"
  config.train.epochs = 40
  config.optim.decay_every = 10
  config.optim.decay_rate = 0.1


def _fixed_weights(config: Config, w_a: float) -> None:
  _papers_rule(config)  # nothing of another means anything without G
  config.loss.weights = "fixed"
  config.loss.fixed_w_a = w_a
  config.meta.steps = 0
  if w_a != 0.5:
    config.data.swap = "none"  # an unequal constant would follow the exchanged images


def _task_stage(config: Config) -> None:
  """Table 2 of the paper: 300 epochs of a fresh T. Its recipe comes on top."""
  config.stage = "task"
  _fixed_weights(config, 0.5)
  config.task.frozen = False
  config.data.crop_size = None
  config.data.swap = "none"
  config.data.flip, config.data.augment = True, "task"
  config.train.pretrain_steps = 0
  config.train.epochs = 300
  config.log.validate_every = 10
  config.optim.decay_every = 0


def _ablation(config: Config, number: str) -> None:
  """Table 3 of the paper."""
  _papers_rule(config)
  if number == "I":
    _fixed_weights(config, 0.5)
  elif number == "II":
    config.loss.alpha = 0.0
  elif number == "III":
    config.loss.task_weight = 1.0
  else:
    config.meta.fuse_in_outer = True
    config.loss.none = number == "V"
