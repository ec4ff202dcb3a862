"""Sharpness, and how edges pass from the sources into the fused image; gray values in [0, 255]."""

import math
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from tdfusion_jax.metrics.windows import sobel

# Xydeas and Petrovic (2000): limit, slope and middle of the two sigmoids.
_STRENGTH = (0.9994, -15.0, 0.5)
_ANGLE = (0.9879, -22.0, 0.8)
Image = Float[Array, "h w"]
Score = Float[Array, ""]


def _mean(values: Float[Array, "h w"], count: int) -> Score:
  """Row sums first, which are exact integers for 8-bit images."""
  return jnp.sum(jnp.sum(values, axis=1)) / max(count, 1)


def spatial_frequency(a: Image, b: Image, f: Image) -> Score:
  """SF = sqrt(RF^2 + CF^2) of the fused image.

  RF and CF: root mean squared first differences along rows and along columns.
  """
  del a, b
  across, down = jnp.diff(f, axis=1) ** 2, jnp.diff(f, axis=0) ** 2
  return jnp.sqrt(_mean(across, across.size) + _mean(down, down.size))


def average_gradient(a: Image, b: Image, f: Image) -> Score:
  """AG: mean of sqrt((dx^2 + dy^2) / 2), forward differences inside the fused image.

  0 for a single row or column.
  """
  del a, b
  dx, dy = f[:-1, 1:] - f[:-1, :-1], f[1:, :-1] - f[:-1, :-1]
  return _mean(jnp.sqrt((dx**2 + dy**2) / 2), dx.size)


def edge_intensity(a: Image, b: Image, f: Image) -> Score:
  """EI: mean Sobel magnitude of the fused image, border left out; 0 below 3x3."""
  del a, b
  dx, dy = sobel(f)
  inner = jnp.sqrt(dx**2 + dy**2)[1:-1, 1:-1]
  return _mean(inner, inner.size)


def _edges(image: Image) -> tuple[Any, Any]:
  dx, dy = sobel(image)
  strength = jnp.sqrt(dx**2 + dy**2)
  flat = dx == 0
  # y counts upwards, as in the published code: its sign matters beside angles of exactly pi / 2.
  return strength, jnp.where(flat, math.pi / 2, jnp.arctan(-dy / jnp.where(flat, 1, dx)))


def _sigmoid(x, limit: float, slope: float, middle: float):
  return limit / (1 + jnp.exp(slope * (x - middle)))


def _preserved(strength, angle, fused_strength, fused_angle):
  """Q of every pixel: how much of one source's edge the fused image keeps."""
  low, high = jnp.minimum(strength, fused_strength), jnp.maximum(strength, fused_strength)
  same = strength == fused_strength
  share = jnp.where(same, fused_strength, low / jnp.where(high > 0, high, 1))
  turn = 1 - jnp.abs(angle - fused_angle) / (math.pi / 2)
  return _sigmoid(share, *_STRENGTH) * _sigmoid(turn, *_ANGLE)


def _transfer(a: Image, b: Image, f: Image) -> dict[str, Any]:
  """Edge strengths of all three, and how much of each source's edges is kept."""
  (strength_a, angle_a), (strength_b, angle_b), fused = (_edges(image) for image in (a, b, f))
  return {
    "a": strength_a,
    "b": strength_b,
    "f": fused[0],
    "qa": _preserved(strength_a, angle_a, *fused),
    "qb": _preserved(strength_b, angle_b, *fused),
  }


def _share(part, whole):
  part, whole = jnp.sum(part), jnp.sum(whole)
  return jnp.where(whole > 0, part / jnp.where(whole > 0, whole, 1), 0)


def edge_preservation(a: Image, b: Image, f: Image) -> Score:
  """Qabf (Xydeas and Petrovic 2000), weighed by edge strength; 0 where no source has an edge."""
  t = _transfer(a, b, f)
  return _share(t["qa"] * t["a"] + t["qb"] * t["b"], t["a"] + t["b"])


def edge_loss(a: Image, b: Image, f: Image) -> Score:
  """Labf (Petrovic and Xydeas 2005): edges lost, where the fused one is weaker than a source's."""
  t = _transfer(a, b, f)
  lost = (t["f"] <= t["a"]) | (t["f"] <= t["b"])
  missing = (1 - t["qa"]) * t["a"] + (1 - t["qb"]) * t["b"]
  return _share(jnp.where(lost, missing, 0), t["a"] + t["b"])


def edge_artifacts(a: Image, b: Image, f: Image) -> Score:
  """Nabf (Petrovic and Xydeas 2005): edges that neither source has.

  As modified by Shreyamsha Kumar (2013).
  """
  t = _transfer(a, b, f)
  new = (t["f"] > t["a"]) & (t["f"] > t["b"])
  missing = (1 - t["qa"]) * t["a"] + (1 - t["qb"]) * t["b"]
  return _share(jnp.where(new, missing, 0), t["a"] + t["b"])
