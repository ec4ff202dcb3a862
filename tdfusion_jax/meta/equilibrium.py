"""Another teacher for G: judge the image that L_f would lead to, not one step towards it."""

import jax
import jax.numpy as jnp
from jax.scipy.special import xlogy

from tdfusion_jax.batch import Views
from tdfusion_jax.meta.method import Method, task_loss
from tdfusion_jax.meta.state import TrainState
from tdfusion_jax.meta.teacher import Outer, Teacher


def equilibrium(anchor: float = 0.0, toward: float = 0.5) -> Teacher:
  """L_t(T(I*)) with `I* = w_a a + w_b b`, the image at which the intensity term of L_f rests.

  In the paper G sees its effect through one step of F (Eq. 4), whose few shared parameters turn
  what one pixel wants into a push on all pixels alike. Here F is taken at its goal: for given
  weights (w_a + w_b = 1), `argmin_I  w_a (I - a)^2 + w_b (I - b)^2 = w_a a + w_b b` in every pixel
  by itself, so that

      dL_t/dw_a = dL_t/dI* (a - b)

  credits each pixel for its own choice, without second order and at the cost of one pass through G
  and T. The gradient term of L_f is left out (its share is alpha), and so is whatever F cannot
  follow.

  With `anchor` = lambda > 0 each pixel also has to say why it leaves p = (c, 1 - c), `c = toward`:
  1/2, or the constant that is best without G. G then lowers

      L_t(T(I*)) / [L_t(T(I*))] + lambda mean_pixels KL(w || p),
      KL(w || p) = sum_k w_k log(w_k / p_k)

  where [.] is taken as a constant, so that lambda means the same for every task loss. A pixel's
  weights rest where `log(w_a / w_b) = log(p_a / p_b) - (pixels / lambda) dlog L_t/dI* (a - b)`: at
  p where the task does not care. Without it a slight common advantage of one modality takes G to
  that modality everywhere, if G learns faster than T.

  The teacher judges by the whole pairs of `mts`, with T as it is; `mtr` is not used.

  Args:
    anchor: lambda, >= 0; 0 is no anchor.
    toward: c in (0, 1), the w_a that the anchor holds to.
  """

  def teacher(method: Method, g_params, state: TrainState, mtr: Views, mts: Views, key):
    del mtr
    pair, params = mts.whole, state.params
    weights = method.weigh(g_params, pair.ir, pair.vi)
    images = jnp.concatenate([pair.ir, pair.vi], axis=-1)
    rest = jnp.sum(weights * images, axis=-1, keepdims=True)
    loss, judged = task_loss(method, params.t, params.t_stats, rest, pair.target, key)
    measured = {"task_loss_outer": loss, "w_a": weights[..., 0].mean(), **judged.parts}
    if not anchor:
      return loss, Outer(state.t_opt, measured=measured)
    departure = _departure(weights, toward)
    objective = loss / jax.lax.stop_gradient(loss) + anchor * departure
    return objective, Outer(state.t_opt, measured={**measured, "departure": departure})

  return teacher


def _departure(weights: jax.Array, toward: float) -> jax.Array:
  """Mean over pixels of KL(w || (toward, 1 - toward)), >= 0."""
  constant = jnp.array([toward, 1 - toward], weights.dtype).reshape(1, 1, 1, 2)
  return jnp.mean(jnp.sum(xlogy(weights, weights / constant), axis=-1))
