"""Learning the fusion loss: the steps of Algorithm 1 (paper, Eq. 4 to 9).

`lookahead` is Eq. 4 to 7, `make_steps` Eq. 8 and 9 and the order of all.
"""

# The factories have their modules' names, which stay the modules: `meta.lookahead.lookahead`.
from tdfusion_jax.meta.anchor import anchored
from tdfusion_jax.meta.equilibrium import direct as _direct
from tdfusion_jax.meta.equilibrium import equilibrium as _equilibrium
from tdfusion_jax.meta.gauss_newton import Solve
from tdfusion_jax.meta.gauss_newton import gauss_newton as _gauss_newton
from tdfusion_jax.meta.lookahead import Inner, Rates, look_ahead, meta_gradient, meta_objective
from tdfusion_jax.meta.lookahead import lookahead as _lookahead
from tdfusion_jax.meta.method import Method
from tdfusion_jax.meta.state import Average, Averaging, Optimisers, Params, TrainState, init_state
from tdfusion_jax.meta.steps import make_steps
from tdfusion_jax.meta.teacher import Outer, Teacher, teach

RULES = {
  "lookahead": _lookahead,
  "equilibrium": _equilibrium,
  "gauss_newton": _gauss_newton,
  "direct": _direct,
}
"""What can teach G by name: factories of a `Teacher`."""

__all__ = [
  "RULES",
  "Average",
  "Averaging",
  "Inner",
  "Method",
  "Optimisers",
  "Outer",
  "Params",
  "Rates",
  "Solve",
  "Teacher",
  "TrainState",
  "anchored",
  "init_state",
  "look_ahead",
  "make_steps",
  "meta_gradient",
  "meta_objective",
  "teach",
]
