"""Teachers for G that credit each pixel for its own choice, without a step of F."""

import jax
import jax.numpy as jnp

from tdfusion_jax.batch import Pair, Views
from tdfusion_jax.meta.anchor import anchored
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

  With `anchor` = lambda > 0 (see `anchored`) a pixel's weights rest where
  `log(w_a / w_b) = log(p_a / p_b) - (pixels / lambda) dlog L_t/dI* (a - b)`: at p where the task
  does not care.

  The teacher judges by the whole pairs of `mts`, with T as it is; `mtr` is not used.

  Args:
    anchor: lambda, >= 0; 0 is no anchor.
    toward: c in (0, 1), the w_a that the anchor holds to.
  """

  def teacher(method: Method, g_params, state: TrainState, mtr: Views, mts: Views, key):
    del mtr
    pair, params = mts.whole, state.params
    rest, w_a = _rest(method, g_params, pair)
    loss, judged = task_loss(method, params.t, params.t_stats, rest, pair.target, key)
    return loss, Outer(state.t_opt, measured={"task_loss_outer": loss, "w_a": w_a, **judged.parts})

  return anchored(teacher, anchor, toward)


def direct() -> Teacher:
  """What T asks at F's own image, `<dL_t/dI_f, I*>` with `I* = w_a a + w_b b`.

  As `equilibrium`, but L_t is linearised at the image that F makes now and not judged at the one
  where L_f rests: the derivative is what ablation III gives F, taken by each pixel's weight
  instead.
  """

  def teacher(method: Method, g_params, state: TrainState, mtr: Views, mts: Views, key):
    del mtr
    pair, params = mts.whole, state.params

    def judged(fused):
      return task_loss(method, params.t, params.t_stats, fused, pair.target, key)

    fused = method.fuse(params.f, pair.ir, pair.vi)
    (loss, found), asked = jax.value_and_grad(judged, has_aux=True)(fused)
    rest, w_a = _rest(method, g_params, pair)
    # The task loss that a small move of the image from `fused` towards `rest` would have.
    predicted = loss + jnp.vdot(jax.lax.stop_gradient(asked), rest - fused)
    return predicted, Outer(
      state.t_opt, measured={"task_loss_outer": loss, "w_a": w_a, **found.parts}
    )

  return teacher


def _rest(method: Method, g_params, pair: Pair) -> tuple[jax.Array, jax.Array]:
  """The image [B, H, W, 1] at which L_f's intensity term rests, and infrared's mean weight."""
  weights = method.weigh(g_params, pair.ir, pair.vi)
  images = jnp.concatenate([pair.ir, pair.vi], axis=-1)
  w_a = weights[..., 0].mean(axis=(1, 2))
  if pair.exchanged is not None:
    w_a = jnp.where(pair.exchanged, weights[..., 1].mean(axis=(1, 2)), w_a)
  return jnp.sum(weights * images, axis=-1, keepdims=True), w_a.mean()
