"""Everything a training run remembers, as arrays: the state *is* the checkpoint."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


class Params(NamedTuple):
  """What F, G and T have learned: pytrees of arrays, `{}` of a network that a run does not have."""

  f: Any
  """Of the fusion network F."""
  g: Any
  """Of the network G that weighs the fusion loss."""
  t: Any
  """Of the task network T."""
  t_stats: Any
  """T's running statistics."""


class Average(NamedTuple):
  """A moving average of T."""

  params: Any
  """Of T's parameters."""
  stats: Any
  """Of T's running statistics."""
  updates: jax.Array
  """[] int32, T's optimiser steps that are in it."""


class Averaging(NamedTuple):
  """How T is averaged."""

  init: Callable[[Any, Any], Average]
  """(t_params, t_stats) -> the average before the first step."""
  update: Callable[[Average, Params, Any], Average]
  """(average, params after the step, t_opt after it) -> average."""


class Optimisers(NamedTuple):
  """The update rules of F, G and T."""

  f: optax.GradientTransformation
  g: optax.GradientTransformation
  t: optax.GradientTransformation
  t_average: Averaging | None = None
  """None keeps no average of T."""


class TrainState(NamedTuple):
  """F, G, T, their optimisers and the clock.

  Pytrees of arrays only, so that it can be saved, donated and compared.
  """

  step: jax.Array
  """[] int32, steps done since the start, of every phase; also the position in the data."""
  key: jax.Array
  """The run's one PRNG key. A step draws from `fold_in(key, step)`: a resumed run draws what the
  unbroken one would."""
  params: Params
  f_opt: Any
  g_opt: Any
  t_opt: Any
  t_average: Average | None = None
  """Where T is averaged, its average."""

  @property
  def judged(self) -> Params:
    """What is validated and saved: `params`, with T's average in T's place if there is one."""
    if self.t_average is None:
      return self.params
    return self.params._replace(t=self.t_average.params, t_stats=self.t_average.stats)

  @property
  def next_key(self) -> jax.Array:
    """The PRNG key of the step that comes next."""
    return jax.random.fold_in(self.key, self.step)


def init_state(params: Params, optimisers: Optimisers, key: jax.Array) -> TrainState:
  """The state before the first step: `params`, and their optimisers at rest."""
  of_each = zip(optimisers[:3], (params.f, params.g, params.t), strict=True)
  f_opt, g_opt, t_opt = (rule.init(tree) for rule, tree in of_each)
  average = None
  if optimisers.t_average is not None:
    average = optimisers.t_average.init(params.t, params.t_stats)
  return TrainState(jnp.zeros((), jnp.int32), key, params, f_opt, g_opt, t_opt, average)
