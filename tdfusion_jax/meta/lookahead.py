"""The look-ahead of F and T, and what G is to lower (paper, Eq. 4 to 6)."""

import jax
import optax

from tdfusion_jax.batch import Views
from tdfusion_jax.meta.derivative import fusion_gradient
from tdfusion_jax.meta.method import Method, task_loss
from tdfusion_jax.meta.state import TrainState


def _sgd(params, grads, eta):
  optimiser = optax.sgd(eta)
  updates, _ = optimiser.update(grads, optimiser.init(params))
  return optax.apply_updates(params, updates)


def look_ahead(method: Method, g_params, state: TrainState, mtr: Views, eta, t_optimiser, key):
  """Where F and T would be after one step on `mtr`: F' (Eq. 4, depends on G) and T' (Eq. 5).

  Returns (f_ahead, t_ahead, t_opt, measurements); F and T themselves stay untouched.
  """
  f_ahead, t_ahead, t_opt, measured = state.f_params, state.t_params, state.t_opt, {}
  if method.fusion_loss is not None:
    grads, measured = fusion_gradient(method, state.f_params, g_params, mtr.crop)
    f_ahead = _sgd(state.f_params, grads, eta[0])
  if method.train_task:
    fused = method.fuse(state.f_params, mtr.whole.ir, mtr.whole.vi)
    loss = lambda p: task_loss(method, p, state.t_stats, fused, mtr.whole.target, key)  # noqa: E731
    (inner, _), grads = jax.value_and_grad(loss, has_aux=True)(state.t_params)
    measured = {**measured, "task_loss_inner": inner}
    if method.inner_task == "adam":
      updates, t_opt = t_optimiser.update(grads, state.t_opt, state.t_params)
      t_ahead = optax.apply_updates(state.t_params, updates)
    else:
      t_ahead = _sgd(state.t_params, grads, eta[1])
  return f_ahead, t_ahead, t_opt, measured


def meta_objective(
  g_params, method: Method, state: TrainState, mtr: Views, mts: Views, eta, t_optimiser, key
):
  """L_t(T'(F'(mts))), what G is to lower (Eq. 6), with (look-ahead's T state, dL_t/dF', measurements)."""
  inner_key, outer_key = jax.random.split(key)
  f_ahead, t_ahead, t_opt, measured = look_ahead(
    method, g_params, state, mtr, eta, t_optimiser, inner_key
  )

  def outer(f_params):
    fused = method.fuse(f_params, mts.whole.ir, mts.whole.vi)
    return task_loss(method, t_ahead, state.t_stats, fused, mts.whole.target, outer_key)

  f_grads = None
  if method.fuse_in_outer:
    f_grads = jax.lax.stop_gradient(jax.grad(outer, has_aux=True)(f_ahead)[0])
  loss, (_, parts) = outer(f_ahead)
  return loss, (t_opt, f_grads, {**measured, "task_loss_outer": loss, **parts})
