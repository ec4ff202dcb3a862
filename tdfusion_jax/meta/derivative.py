"""The inner gradient dL_f/dF and its derivative with respect to G, the heart of Eq. 7."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from tdfusion_jax.batch import Pair
from tdfusion_jax.meta.method import Method

DERIVATIVES = ("forward_over_reverse", "reverse_over_reverse")


def _loss_of(method: Method, f_params, g_params, crop: Pair):
  assert method.fusion_loss is not None, "a method without fusion loss has no inner gradient"
  weights = method.weigh(g_params, crop.ir, crop.vi)
  return method.fusion_loss(method.fuse(f_params, crop.ir, crop.vi), crop.ir, crop.vi, weights)


def _fusion_gradient(method: Method, f_params, g_params, crop: Pair):
  (loss, parts), grads = jax.value_and_grad(partial(_loss_of, method), has_aux=True)(
    f_params, g_params, crop
  )
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
  """Eq. 7 without second order: with u the cotangent of dL_f/dF, `<u, dL_f/dF>` is L_f's slope along u.

  One forward-mode pass of F along u gives the slope as a function of the weights alone; its
  gradient goes back through G in one reverse pass.
  """
  f_params, g_params, crop = primals
  u = jax.tree.map(lambda ct, p: _dense(ct, p), cotangents[0], f_params)
  fused, along_u = jax.jvp(lambda p: method.fuse(p, crop.ir, crop.vi), (f_params,), (u,))
  weights, pull_back = jax.vjp(lambda p: method.weigh(p, crop.ir, crop.vi), g_params)

  def slope(weights):
    loss = lambda fused: method.fusion_loss(fused, crop.ir, crop.vi, weights)[0]  # noqa: E731
    return jax.jvp(loss, (fused,), (along_u,))[1]

  (g_bar,) = pull_back(jax.grad(slope)(weights))
  return None, g_bar, None


def _dense(cotangent, like):
  symbolic_zero = isinstance(cotangent, jax.custom_derivatives.SymbolicZero)
  return jnp.zeros_like(like) if symbolic_zero else cotangent


_cheap_fusion_gradient.defvjp(_cheap_forward, _cheap_backward, symbolic_zeros=True)


def fusion_gradient(
  method: Method, f_params, g_params, crop: Pair
) -> tuple[Any, dict[str, jax.Array]]:
  """dL_f/dF, differentiable with respect to G. Returns (gradient like f_params, {name: scalar})."""
  if method.derivative not in DERIVATIVES:
    raise ValueError(f"derivative {method.derivative!r} is not one of {', '.join(DERIVATIVES)}.")
  if method.derivative == "reverse_over_reverse":
    return _fusion_gradient(method, f_params, g_params, crop)
  return _cheap_fusion_gradient(method, f_params, g_params, crop)
