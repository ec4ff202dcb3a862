"""VIF, Qabf, SSIM, SCD, entropy and overshoot as losses: smooth, of square crops.

The metrics of `tdfusion_jax.metrics` are exact and made for one image; their slopes are not finite
where an image is flat. These agree with them to about a hundredth on photographs.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tdfusion_jax.metrics.windows import gaussian
from tdfusion_jax.ops.image import sobel

Images = Float[Array, "b n n"]
Scores = Float[Array, "b"]
_NOISE = 2.0  # of VIF, in levels squared
_SSIM = (6.5025, 58.5225)
_EDGE, _ALONG = 1e-3, 1e-2  # levels squared, so that the angle of a flat pixel has a slope
_STEEP = 130.0  # a level of 64 runs into its neighbours
_MARGIN = 0.01  # of the range; what overshoots by less is let be


def _filtered(images: Images, window: tuple[float, ...]) -> Images:
  """Both axes, where the whole window fits: a product with a band matrix from either side."""
  size, side = len(window), images.shape[-1]
  band = np.zeros((side - size + 1, side), np.float32)
  for row in range(len(band)):
    band[row, row : row + size] = window
  return jnp.einsum("ih,bhw,jw->bij", band, images, band)


def vif(true: Images, seen: Images) -> Scores:
  """Visual information fidelity, see `metrics.perceptual`; images in [0, 1], at least 48 wide."""
  x, y = true * 255 - 127.5, seen * 255 - 127.5
  kept = whole = jnp.ones(())
  for scale in range(4):
    size = 2 ** (4 - scale) + 1
    window = gaussian(size, size / 5)
    if scale:
      x, y = (_filtered(image, window)[:, ::2, ::2] for image in (x, y))
    mean_x, mean_y = _filtered(x, window), _filtered(y, window)
    var_x = jnp.maximum(_filtered(x * x, window) - mean_x**2, 0)
    var_y = jnp.maximum(_filtered(y * y, window) - mean_y**2, 0)
    covariance = _filtered(x * y, window) - mean_x * mean_y
    gain = jnp.maximum(covariance / (var_x + 1e-3), 0)
    rest = jnp.maximum(var_y - gain * covariance, 1e-3)
    kept = kept + jnp.log(1 + gain**2 * var_x / (rest + _NOISE)).sum((1, 2))
    whole = whole + jnp.log(1 + var_x / _NOISE).sum((1, 2))
  return kept / whole


def qabf(a: Images, b: Images, fused: Images) -> Scores:
  """Edges that pass into the fused image, see `metrics.edges.edge_preservation`.

  A direction and its opposite are the same here.
  """
  of_a, of_b, of_fused = (_edges(image) for image in (a, b, fused))
  kept = _kept(of_a, of_fused) * of_a[2] + _kept(of_b, of_fused) * of_b[2]
  return kept.sum((1, 2)) / (of_a[2] + of_b[2]).sum((1, 2))


def _edges(images: Images) -> tuple[jax.Array, jax.Array, jax.Array]:
  dx, dy = (slope[..., 0] for slope in sobel(images[..., None] * 255))
  return dx, dy, jnp.sqrt(dx**2 + dy**2 + 1)


def _kept(source: tuple, fused: tuple) -> jax.Array:
  (ax, ay, a), (fx, fy, f) = source, fused
  share = jnp.minimum(a, f) / jnp.maximum(a, f)
  across, along = jnp.abs(ax * fy - ay * fx), jnp.abs(ax * fx + ay * fy)
  turn = 1 - jnp.arctan2(across + _EDGE, along + _ALONG) / (np.pi / 2)
  strength = 0.9994 / (1 + jnp.exp(-15 * (share - 0.5)))
  return strength * 0.9879 / (1 + jnp.exp(-22 * (turn - 0.8)))


def ssim(x: Images, y: Images) -> Scores:
  """Structural similarity, see `metrics.similarity.structural_similarity`."""
  x, y = x * 255, y * 255
  window = gaussian(11, 1.5)
  mean_x, mean_y = _filtered(x, window), _filtered(y, window)
  var_x, var_y = _filtered(x * x, window) - mean_x**2, _filtered(y * y, window) - mean_y**2
  covariance = _filtered(x * y, window) - mean_x * mean_y
  light, texture = _SSIM
  alike = (2 * mean_x * mean_y + light) * (2 * covariance + texture)
  return (alike / ((mean_x**2 + mean_y**2 + light) * (var_x + var_y + texture))).mean((1, 2))


def scd(a: Images, b: Images, fused: Images) -> Scores:
  """Sum of the correlations of differences: what is not b's with a, what is not a's with b."""
  return _correlation(fused - b, a) + _correlation(fused - a, b)


def _correlation(x: Images, y: Images) -> Scores:
  x, y = (image - image.mean((1, 2), keepdims=True) for image in (x, y))
  return (x * y).sum((1, 2)) / jnp.sqrt((x * x).sum((1, 2)) * (y * y).sum((1, 2)) + 1e-2)


def entropy(images: Images) -> Scores:
  """EN in bits, of 64 levels that run into each other, by every second pixel: at most 6."""
  edges = jnp.linspace(0, 1, 65)[:, None, None, None]
  below = jax.nn.sigmoid((edges - images[None, :, ::2, ::2]) * _STEEP).mean((2, 3))
  shares = jnp.diff(below, axis=0)
  return -(shares * jnp.log2(shares + 1e-6)).sum(0)


def overshoot(a: Images, b: Images, fused: Images) -> Float[Array, ""]:
  """Mean of what is above everything, or below everything, that 3x3 pixels of both sources show."""

  def around(images, pick, start):
    return jax.lax.reduce_window(images, start, pick, (1, 3, 3), (1, 1, 1), "SAME")

  high = around(jnp.maximum(a, b), jax.lax.max, -jnp.inf)
  low = around(jnp.minimum(a, b), jax.lax.min, jnp.inf)
  over, under = fused - high - _MARGIN, low - _MARGIN - fused
  return (jax.nn.relu(over) + jax.nn.relu(under)).mean()
