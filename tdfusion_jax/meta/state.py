"""Everything a training run remembers, as arrays: the state *is* the checkpoint."""

from typing import Any, NamedTuple

import jax


class TrainState(NamedTuple):
  """F, G, T, their optimisers and the clock. Pytrees of arrays only, so it can be saved, donated and compared."""

  step: jax.Array
  """[] int32, steps done since the start, of every phase; also the position in the data."""
  key: jax.Array
  """The run's one PRNG key; a step draws from `fold_in(key, step)`, as the unbroken run would after a resume."""
  f_params: Any
  g_params: Any
  t_params: Any
  t_stats: Any
  """T's running statistics."""
  f_opt: Any
  g_opt: Any
  t_opt: Any
