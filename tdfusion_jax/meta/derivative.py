"""The inner gradient dL_f/dF and its derivative with respect to G, the heart of Eq. 7."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from tdfusion_jax.batch import Pair
from tdfusion_jax.meta.method import Method, loss_weights

FORWARD_OVER_REVERSE = "forward_over_reverse"
DERIVATIVES = (FORWARD_OVER_REVERSE, "reverse_over_reverse")


def _loss_of(method: Method, f_params, g_params, crop: Pair):
  assert method.fusion_loss is not None, "a method without fusion loss has no inner gradient"
  weights = loss_weights(method, g_params, crop)
  return method.fusion_loss(method.fuse(f_params, crop.ir, crop.vi), crop.ir, crop.vi, weights)


def _fusion_gradient(method: Method, f_params, g_params, crop: Pair):
  loss_of = jax.value_and_grad(partial(_loss_of, method), has_aux=True)
  (loss, parts), grads = loss_of(f_params, g_params, crop)
  return grads, jax.lax.stop_gradient({"fusion_loss": loss, **parts})


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _cheap_fusion_gradient(method: Method, f_params, g_params, crop: Pair) -> Any:
  return _fusion_gradient(method, f_params, g_params, crop)


def _cheap_forward(method, f_params, g_params, crop):
  if any(x.perturbed for x in jax.tree.leaves((f_params, crop))):
    raise ValueError(
      "derivative='forward_over_reverse' differentiates the inner gradient with respect to G only; "
      "use 'reverse_over_reverse' to differentiate it with respect to F or to the images."
    )
  primals = jax.tree.map(lambda x: x.value, (f_params, g_params, crop))
  return _fusion_gradient(method, *primals), primals


def _cheap_backward(method, primals, cotangents):
  """Eq. 7 without second order: with u the cotangent of dL_f/dF, `<u, dL_f/dF>` is a slope of L_f.

  It is L_f's slope along u. One forward-mode pass of F along u gives it as a function of the
  weights alone; its gradient goes back through G in one reverse pass.
  """
  f_params, g_params, crop = primals
  u = jax.tree.map(_dense, cotangents[0], f_params)
  fused, along_u = jax.jvp(lambda p: method.fuse(p, crop.ir, crop.vi), (f_params,), (u,))
  weights, pull_back = jax.vjp(lambda p: loss_weights(method, p, crop), g_params)

  def slope(weights):
    def loss(fused):
      return method.fusion_loss(fused, crop.ir, crop.vi, weights)[0]

    return jax.jvp(loss, (fused,), (along_u,))[1]

  (g_bar,) = pull_back(jax.grad(slope)(weights))
  return None, g_bar, None


def _dense(cotangent, like):
  symbolic_zero = isinstance(cotangent, jax.custom_derivatives.SymbolicZero)
  return jnp.zeros_like(like) if symbolic_zero else cotangent


_cheap_fusion_gradient.defvjp(_cheap_forward, _cheap_backward, symbolic_zeros=True)


def fusion_gradient(
  method: Method, f_params, g_params, crop: Pair, derivative: str = FORWARD_OVER_REVERSE
) -> tuple[Any, dict[str, jax.Array]]:
  """dL_f/dF, differentiable with respect to G.

  Args:
    method: functions and switches; its fusion loss must not be None.
    f_params: of F.
    g_params: of G.
    crop: the crops that L_f compares.
    derivative: how its derivative with respect to G is made, one of `DERIVATIVES`.

  Returns:
    (gradient like f_params, {name: scalar}).

  Raises:
    ValueError: unknown `derivative`, or the cheap one with respect to anything but G.
  """
  if derivative not in DERIVATIVES:
    raise ValueError(f"derivative {derivative!r} is not one of {', '.join(DERIVATIVES)}.")
  if derivative == FORWARD_OVER_REVERSE:
    return _cheap_fusion_gradient(method, f_params, g_params, crop)
  return _fusion_gradient(method, f_params, g_params, crop)
