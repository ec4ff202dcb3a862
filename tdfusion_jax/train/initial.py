"""Where training starts: fresh weights, or those that `config.init` names."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from tdfusion_jax import fusers, meta, weightfiles
from tdfusion_jax.config import Config
from tdfusion_jax.meta import Method, Optimisers, Params, TrainState
from tdfusion_jax.train.networks import Networks, networks


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
  used = networks(config) if used is None else used
  key, f_key, g_key, t_key = jax.random.split(jax.random.key(config.seed), 4)
  image = jnp.zeros((1, *task_size, 1))
  f_params: Any = {}
  if config.stage == "task":
    image = how.fuse({}, image, image)
  else:
    f_params = _two_image_network(config, "f", used.fuser.network, f_key)
  g_params: Any = {}
  if config.loss.weights == "learned":
    g_params = _two_image_network(config, "g", used.weigher.network, g_key)
  t_params, t_stats = {}, {}
  if how.task is not None:
    init_task = how.task.init

    def fresh_task():
      params, stats = init_task(t_key, image)
      return {"params": params, "batch_stats": stats}

    variables = _start(config, "t", fresh_task)
    # A file of a network without running statistics holds none.
    t_params, t_stats = variables.get("params", {}), variables.get("batch_stats", {})
  return meta.init_state(Params(f_params, g_params, t_params, t_stats), rules, key)


def _two_image_network(config: Config, letter: str, network: Any, key: jax.Array) -> Any:
  """Parameters of F or G."""
  return _start(config, letter, partial(fusers.init_variables, network, key))["params"]


def _start(config: Config, letter: str, make: Callable[[], dict]) -> dict:
  """What `make` makes, {"params": ...} and the like, or what `init.<letter>` holds of the same."""
  path = config.init[letter]
  if not path:
    return make()
  loaded, _ = weightfiles.load_weights(path)
  matched = weightfiles.match(loaded, jax.eval_shape(make), f"{path} (init.{letter})")
  return jax.tree.map(jnp.asarray, matched)
