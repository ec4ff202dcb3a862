"""A teacher for G that looks ahead to where F would end, not one plain step towards it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from tdfusion_jax.batch import Pair, Views
from tdfusion_jax.losses.fusion import gradient_curvature
from tdfusion_jax.meta.derivative import fusion_gradient
from tdfusion_jax.meta.method import Method, loss_weights, task_loss
from tdfusion_jax.meta.state import TrainState
from tdfusion_jax.meta.teacher import Outer, Teacher

JUDGED_ON = ("other", "same")


class Solve(NamedTuple):
  """How the Gauss-Newton system is solved."""

  steps: int = 20
  """Of conjugate gradients, at most; each costs about four passes of F."""
  damping: float = 0.01
  """lambda, as a share of `v^T A v / v^T v`, the curvature along v = dL_t/dF."""
  gradient_curvature: float = 0.0
  """Weight of the gradient term's curvature (alpha, or 0 for the intensity term's alone)."""
  tolerance: float = 1e-6
  """Ends early where the residual is this share of |v|."""


def gauss_newton(solve: Solve | None = None, judged_on: str = "other") -> Teacher:
  """L_t where one Gauss-Newton step on L_f leads F: Eq. 4 to 7 with another inner step.

  One plain gradient step (Eq. 4) moves F mostly along the few directions that all pixels share, and
  so asks of G's weights a common tone. F itself goes on until L_f rests. The step that leads there
  at once, as far as F is linear in its parameters, is

      F' = F - (J^T B J + lambda)^-1 dL_f/dF

  where J is the derivative of the fused images by F's parameters and B the curvature of L_f in the
  image, 2/N for the intensity term of N pixels (Eq. 2). B does not depend on G's weights, whose sum
  is one. With `u = (J^T B J + lambda)^-1 dL_t/dF`, by conjugate gradients,

      dL_t(F')/dG = -<u, d(dL_f/dF)/dG>

  which is Eq. 7 with u in place of eta dL_t/dF'. For an F that can follow everything it is the rule
  `equilibrium`; it keeps F's limits. L_t is judged at F as it is, by T as it is.
  (Hypergradients by conjugate gradients: Pedregosa, ICML 2016; Lorraine et al., AISTATS 2020.)

  Args:
    solve: how; None is `Solve()`.
    judged_on: "other": L_t of the pairs of `mts`, as in the paper; "same": of those of `mtr`, on
      which F steps.

  Raises:
    ValueError: another `judged_on`.
  """
  solve = solve or Solve()
  if judged_on not in JUDGED_ON:
    raise ValueError(f"judged_on {judged_on!r} is not one of {', '.join(JUDGED_ON)}.")

  def teacher(method: Method, g_params, state: TrainState, mtr: Views, mts: Views, key):
    assert method.fusion_loss is not None, "a method without fusion loss has no inner step"
    params, judges = state.params, mtr.whole if judged_on == "same" else mts.whole

    def judged(f_params):
      fused = method.fuse(f_params, judges.ir, judges.vi)
      return task_loss(method, params.t, params.t_stats, fused, judges.target, key)

    (loss, found), wanted = jax.value_and_grad(judged, has_aux=True)(params.f)
    weights = jax.lax.stop_gradient(loss_weights(method, g_params, mtr.crop))
    curvature = curvature_of(method, params.f, mtr.crop, weights, solve.gradient_curvature)
    u, residual = solved(curvature, wanted, solve)
    grads, measured = fusion_gradient(method, params.f, g_params, mtr.crop)
    predicted = loss - optax.tree.vdot(jax.lax.stop_gradient(u), grads)
    judgement = {"task_loss_outer": loss, "solve_residual": residual, **found.parts}
    return predicted, Outer(state.t_opt, measured={**measured, **judgement})

  return teacher


def curvature_of(
  method: Method, f_params: Any, crop: Pair, weights: jax.Array, of_gradient: float
) -> Callable[[Any], Any]:
  """The product v -> J^T B J v, of pytrees like F's parameters.

  Args:
    method: functions and switches.
    f_params: of F, where it is.
    crop: the pairs on which F steps.
    weights: of L_f, [B, H, W, 2]; where their sum is one, B does not depend on them.
    of_gradient: weight of the gradient term's curvature.
  """

  def fuse(f_params):
    return method.fuse(f_params, crop.ir, crop.vi)

  fused, pull_back = jax.vjp(fuse, f_params)

  def loss(image):
    assert method.fusion_loss is not None
    return method.fusion_loss(image, crop.ir, crop.vi, weights)[0]

  def product(v):
    _, along = jax.jvp(fuse, (f_params,), (v,))
    _, curved = jax.jvp(jax.grad(loss), (fused,), (along,))  # absolute values have none
    if of_gradient:
      curved = curved + of_gradient * gradient_curvature(fused, crop.ir, crop.vi, along)
    return pull_back(curved)[0]

  return product


def solved(curvature: Callable[[Any], Any], wanted: Any, solve: Solve) -> tuple[Any, jax.Array]:
  """`(A + lambda)^-1 v` by conjugate gradients.

  Args:
    curvature: v -> A v, symmetric and positive.
    wanted: v, a pytree.
    solve: how.

  Returns:
    (solution like v, |residual| / |v|).
  """
  length = optax.tree.vdot(wanted, wanted)
  damping = solve.damping * optax.tree.vdot(wanted, curvature(wanted)) / length

  def damped(v):
    return jax.tree.map(lambda av, x: av + damping * x, curvature(v), v)

  u, _ = jax.scipy.sparse.linalg.cg(damped, wanted, tol=solve.tolerance, maxiter=solve.steps)
  left = jax.tree.map(jnp.subtract, wanted, damped(u))
  return u, jnp.sqrt(optax.tree.vdot(left, left) / length)
