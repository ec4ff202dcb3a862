"""An anchor for G's weights: what leaves a constant has to be worth it. For every teacher."""

import jax
import jax.numpy as jnp
from jax.scipy.special import xlogy

from tdfusion_jax.batch import Views
from tdfusion_jax.meta.method import Method
from tdfusion_jax.meta.state import TrainState
from tdfusion_jax.meta.teacher import Teacher


def anchored(teacher: Teacher, anchor: float, toward: float = 0.5) -> Teacher:
  """`teacher`, with the weights held to p = (c, 1 - c), `c = toward`.

  With `anchor` = lambda > 0 each pixel also has to say why it leaves p: 1/2, or the constant that
  is best without G. G then lowers

      L / [L_t] + lambda mean_pixels KL(w || p),    KL(w || p) = sum_k w_k log(w_k / p_k)

  where L is the teacher's objective and [L_t] the task loss that it measured, taken as a constant,
  so that lambda means the same for every task loss. The mean is over the whole pairs of `mts`.
  Without an anchor a slight common advantage of one modality takes G to that modality everywhere,
  if G learns faster than T.

  Args:
    teacher: it measures "task_loss_outer".
    anchor: lambda, >= 0; 0 gives `teacher` itself.
    toward: c in (0, 1), the w_a that the anchor holds to.
  """
  if not anchor:
    return teacher

  def held(method: Method, g_params, state: TrainState, mtr: Views, mts: Views, key):
    whole = mts.whole
    weights = method.weigh(g_params, whole.ir, whole.vi)

    def weigh(params, ir, vi):
      # What is known already is not computed again: G's passes are dear beside a small T.
      if params is g_params and ir is whole.ir and vi is whole.vi:
        return weights
      return method.weigh(params, ir, vi)

    known = method._replace(weigh=weigh)
    loss, outer = teacher(known, g_params, state, mtr, mts, key)
    departure = _departure(weights, toward)
    judged = jax.lax.stop_gradient(outer.measured["task_loss_outer"])
    measured = {**outer.measured, "departure": departure}
    return loss / judged + anchor * departure, outer._replace(measured=measured)

  return held


def _departure(weights: jax.Array, toward: float) -> jax.Array:
  """Mean over pixels of KL(w || (toward, 1 - toward)), >= 0."""
  constant = jnp.array([toward, 1 - toward], weights.dtype).reshape(1, 1, 1, 2)
  return jnp.mean(jnp.sum(xlogy(weights, weights / constant), axis=-1))
