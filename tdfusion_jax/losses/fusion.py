"""L_f, the fusion loss whose weights G learns (paper, Eq. 1 to 3)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tdfusion_jax.losses import sums
from tdfusion_jax.ops.image import sobel

INTENSITY_FORMS = ("paper", "upstream")


def fusion_loss(
  fused: Float[Array, "b h w 1"],
  ir: Float[Array, "b h w 1"],
  vi: Float[Array, "b h w 1"],
  weights: Float[Array, "b h w 2"],
  alpha: float = 1.0,
  intensity: str = "paper",
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
  """`L_f = L_int + alpha * L_grad` (Eq. 1). Zero when `fused`, `ir` and `vi` are one image.

  Args:
    fused: I_f, [B, H, W, 1] in [0, 1].
    ir: a, equally shaped.
    vi: b, equally shaped.
    weights: [B, H, W, 2], (w_a, w_b).
    alpha: weight of the gradient term.
    intensity: "paper" for `w (I_f - I)^2` (Eq. 2), "upstream" for `(w (I_f - I))^2` (the public
      code).

  Returns:
    (loss, {"intensity": L_int, "gradient": L_grad}), scalars; the parts are not multiplied by
    alpha.
  """
  parts = {
    "intensity": intensity_loss(fused, ir, vi, weights, intensity),
    "gradient": gradient_loss(fused, ir, vi),
  }
  return parts["intensity"] + alpha * parts["gradient"], parts


def intensity_loss(
  fused: Float[Array, "b h w 1"],
  ir: Float[Array, "b h w 1"],
  vi: Float[Array, "b h w 1"],
  weights: Float[Array, "b h w 2"],
  form: str = "paper",
) -> Float[Array, ""]:
  """`mean(w_a (I_f - a)^2 + w_b (I_f - b)^2)` (Eq. 2).

  Args:
    fused: I_f, [B, H, W, 1] in [0, 1].
    ir: a, equally shaped.
    vi: b, equally shaped.
    weights: [B, H, W, 2], (w_a, w_b).
    form: "paper", or "upstream" with w inside the square.

  Raises:
    ValueError: another form.
  """
  if form not in INTENSITY_FORMS:
    raise ValueError(f"intensity form {form!r} is not one of {', '.join(INTENSITY_FORMS)}.")
  error = jnp.square(fused - jnp.concatenate([ir, vi], axis=-1))
  weight = weights if form == "paper" else jnp.square(weights)
  return sums.mean(jnp.sum(weight * error, axis=-1))


def gradient_loss(
  fused: Float[Array, "b h w 1"], ir: Float[Array, "b h w 1"], vi: Float[Array, "b h w 1"]
) -> Float[Array, ""]:
  """`mean|Sx I_f - mx| + mean|Sy I_f - my|` (Eq. 3).

  `mx` is the one of `Sx a`, `Sx b` with the larger absolute value, sign kept, a on ties; `my`
  likewise.
  """
  residuals = _gradient_residuals(fused, ir, vi)
  return sum((sums.mean(jnp.abs(residual)) for residual in residuals), jnp.zeros((), fused.dtype))


def gradient_curvature(
  fused: Float[Array, "b h w 1"],
  ir: Float[Array, "b h w 1"],
  vi: Float[Array, "b h w 1"],
  along: Float[Array, "b h w 1"],
  floor: float = 0.01,
) -> Float[Array, "b h w 1"]:
  """A curvature of `gradient_loss` in the image, times `along`: `S^T diag(1 / (N |r|)) S along`.

  An absolute value has none of its own. This is that of the parabola that touches |r| at the
  residual r = S I_f - m from above, as iteratively reweighted least squares has it.

  Args:
    fused: I_f, [B, H, W, 1] in [0, 1].
    ir: a, equally shaped.
    vi: b, equally shaped.
    along: what it is multiplied by, equally shaped.
    floor: least |r| that is divided by.
  """
  residuals = _gradient_residuals(fused, ir, vi)
  slopes, back = jax.vjp(sobel, along)
  weighed = tuple(
    slope / (fused.size * jnp.maximum(jnp.abs(residual), floor))
    for slope, residual in zip(slopes, residuals, strict=True)
  )
  return back(weighed)[0]


def _gradient_residuals(fused: jax.Array, ir: jax.Array, vi: jax.Array) -> list[jax.Array]:
  """`Sx I_f - mx` and `Sy I_f - my`, see `gradient_loss`."""
  residuals = []
  for of_fused, of_ir, of_vi in zip(sobel(fused), sobel(ir), sobel(vi), strict=True):
    stronger = jnp.where(jnp.abs(of_ir) >= jnp.abs(of_vi), of_ir, of_vi)
    residuals.append(of_fused - stronger)
  return residuals
