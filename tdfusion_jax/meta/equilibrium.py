"""A teacher for G beside the paper's: judge the image that L_f would lead to, not one step towards it."""

import jax
import jax.numpy as jnp
from jax.scipy.special import xlogy

from tdfusion_jax.batch import Views
from tdfusion_jax.meta.method import Method, task_loss
from tdfusion_jax.meta.state import TrainState


def equilibrium_objective(g_params, method: Method, state: TrainState, mts: Views, key):
  """L_t(T(I*)) with `I* = w_a a + w_b b`, the image at which the intensity term of L_f rests.

  In the paper G sees its effect through one step of F (Eq. 4), whose few shared parameters turn
  what one pixel wants into a push on all pixels alike. Here F is taken at its goal: for given
  weights (w_a + w_b = 1), `argmin_I  w_a (I - a)^2 + w_b (I - b)^2 = w_a a + w_b b` in every pixel
  by itself, so that

      dL_t/dw_a = dL_t/dI* (a - b)

  credits each pixel for its own choice, without second order and at the cost of one pass through G
  and T. The gradient term of L_f is left out (its share is alpha), and so is whatever F cannot
  follow.

  With `method.anchor` = lambda > 0 each pixel also has to say why it leaves p = (c, 1 - c), `c =
  method.anchor_to`: 1/2, or the constant that is best without G. G then lowers

      L_t(T(I*)) / [L_t(T(I*))] + lambda mean_pixels KL(w || p),
      KL(w || p) = sum_k w_k log(w_k / p_k)

  where [.] is taken as a constant, so that lambda means the same for every task loss. A pixel's
  weights rest where `log(w_a / w_b) = log(p_a / p_b) - (pixels / lambda) dlog L_t/dI* (a - b)`: at
  p where the task does not care. Without it a slight common advantage of one modality takes G to
  that modality everywhere, if G learns faster than T.

  Args:
    g_params: of G.
    method, state: functions and where F, G, T stand; T is taken as it is.
    mts: the batch that judges; its whole view is used.
    key: PRNG key of T's dropout.

  Returns:
    (what G is to lower, (T's optimiser state, None, {name: scalar})), like `meta.meta_objective`.
  """
  pair = mts.whole
  weights = method.weigh(g_params, pair.ir, pair.vi)
  image = jnp.sum(weights * jnp.concatenate([pair.ir, pair.vi], axis=-1), axis=-1, keepdims=True)
  loss, (_, parts) = task_loss(method, state.t_params, state.t_stats, image, pair.target, key)
  objective = loss
  if method.anchor:
    constant = jnp.array([method.anchor_to, 1 - method.anchor_to], weights.dtype)
    departure = jnp.mean(jnp.sum(xlogy(weights, weights / constant.reshape(1, 1, 1, 2)), axis=-1))
    objective = loss / jax.lax.stop_gradient(loss) + method.anchor * departure
    parts = {**parts, "departure": departure}
  return objective, (
    state.t_opt,
    None,
    {"task_loss_outer": loss, "w_a": weights[..., 0].mean(), **parts},
  )
