"""The paper's teacher for G: judge F and T where one step on L_f would lead them (Eq. 4 to 7)."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from tdfusion_jax.batch import Pair, Views
from tdfusion_jax.meta.derivative import FORWARD_OVER_REVERSE, fusion_gradient
from tdfusion_jax.meta.method import Method, task_loss
from tdfusion_jax.meta.state import TrainState
from tdfusion_jax.meta.teacher import Outer, Teacher, teach


class Rates(NamedTuple):
  """The inner learning rates."""

  f: Any
  """eta_F' (Eq. 4)."""
  t: Any
  """eta_T' (Eq. 5)."""


class Inner(NamedTuple):
  """How F and T step ahead."""

  rates: Rates
  t_optimiser: optax.GradientTransformation | None = None
  """None: T steps by SGD (Eq. 5). Or T's own optimiser, as in the public code, which then also
  moves its state."""
  derivative: str = FORWARD_OVER_REVERSE
  """How Eq. 7 is derived, one of `derivative.DERIVATIVES`; for one step equal to rounding."""
  f_steps: int = 1
  """Steps of F on `mtr`. Of several, "forward_over_reverse" takes each with F as given: what G does
  to the later steps by way of the earlier ones is left out."""
  f_preconditioned: bool = False
  """Divide F's gradient by the root of its Adam's second moments, as F's own steps do."""


class Ahead(NamedTuple):
  """Where F and T would be after one step."""

  f: Any
  """F' (Eq. 4); depends on G."""
  t: Any
  """T' (Eq. 5)."""
  t_opt: Any
  """T's optimiser state, moved only by `Inner.t_optimiser`."""
  measured: dict[str, jax.Array]


def _sgd(params, grads, rate):
  optimiser = optax.sgd(rate)
  updates, _ = optimiser.update(grads, optimiser.init(params))
  return optax.apply_updates(params, updates)


def look_ahead(method: Method, g_params, state: TrainState, mtr: Views, inner: Inner, key) -> Ahead:
  """F' (Eq. 4) and T' (Eq. 5) after one step on `mtr`; F and T themselves stay untouched.

  Args:
    method: functions and switches.
    g_params: of G, which F' depends on.
    state: F and T as they are.
    mtr: meta-train batch: F steps on its crops, T on its whole pairs.
    inner: rates and rules of the step.
    key: PRNG key of T's dropout.
  """
  params = state.params
  f_ahead, t_ahead, t_opt = params.f, params.t, state.t_opt
  measured: dict[str, jax.Array] = {}
  if method.fusion_loss is not None:
    f_ahead, measured = _fusion_ahead(method, g_params, state, mtr.crop, inner)
  if method.train_task:
    # T learns from F as it is, not from F' (Eq. 5).
    fused = method.fuse(params.f, mtr.whole.ir, mtr.whole.vi)

    def judged(t_params):
      return task_loss(method, t_params, params.t_stats, fused, mtr.whole.target, key)

    (loss, _), grads = jax.value_and_grad(judged, has_aux=True)(params.t)
    measured = {**measured, "task_loss_inner": loss}
    if inner.t_optimiser is None:
      t_ahead = _sgd(params.t, grads, inner.rates.t)
    else:
      updates, t_opt = inner.t_optimiser.update(grads, state.t_opt, params.t)
      t_ahead = optax.apply_updates(params.t, updates)
  return Ahead(f_ahead, t_ahead, t_opt, measured)


def _fusion_ahead(
  method: Method, g_params, state: TrainState, crop: Pair, inner: Inner
) -> tuple[Any, dict[str, jax.Array]]:
  """F' (Eq. 4), and what was measured at F."""
  f_ahead, measured = state.params.f, {}
  scale = _preconditioner(state.f_opt) if inner.f_preconditioned else None
  for step in range(inner.f_steps):
    cheap = inner.derivative == FORWARD_OVER_REVERSE
    at = jax.lax.stop_gradient(f_ahead) if cheap else f_ahead
    grads, found = fusion_gradient(method, at, g_params, crop, inner.derivative)
    measured = measured if step else found
    if scale is not None:
      grads = jax.tree.map(jnp.multiply, grads, scale)
    f_ahead = _sgd(f_ahead, grads, inner.rates.f)
  return f_ahead, measured


def _preconditioner(f_opt: Any) -> Any:
  """`1 / (sqrt(v) + eps)` of F's Adam; ones before its first step.

  Raises:
    ValueError: F's optimiser keeps no second moments.
  """
  adam = optax.tree.get(f_opt, "ScaleByAdamState")
  if adam is None:
    raise ValueError("f_preconditioned needs an F that steps by Adam (optim.f.rule).")
  # The decay and eps of optax.adam. Before the first step its correction would divide by zero.
  moments = optax.tree.bias_correction(adam.nu, 0.999, jnp.maximum(adam.count, 1))
  return jax.tree.map(lambda v: jnp.where(adam.count > 0, 1 / (jnp.sqrt(v) + 1e-8), 1.0), moments)


def meta_objective(
  method: Method, g_params, state: TrainState, mtr: Views, mts: Views, key, *, inner: Inner
) -> tuple[jax.Array, Outer]:
  """L_t(T'(F'(mts))), what G is to lower (Eq. 6).

  Args:
    method: functions and switches.
    g_params: of G.
    state: F and T as they are.
    mtr: meta-train batch, on which F and T step ahead.
    mts: meta-test batch, whose whole pairs judge them there.
    key: PRNG key of T's dropout.
    inner: rates and rules of the step ahead.
  """
  inner_key, outer_key = jax.random.split(key)
  ahead = look_ahead(method, g_params, state, mtr, inner, inner_key)

  def judged(f_params):
    fused = method.fuse(f_params, mts.whole.ir, mts.whole.vi)
    return task_loss(method, ahead.t, state.params.t_stats, fused, mts.whole.target, outer_key)

  f_grads = None
  if method.fuse_in_outer:
    # What F follows is data for G: no derivative of it goes back.
    f_grads = jax.lax.stop_gradient(jax.grad(judged, has_aux=True)(ahead.f)[0])
  loss, found = judged(ahead.f)
  measured = {**ahead.measured, "task_loss_outer": loss, **found.parts}
  return loss, Outer(ahead.t_opt, f_grads, measured)


def lookahead(
  rates: Rates | Callable[[Any], Rates],
  t_optimiser: optax.GradientTransformation | None = None,
  derivative: str = FORWARD_OVER_REVERSE,
  *,
  f_steps: int = 1,
  f_preconditioned: bool = False,
) -> Teacher:
  """The paper's teacher, `meta_objective`: one step of F and T ahead.

  Args:
    rates: the inner learning rates, or a schedule step -> rates.
    t_optimiser: T's optimiser in place of SGD for its step ahead, see `Inner`.
    derivative: how Eq. 7 is derived, see `Inner`.
    f_steps: of F, see `Inner`; the paper has one.
    f_preconditioned: step with Adam's second moments, see `Inner`; the paper does not.
  """

  def teacher(method: Method, g_params, state: TrainState, mtr: Views, mts: Views, key):
    now = rates(state.step) if callable(rates) else rates
    inner = Inner(now, t_optimiser, derivative, f_steps, f_preconditioned)
    return meta_objective(method, g_params, state, mtr, mts, key, inner=inner)

  return teacher


def meta_gradient(
  method: Method,
  state: TrainState,
  mtr: Views,
  mts: Views,
  rates: Rates,
  *,
  derivative: str = FORWARD_OVER_REVERSE,
  key=None,
) -> tuple[Any, Outer]:
  """Eq. 7: the gradient of `meta_objective` with respect to G, through the inner step.

  There is no first-order term: where G did not shape F's inner step (a rate of 0), it is exactly
  zero.

  Args:
    method: functions and switches.
    state: F, G, T as they are.
    mtr: meta-train batch.
    mts: meta-test batch.
    rates: the inner learning rates.
    derivative: "forward_over_reverse", the cheap exact form, or "reverse_over_reverse", plain
      reverse mode through the inner gradient; equal to rounding.
    key: PRNG key of T's dropout; None is a fixed one.

  Returns:
    (gradient like `state.params.g`, what else the outer step found).
  """
  key = jax.random.key(0) if key is None else key
  return teach(lookahead(rates, derivative=derivative), method, state, mtr, mts, key)
