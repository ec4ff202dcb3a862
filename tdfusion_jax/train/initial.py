"""Where training starts: fresh weights, or those that `config.init` names."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from tdfusion_jax import fusers, meta, weightfiles
from tdfusion_jax.config import Config, ConfigError
from tdfusion_jax.meta import Method, Optimisers, Params, TrainState
from tdfusion_jax.train.networks import Networks, networks, uses_g


def init_state(
  config: Config,
  how: Method,
  rules: Optimisers,
  task_size: tuple[int, int],
  used: Networks | None = None,
) -> TrainState:
  """Where training starts: fresh or given weights, optimisers at rest.

  Args:
    config: its seed, and the weights that `init` names.
    how: functions and switches, of `build.method`.
    rules: update rules of F, G and T.
    task_size: (H, W) of what T sees.
    used: networks in the places of F and G; None makes those that `config` names.
  """
  key = jax.random.split(jax.random.key(config.seed), 4)[0]
  params = _params(config, how, task_size, used, partial(_start, config))
  return meta.init_state(params, rules, key)


def shapes(config: Config, how: Method, task_size: tuple[int, int]) -> Params:
  """Names, shapes and dtypes of F, G and T, whatever `init` names: what weight files have to fit.

  Args:
    config: of the networks.
    how: functions and switches, of `build.method`.
    task_size: (H, W) of what T sees.
  """
  return _params(config, how, task_size, None, lambda letter, make: jax.eval_shape(make))


# letter of the network, what makes it afresh -> its variables, {"params": ...} and the like
_Start = Callable[[str, Callable[[], dict]], Any]


def _params(
  config: Config, how: Method, task_size: tuple[int, int], used: Networks | None, start: _Start
) -> Params:
  used = networks(config) if used is None else used
  _, f_key, g_key, t_key = jax.random.split(jax.random.key(config.seed), 4)
  image = jnp.zeros((1, *task_size, 1))
  f_params: Any = {}
  if config.stage == "task":
    image = how.fuse({}, image, image)
  else:
    fresh_f = partial(fusers.init_variables, used.fuser.network, f_key)
    f_params = start("f", fresh_f)["params"]
  g_params: Any = {}
  if uses_g(config):
    fresh_g = partial(fusers.init_variables, used.weigher.network, g_key)
    g_params = start("g", fresh_g)["params"]
  t_params, t_stats = {}, {}
  if how.task is not None:
    init_task = how.task.init

    def fresh_task():
      params, stats = init_task(t_key, image)
      return {"params": params, "batch_stats": stats}

    variables = start("t", fresh_task)
    # A file of a network without running statistics holds none.
    t_params, t_stats = variables.get("params", {}), variables.get("batch_stats", {})
  return Params(f_params, g_params, t_params, t_stats)


def _start(config: Config, letter: str, make: Callable[[], dict]) -> dict:
  """What `make` makes, {"params": ...} and the like, or what `init.<letter>` holds of the same."""
  path = config.init[letter]
  if not path:
    return make()
  loaded, notes = weightfiles.load_weights(fusers.weights_file(path) if letter == "f" else path)
  try:
    matched = weightfiles.match(loaded, jax.eval_shape(make), f"{path} (init.{letter})")
  except weightfiles.CheckpointError as error:
    raise weightfiles.CheckpointError(f"{error}{_advice(config, letter, notes)}") from error
  return jax.tree.map(jnp.asarray, matched)


def _advice(config: Config, letter: str, notes: Mapping[str, Any]) -> str:
  """Fields of T's network that differ from those that its file was made with."""
  if letter != "t":
    return ""
  noted = notes.get("options", {})
  given = {"variant": config.task.variant, **config.task.options.to_dict()}
  fields = {"variant": "task.variant", "class_width": "task.options.class_width"}
  differing = [
    f"{field}={noted[name]}"
    for name, field in fields.items()
    if name in noted and noted[name] != given.get(name)
  ]
  return f"\nIt was made for --config.{' --config.'.join(differing)}" if differing else ""


def require_classes(config: Config, classes: Sequence[str]) -> None:
  """Raises ConfigError if a T that stays as it is knows other classes than the data.

  Args:
    config: names T's weights, `init.t`; T stays if it is frozen or there are no epochs.
    classes: of the data, in order.
  """
  stays = config.task.frozen or not config.train.epochs
  if not stays or not config.init.t:
    return
  names = weightfiles.load_weights(config.init.t)[1].get("classes")
  if names and list(names) != list(classes):
    wanted = ",".join(classes)
    raise ConfigError(
      f"config.init.t={config.init.t!r} knows {','.join(map(str, names))}, the data {wanted}, in "
      "this order: a class would be taken for another. `tdfusion convert --keep-classes "
      f"{wanted}` keeps those (write NEW=OLD where names differ)."
    )
