"""Everything a training run remembers, as arrays: the state *is* the checkpoint."""

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


class Optimisers(NamedTuple):
  """The update rules of F, G and T."""

  f: optax.GradientTransformation
  g: optax.GradientTransformation
  t: optax.GradientTransformation


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

  @property
  def next_key(self) -> jax.Array:
    """The PRNG key of the step that comes next."""
    return jax.random.fold_in(self.key, self.step)


def init_state(params: Params, optimisers: Optimisers, key: jax.Array) -> TrainState:
  """The state before the first step: `params`, and their optimisers at rest."""
  of_each = zip(optimisers, (params.f, params.g, params.t), strict=True)
  opts = [rule.init(tree) for rule, tree in of_each]
  return TrainState(jnp.zeros((), jnp.int32), key, params, *opts)
