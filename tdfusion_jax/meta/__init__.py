"""Learning the fusion loss: the steps of Algorithm 1 (paper, Eq. 4 to 9)."""

from tdfusion_jax.meta.lookahead import look_ahead, meta_objective
from tdfusion_jax.meta.steps import RULES, make_steps, meta_gradient

__all__ = ["RULES", "look_ahead", "make_steps", "meta_gradient", "meta_objective"]
