"""How the learning steps are computed: on which devices, in how many parts, in which numbers."""

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh

from tdfusion_jax.config import Config
from tdfusion_jax.meta import Method
from tdfusion_jax.ops import compiling
from tdfusion_jax.train import devices, parts
from tdfusion_jax.train.networks import uses_g


def as_computed(config: Config, how: Method, mesh: Mesh | None) -> Method:
  """`how` with F, G and T as `train.dtype`, `train.accumulate` and the devices have it.

  Args:
    config: checked.
    how: functions and switches, of `method`.
    mesh: the devices that share each batch, or None.
  """
  changes: dict[str, Any] = {}
  if config.stage == "fusion":
    changes["fuse"] = _net_as_computed(config, how.fuse, mesh)
    if uses_g(config):
      changes["weigh"] = _net_as_computed(config, how.weigh, mesh)
  judge = how.task
  if judge is not None:
    if config.train.dtype != "float32":
      judge = parts.task_in_dtype(judge, config.train.dtype)
    if config.train.accumulate > 1:
      judge = parts.task_in_parts(judge, config.train.accumulate)
  return how._replace(**changes, task=judge)


def _net_as_computed(config: Config, net: Callable, mesh: Mesh | None) -> Callable:
  """F or G: each device takes its rows, cuts them into parts, and computes those in the dtype."""
  if config.train.dtype != "float32":
    net = parts.in_dtype(net, config.train.dtype)
  if config.train.accumulate > 1:
    net = parts.in_parts(net, config.train.accumulate)
  return net if mesh is None else devices.by_rows(net, mesh)


def compiled(step: Callable, mesh: Mesh | None) -> Callable:
  """A step of `meta.make_steps`, jitted for one device or a mesh, its state donated.

  With several processes the state before a step is kept: where another process is lost within the
  step, that is what can be saved.
  """
  if mesh is None:
    return compiling.jit(step, donate_argnums=0)
  given = () if jax.process_count() > 1 else (0,)
  return compiling.jit(step, donate_argnums=given, out_shardings=devices.everywhere(mesh))
