"""What teaches G: a function that says, of G's parameters, how well they serve the task."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from tdfusion_jax.batch import Views
from tdfusion_jax.meta.method import Method
from tdfusion_jax.meta.state import TrainState


class Outer(NamedTuple):
  """What a G-step leaves besides G's gradient."""

  t_opt: Any
  """T's optimiser state, `state.t_opt` unless the teacher moved it."""
  f_grads: Any = None
  """dL_t/dF', which F follows in the same step (`Method.fuse_in_outer`), or None."""
  measured: dict[str, Any] = {}
  """{name: scalar} for the metric lines."""


Teacher = Callable[..., tuple[jax.Array, Outer]]
"""(method, g_params, state, mtr, mts, key) -> (objective, `Outer`).

`objective` is the scalar that G lowers, to be differentiated with respect to `g_params`. `state`
holds F, G and T as they are, `mtr` and `mts` are the meta-train and meta-test batches (`Views`),
`key` is the PRNG key of T's dropout. `lookahead` and `equilibrium` make teachers; a rule of your
own is a function like them, named in a config as `meta.rule="package.module:factory"`.
"""


def teach(
  teacher: Teacher, method: Method, state: TrainState, mtr: Views, mts: Views, key
) -> tuple[Any, Outer]:
  """The gradient that a teacher gives G.

  Args:
    teacher: what G lowers.
    method: functions and switches.
    state: F, G, T as they are.
    mtr: meta-train batch.
    mts: meta-test batch.
    key: PRNG key of T's dropout.

  Returns:
    (gradient like `state.params.g`, what else the teacher found).

  Raises:
    TypeError: the teacher returned something else than (objective, Outer).
  """

  def objective(g_params):
    found = teacher(method, g_params, state, mtr, mts, key)
    if not (isinstance(found, tuple) and len(found) == 2 and isinstance(found[1], Outer)):
      raise TypeError(f"a teacher returns (objective, meta.Outer), not {type(found).__name__}.")
    return found

  return jax.grad(objective, has_aux=True)(state.params.g)
