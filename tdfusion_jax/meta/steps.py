"""Learning the fusion loss: the steps of Algorithm 1 (paper, Eq. 4 to 9). Knows no network, only functions.

F fuses, G weighs the fusion loss L_f, T judges by its task loss L_t. Letters as in the paper:
`f_params`, `g_params`, `t_params`; `mtr`, `mts`, `ftr` are the meta-train, meta-test and
fusion-train batches (`Views`).
"""

from collections.abc import Callable
from functools import partial

import jax
import optax

from tdfusion_jax.batch import Views
from tdfusion_jax.meta.derivative import fusion_gradient
from tdfusion_jax.meta.equilibrium import equilibrium_objective
from tdfusion_jax.meta.lookahead import meta_objective
from tdfusion_jax.meta.method import Method, task_loss
from tdfusion_jax.meta.state import TrainState

RULES = ("lookahead", "equilibrium")


def meta_gradient(
  method: Method, state: TrainState, mtr: Views, mts: Views, eta, t_optimiser=None, key=None
):
  """Eq. 7: the gradient of `meta_objective` with respect to G, by `jax.grad` through the inner optax step.

  There is no first-order term: where G did not shape F's inner step (eta = 0), it is exactly zero.

  Args:
    method: functions and switches; `method.derivative` chooses the derivation, equal to rounding.
    state: F, G, T as they are.
    mtr, mts: inner and outer batch.
    eta: (eta_F', eta_T'), the inner learning rates.
    t_optimiser: T's optimiser, for `inner_task="adam"` only.
    key: PRNG key of T's dropout; None draws none only if `method.dropout` is off.

  Returns:
    (gradient like g_params, (t_opt, dL_t/dF' or None, {name: scalar})).
  """
  key = jax.random.key(0) if key is None else key
  if method.rule == "equilibrium":
    return jax.grad(
      partial(equilibrium_objective, method=method, state=state, mts=mts, key=key), has_aux=True
    )(state.g_params)
  objective = partial(
    meta_objective,
    method=method,
    state=state,
    mtr=mtr,
    mts=mts,
    eta=eta,
    t_optimiser=t_optimiser,
    key=key,
  )
  return jax.grad(objective, has_aux=True)(state.g_params)


def make_steps(
  method: Method, f_optimiser, g_optimiser, t_optimiser, eta: Callable
) -> tuple[Callable, Callable]:
  """The two steps of Algorithm 1, each `(state, batch) -> (state, {name: scalar})`, to be jitted once.

  Args:
    method: functions and switches.
    f_optimiser, g_optimiser, t_optimiser: optax transformations.
    eta: step -> (eta_F', eta_T').

  Returns:
    g_step: batch {"mtr", "mts"}; updates G (Eq. 6), leaves F, T and T's statistics as they were.
    ft_step: batch {"ftr"}; F <- L_f with G frozen (Eq. 8), then T on the updated F's images (Eq.
      9).
  """

  def g_step(state: TrainState, batch):
    key = jax.random.fold_in(state.key, state.step)
    grads, (t_opt, f_grads, measured) = meta_gradient(
      method, state, batch["mtr"], batch["mts"], eta(state.step), t_optimiser, key
    )
    g_params, g_opt, norms = _update(g_optimiser, grads, state.g_opt, state.g_params, "g")
    state = state._replace(step=state.step + 1, g_params=g_params, g_opt=g_opt, t_opt=t_opt)
    if f_grads is not None:
      f_params, f_opt, f_norms = _update(f_optimiser, f_grads, state.f_opt, state.f_params, "f")
      state, norms = state._replace(f_params=f_params, f_opt=f_opt), {**norms, **f_norms}
    return state, {**measured, **norms}

  def ft_step(state: TrainState, batch):
    f_key, t_key = jax.random.split(jax.random.fold_in(state.key, state.step))
    crop, whole = batch["ftr"]
    measured = {}
    if not method.fuse_in_outer:
      grads, measured = fusion_gradient(method, state.f_params, state.g_params, crop)
      if method.task_weight:
        judged = lambda p: task_loss(  # noqa: E731
          method,
          state.t_params,
          state.t_stats,
          method.fuse(p, whole.ir, whole.vi),
          whole.target,
          f_key,
        )
        pushed = jax.grad(judged, has_aux=True)(state.f_params)[0]
        grads = jax.tree.map(lambda g, t: g + method.task_weight * t, grads, pushed)
      f_params, f_opt, norms = _update(f_optimiser, grads, state.f_opt, state.f_params, "f")
      state, measured = state._replace(f_params=f_params, f_opt=f_opt), {**measured, **norms}
    if method.task is not None and method.train_task:
      fused = method.fuse(state.f_params, whole.ir, whole.vi)
      loss = lambda p: task_loss(method, p, state.t_stats, fused, whole.target, t_key)  # noqa: E731
      (value, (t_stats, parts)), grads = jax.value_and_grad(loss, has_aux=True)(state.t_params)
      t_params, t_opt, norms = _update(t_optimiser, grads, state.t_opt, state.t_params, "t")
      state = state._replace(t_params=t_params, t_opt=t_opt, t_stats=t_stats)
      measured = {**measured, "task_loss": value, **parts, **norms}
    return state._replace(step=state.step + 1), measured

  return g_step, ft_step


def _update(optimiser, grads, opt_state, params, letter: str):
  """One optimiser step, with the norms of gradient and update to watch."""
  updates, opt_state = optimiser.update(grads, opt_state, params)
  norms = {
    f"{letter}_grad_norm": optax.tree.norm(grads),
    f"{letter}_update_norm": optax.tree.norm(updates),
  }
  return optax.apply_updates(params, updates), opt_state, norms
