"""The two steps of Algorithm 1: G learns from its teacher, then F from L_f and T from L_t.

Knows no network, only functions. F fuses, G weighs the fusion loss L_f, T judges by its task loss
L_t. `mtr`, `mts`, `ftr` are the meta-train, meta-test and fusion-train batches (`Views`).
"""

from collections.abc import Callable

import jax
import optax

from tdfusion_jax.batch import Views
from tdfusion_jax.meta.derivative import fusion_gradient
from tdfusion_jax.meta.method import Method, task_loss
from tdfusion_jax.meta.state import Optimisers, TrainState
from tdfusion_jax.meta.teacher import Teacher, teach


def make_steps(
  method: Method, teacher: Teacher, optimisers: Optimisers
) -> tuple[Callable, Callable]:
  """The two steps of Algorithm 1, each `(state, batch) -> (state, {name: scalar})`, to be jitted.

  Args:
    method: functions and switches.
    teacher: what G lowers.
    optimisers: of F, G and T.

  Returns:
    g_step: batch {"mtr", "mts"}; updates G (Eq. 6), keeps F, T and T's statistics
      (with `method.fuse_in_outer` F is updated too).
    ft_step: batch {"ftr"}; F <- L_f with G frozen (Eq. 8), then T on the updated F's images (Eq.
      9).
  """

  def g_step(state: TrainState, batch: dict[str, Views]):
    grads, outer = teach(teacher, method, state, batch["mtr"], batch["mts"], state.next_key)
    if method.fuse_in_outer and outer.f_grads is None:
      raise ValueError("fuse_in_outer needs a teacher that gives F its gradient (Outer.f_grads).")
    state, norms = _updated(state._replace(t_opt=outer.t_opt), "g", optimisers, grads)
    measured = {**outer.measured, **norms}
    if outer.f_grads is not None:
      state, norms = _updated(state, "f", optimisers, outer.f_grads)
      measured = {**measured, **norms}
    return state._replace(step=state.step + 1), measured

  def ft_step(state: TrainState, batch: dict[str, Views]):
    f_key, t_key = jax.random.split(state.next_key)
    measured = {}
    if not method.fuse_in_outer:
      state, measured = _f_step(method, optimisers, state, batch["ftr"], f_key)
    if method.task is not None and method.train_task:
      state, of_t = _t_step(method, optimisers, state, batch["ftr"], t_key)
      measured = {**measured, **of_t}
    return state._replace(step=state.step + 1), measured

  return g_step, ft_step


def _f_step(method: Method, optimisers: Optimisers, state: TrainState, views: Views, key):
  """Eq. 8: F follows L_f with G as it is; in ablation III also its share of L_t."""
  params, whole = state.params, views.whole
  grads, measured = fusion_gradient(method, params.f, params.g, views.crop)
  if method.task_weight:

    def judged(f_params):
      fused = method.fuse(f_params, whole.ir, whole.vi)
      return task_loss(method, params.t, params.t_stats, fused, whole.target, key)

    pushed, _ = jax.grad(judged, has_aux=True)(params.f)
    grads = jax.tree.map(lambda g, t: g + method.task_weight * t, grads, pushed)
  state, norms = _updated(state, "f", optimisers, grads)
  return state, {**measured, **norms}


def _t_step(method: Method, optimisers: Optimisers, state: TrainState, views: Views, key):
  """Eq. 9: T follows L_t on the images of F as it is now."""
  params, whole = state.params, views.whole
  fused = method.fuse(params.f, whole.ir, whole.vi)

  def judged(t_params):
    return task_loss(method, t_params, params.t_stats, fused, whole.target, key)

  (loss, found), grads = jax.value_and_grad(judged, has_aux=True)(params.t)
  state, norms = _updated(state, "t", optimisers, grads)
  state = state._replace(params=state.params._replace(t_stats=found.t_stats))
  if optimisers.t_average is not None and state.t_average is not None:
    moved = optimisers.t_average.update(state.t_average, state.params, state.t_opt)
    state = state._replace(t_average=moved)
  return state, {"task_loss": loss, **found.parts, **norms}


def _updated(state: TrainState, letter: str, optimisers: Optimisers, grads):
  """One optimiser step of "f", "g" or "t", with the norms of gradient and update to watch."""
  rule, opt_name = getattr(optimisers, letter), f"{letter}_opt"
  params = getattr(state.params, letter)
  updates, opt_state = rule.update(grads, getattr(state, opt_name), params)
  moved = state.params._replace(**{letter: optax.apply_updates(params, updates)})
  norms = {
    f"{letter}_grad_norm": optax.tree.norm(grads),
    f"{letter}_update_norm": optax.tree.norm(updates),
  }
  return state._replace(**{"params": moved, opt_name: opt_state}), norms
