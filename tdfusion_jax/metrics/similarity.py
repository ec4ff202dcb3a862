"""How alike images are: errors, correlations, structural similarity; gray values in [0, 255]."""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tdfusion_jax.metrics.windows import filter_valid, gaussian, local_means, uniform

_PEAK = 255.0
_C1, _C2 = (0.01 * _PEAK) ** 2, (0.03 * _PEAK) ** 2
_SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
Image = Float[Array, "h w"]
Score = Float[Array, ""]


def _centred(x: Image) -> Image:
  """`x` minus its mean; exactly zero if it is flat, whose mean need not be its value in float32."""
  x = x - x[:1, :1]
  return x - jnp.mean(x)


def correlation(x: Image, y: Image) -> Score:
  """Pearson's r; 0 if one of them is flat."""
  x, y = _centred(x), _centred(y)
  whole = jnp.sqrt(jnp.sum(x**2) * jnp.sum(y**2))
  return jnp.where(whole > 0, jnp.sum(x * y) / jnp.where(whole > 0, whole, 1), 0)


def correlation_coefficient(a: Image, b: Image, f: Image) -> Score:
  """CC: mean of r(a, f) and r(b, f)."""
  return (correlation(a, f) + correlation(b, f)) / 2


def sum_of_correlations_of_differences(a: Image, b: Image, f: Image) -> Score:
  """SCD = r(f - b, a) + r(f - a, b) (Aslantas and Bendes 2015)."""
  return correlation(f - b, a) + correlation(f - a, b)


def mean_squared_error(a: Image, b: Image, f: Image) -> Score:
  """Mean of both squared errors, on [0, 255]."""
  return (jnp.mean((a - f) ** 2) + jnp.mean((b - f) ** 2)) / 2


def peak_signal_to_noise(a: Image, b: Image, f: Image) -> Score:
  """PSNR of the mean squared error, dB; infinite for three equal images."""
  return 10 * jnp.log10(_PEAK**2 / mean_squared_error(a, b, f))


def standard_deviation(a: Image, b: Image, f: Image) -> Score:
  """SD of the fused image."""
  del a, b
  return jnp.sqrt(jnp.mean(_centred(f) ** 2))


def structural_similarity(x: Image, y: Image) -> Score:
  """SSIM of two images (Wang et al. 2004).

  7x7 uniform windows inside the image, sample covariances.
  """
  return jnp.mean(_ssim_maps(x, y, uniform(7), 49 / 48)[0])


def _ssim_maps(x: Image, y: Image, weights, bessel: float) -> tuple[Any, Any]:
  """(SSIM, its contrast-structure part) in every window."""
  # Moments around the middle of the range keep float32 from cancelling.
  return _ssim_of_means(local_means(x - _PEAK / 2, y - _PEAK / 2, weights), bessel)


@partial(jax.jit, static_argnums=1)
def _ssim_of_means(means, bessel: float) -> tuple[Any, Any]:
  mean_x, mean_y, square_x, square_y, product = means
  variance_x = bessel * (square_x - mean_x**2)
  variance_y = bessel * (square_y - mean_y**2)
  covariance = bessel * (product - mean_x * mean_y)
  mean_x, mean_y = mean_x + _PEAK / 2, mean_y + _PEAK / 2
  structure = (2 * covariance + _C2) / (variance_x + variance_y + _C2)
  similarity = structure * (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
  return similarity, structure


def ssim(a: Image, b: Image, f: Image) -> Score:
  """Mean of SSIM(f, a) and SSIM(f, b)."""
  return (structural_similarity(f, a) + structural_similarity(f, b)) / 2


def ssim_sum(a: Image, b: Image, f: Image) -> Score:
  """SSIM(f, a) + SSIM(f, b), as some papers report it."""
  return structural_similarity(f, a) + structural_similarity(f, b)


def multi_scale_ssim(a: Image, b: Image, f: Image) -> Score:
  """MS-SSIM, mean over both sources (Wang et al. 2003): 11x11 Gaussian windows, five scales.

  Images below 176 pixels have fewer scales, with the weights of those that remain scaled to sum 1;
  below 11 there is none (NaN).
  """
  return (_multi_scale(f, a) + _multi_scale(f, b)) / 2


def _multi_scale(x: Image, y: Image) -> Score:
  least = min(x.shape)
  if least < 11:
    return jnp.full((), jnp.nan, x.dtype)
  count = min(len(_SCALES), 1 + int(math.log2(least / 11)))
  total = sum(_SCALES[:count])
  score = jnp.ones((), x.dtype)
  for scale in range(count):
    full, structure = _ssim_maps(x, y, gaussian(11, 1.5), 1.0)
    part = jnp.maximum(jnp.mean(full if scale == count - 1 else structure), 0)
    score = score * part ** (_SCALES[scale] / total)
    x, y = _half(x), _half(y)
  return score


def _half(image: Image) -> Float[Array, "h2 w2"]:
  height, width = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
  return image[:height, :width].reshape(height // 2, 2, width // 2, 2).mean((1, 3))


def _quality_maps(x: Image, y: Image) -> tuple[Any, Any, Any]:
  """Wang and Bovik's Q in 8x8 windows, and both variances."""
  weights = uniform(8)
  x, y = x - _PEAK / 2, y - _PEAK / 2
  mean_x, mean_y = filter_valid(x, weights), filter_valid(y, weights)
  variance_x = filter_valid(x**2, weights) - mean_x**2
  variance_y = filter_valid(y**2, weights) - mean_y**2
  variance_x, variance_y = jnp.maximum(variance_x, 0), jnp.maximum(variance_y, 0)
  covariance = filter_valid(x * y, weights) - mean_x * mean_y
  mean_x, mean_y = mean_x + _PEAK / 2, mean_y + _PEAK / 2
  levels, spreads = mean_x**2 + mean_y**2, variance_x + variance_y
  # 0 / 0 of the definition: flat windows are judged by their level alone, black ones are equal.
  level = jnp.where(levels > 0, 2 * mean_x * mean_y / jnp.where(levels > 0, levels, 1), 1)
  flat = spreads < 1e-3
  structure = jnp.where(flat, 1, 2 * covariance / jnp.where(flat, 1, spreads))
  return level * structure, variance_x, variance_y


def _weighted_quality(a: Image, b: Image, f: Image) -> tuple[Any, Any]:
  """(Q in every window with each source weighed by its variance, the larger variance)."""
  from_a, spread_a, _ = _quality_maps(a, f)
  from_b, spread_b, _ = _quality_maps(b, f)
  total = spread_a + spread_b
  share = jnp.where(total > 0, spread_a / jnp.where(total > 0, total, 1), 0.5)
  return share * from_a + (1 - share) * from_b, jnp.maximum(spread_a, spread_b)


def piella(a: Image, b: Image, f: Image) -> Score:
  """Q of Piella and Heijmans (2003): 8x8 windows, each source weighed by its variance."""
  return jnp.mean(_weighted_quality(a, b, f)[0])


def piella_weighted(a: Image, b: Image, f: Image) -> Score:
  """Q_w of Piella and Heijmans: windows weighed by the larger variance."""
  quality, salience = _weighted_quality(a, b, f)
  total = jnp.sum(salience)
  weighed = jnp.sum(quality * salience) / jnp.where(total > 0, total, 1)
  return jnp.where(total > 0, weighed, jnp.mean(quality))


def yang(a: Image, b: Image, f: Image) -> Score:
  """Q_Y of Yang et al. (2008), by SSIM in 7x7 windows.

  Where a and b agree, each counts by its variance; elsewhere the better one does.
  """
  weights = uniform(7)
  between, _ = _ssim_maps(a, b, weights, 1.0)
  from_a, _ = _ssim_maps(a, f, weights, 1.0)
  from_b, _ = _ssim_maps(b, f, weights, 1.0)

  def spread(x):
    return jnp.maximum(filter_valid(x**2, weights) - filter_valid(x, weights) ** 2, 0)

  spread_a, spread_b = spread(a - _PEAK / 2), spread(b - _PEAK / 2)
  total = spread_a + spread_b
  share = jnp.where(total > 0, spread_a / jnp.where(total > 0, total, 1), 0.5)
  mixed = share * from_a + (1 - share) * from_b
  return jnp.mean(jnp.where(between >= 0.75, mixed, jnp.maximum(from_a, from_b)))
