"""Measures modelled on human vision, on gray values in [0, 255]."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tdfusion_jax.metrics.windows import (
  Moments,
  filter_same,
  gaussian,
  halved,
  local_moments,
  sobel,
)

_TINY = 1e-10
_NOISE = 2.0  # variance of the visual noise of VIF
Image = Float[Array, "h w"]
Score = Float[Array, ""]


@jax.jit
def _channel(moments: Moments) -> tuple[Any, Any, Any]:
  """`seen = gain * true + noise` in every window: (gain, remaining variance, variance of true)."""
  var_true, var_seen = jnp.maximum(moments.var_x, 0), jnp.maximum(moments.var_y, 0)
  covariance = moments.covariance
  gain = covariance / (var_true + _TINY)
  rest = var_seen - gain * covariance
  flat_true, flat_seen, against = var_true < _TINY, var_seen < _TINY, gain < 0
  gain = jnp.where(flat_true | flat_seen, 0, gain)
  rest = jnp.where(flat_true, var_seen, rest)
  var_true = jnp.where(flat_true, 0, var_true)
  rest = jnp.where(flat_seen, 0, rest)
  rest = jnp.where(against, var_seen, rest)
  return jnp.maximum(gain, 0), jnp.maximum(rest, _TINY), var_true


@jax.jit
def _kept_and_whole(moments: Moments) -> tuple[Score, Score]:
  gain, rest, variance = _channel(moments)
  kept = jnp.log10(1 + gain**2 * variance / (rest + _NOISE))
  return jnp.sum(kept), jnp.sum(jnp.log10(1 + variance / _NOISE))


def _scales(*images: Image) -> Iterator[tuple[Any, tuple[float, ...]]]:
  """The images at up to four scales, and the windows of each."""
  # Around the middle of the range, so that float32 does not cancel.
  images = tuple(image - 127.5 for image in images)
  for scale in range(4):
    size = 2 ** (4 - scale) + 1
    weights = gaussian(size, size / 5)
    if scale:
      images = tuple(halved(image, weights) for image in images)
    if min(images[0].shape) < size:
      return
    yield images, weights


def visual_information_fidelity(true: Image, seen: Image) -> Score:
  """Pixel-domain VIF of two images (Sheikh and Bovik 2006).

  Four scales of Gaussian windows of 17, 9, 5 and 3 pixels. An image below 41 pixels has fewer
  scales. 0 / 0, a flat true image, is 1 if both are flat and 0 else.
  """
  kept = whole = jnp.zeros((), true.dtype)
  for (x, y), weights in _scales(true, seen):
    more_kept, more = _kept_and_whole(local_moments(x, y, weights))
    kept, whole = kept + more_kept, whole + more
  flat_true, flat_seen = (jnp.max(image) == jnp.min(image) for image in (true, seen))
  return jnp.where(flat_true, flat_seen.astype(whole.dtype), kept / jnp.where(whole > 0, whole, 1))


def vif(a: Image, b: Image, f: Image) -> Score:
  """Mean of VIF(a, f) and VIF(b, f)."""
  return (visual_information_fidelity(a, f) + visual_information_fidelity(b, f)) / 2


def vif_sum(a: Image, b: Image, f: Image) -> Score:
  """VIF(a, f) + VIF(b, f), as some papers report it."""
  return visual_information_fidelity(a, f) + visual_information_fidelity(b, f)


def vif_for_fusion(a: Image, b: Image, f: Image) -> Score:
  """VIFF (Han et al. 2013).

  In each window that source counts which the fused image follows with the larger gain. Noise
  variance 0.005 * 255^2; scales weighed 1, 0, 0.15, 1 over their sum. Fewer scales below 41 pixels.
  """
  noise = 0.005 * 255**2
  shares, ratios = [], []
  # A small image has fewer scales.
  for share, ((x, y, z), weights) in zip((1.0, 0.0, 0.15, 1.0), _scales(a, b, f), strict=False):
    gain_a, rest_a, var_a = _channel(local_moments(x, z, weights))
    gain_b, rest_b, var_b = _channel(local_moments(y, z, weights))
    kept_a = jnp.log2(1 + gain_a**2 * var_a / (rest_a + noise))
    kept_b = jnp.log2(1 + gain_b**2 * var_b / (rest_b + noise))
    follows_b = gain_a < gain_b
    kept = jnp.where(follows_b, kept_b, kept_a)
    whole = jnp.where(follows_b, jnp.log2(1 + var_b / noise), jnp.log2(1 + var_a / noise))
    ratios.append(jnp.sum(kept + 1e-7) / jnp.sum(whole + 1e-7))
    shares.append(share)
  total = sum(shares)
  if not total:
    return jnp.full((), jnp.nan, f.dtype)
  parts = [share / total * ratio for share, ratio in zip(shares, ratios, strict=True)]
  return sum(parts, jnp.zeros((), f.dtype))


def _filtered(image: Image, response: np.ndarray) -> Image:
  """Through a filter given by its response over `np.fft.fft2`'s frequencies."""
  return jnp.real(jnp.fft.ifft2(jnp.fft.fft2(image) * jnp.asarray(response, image.dtype)))


def _cycles(shape: tuple[int, ...], pixels: float | tuple[float, float]) -> np.ndarray:
  """Cycles per degree at `np.fft.fft2`'s frequencies, where a degree has so many pixels."""
  rows, columns = np.broadcast_to(pixels, 2)
  v, u = np.fft.fftfreq(shape[0]) * rows, np.fft.fftfreq(shape[1]) * columns
  return np.hypot(*np.meshgrid(v, u, indexing="ij"))


def chen_blum(a: Image, b: Image, f: Image) -> Score:
  """Qcb (Chen and Blum 2009): local contrast after a contrast sensitivity filter.

  Each source is weighed by its saliency. The observer is so far away that 30 pixels fill a degree.
  """
  return _chen_blum(a, b, f, _cycles(f.shape, 30.0))


def chen_blum_picture(a: Image, b: Image, f: Image) -> Score:
  """Qcb of an observer whose view the picture fills 15 degrees of, however many pixels it has."""
  r = _cycles(f.shape, _of_picture(f, 15.0))
  return _chen_blum(_levels(a), _levels(b), _levels(f), r)


def _of_picture(image: Image, degrees: float) -> tuple[float, float]:
  height, width = image.shape
  return height / degrees, width / degrees


def _chen_blum(a: Image, b: Image, f: Image, r: np.ndarray) -> Score:
  sensitivity = np.exp(-((r / 15.3870) ** 2)) - 0.7622 * np.exp(-((r / 1.3456) ** 2))
  ca, cb, cf = (_contrast(_filtered(_stretched(image), sensitivity)) for image in (a, b, f))
  whole = ca**2 + cb**2
  share = jnp.where(whole > 0, ca**2 / jnp.where(whole > 0, whole, 1), 0.5)
  return jnp.mean(share * _alike(ca, cf) + (1 - share) * _alike(cb, cf))


def _stretched(image: Image) -> Image:
  low, high = jnp.min(image), jnp.max(image)
  return jnp.where(high > low, (image - low) / jnp.where(high > low, high - low, 1), 0)


def _levels(image: Image) -> Image:
  """Stretched to the whole values 0 to 255."""
  return jnp.round(_stretched(image) * 255)


def _contrast(image: Image) -> Image:
  near, far = (filter_same(image, gaussian(31, sigma)) for sigma in (2.0, 4.0))
  zero = far == 0
  contrast = jnp.abs(jnp.where(zero, 0, near / jnp.where(zero, 1, far) - 1))
  return contrast**3 / (contrast**2 + 1e-4)


def _alike(x: Image, y: Image) -> Image:
  high = jnp.maximum(x, y)
  return jnp.where(high > 0, jnp.minimum(x, y) / jnp.where(high > 0, high, 1), 1)


def chen_varshney(a: Image, b: Image, f: Image) -> Score:
  """Qcv (Chen and Varshney 2007): error after a contrast sensitivity filter.

  The mean over 16x16 blocks, weighed by their edges (Sobel magnitudes to the power 1, added up).
  The observer is so far away that 16 pixels fill a degree. What does not fill a block is left out;
  below 16 pixels there is none (NaN). Lower is better.
  """
  return _chen_varshney(a, b, f, _cycles(f.shape, 16.0), exponent=1)


def chen_varshney_picture(a: Image, b: Image, f: Image) -> Score:
  """Qcv of an observer whose view the picture fills 4 degrees of, however many pixels it has.

  Each image is stretched to 0 to 255 first, and edges count by their fifth power: blocks with the
  strongest edges decide, and slow changes of brightness are errors too.
  """
  r = _cycles(f.shape, _of_picture(f, 4.0))
  return _chen_varshney(_levels(a), _levels(b), _levels(f), r, exponent=5)


def _chen_varshney(a: Image, b: Image, f: Image, r: np.ndarray, exponent: int) -> Score:
  block = 16
  if min(f.shape) < block:
    return jnp.full((), jnp.nan, f.dtype)
  height, width = f.shape
  sensitivity = 2.6 * (0.0192 + 0.144 * r) * np.exp(-((0.144 * r) ** 1.1))

  def blocks(image, reduce):
    rows, columns = height // block, width // block
    cut = image[: rows * block, : columns * block].reshape(rows, block, columns, block)
    return reduce(cut, axis=(1, 3))

  def salience(image):
    dx, dy = sobel(image)
    return blocks(jnp.sqrt(dx**2 + dy**2) ** exponent, jnp.sum)

  errors = [blocks(_filtered(image - f, sensitivity) ** 2, jnp.mean) for image in (a, b)]
  weights = [salience(a), salience(b)]
  total = jnp.sum(weights[0]) + jnp.sum(weights[1])
  weighed = jnp.sum(weights[0] * errors[0]) + jnp.sum(weights[1] * errors[1])
  return jnp.where(total > 0, weighed / jnp.where(total > 0, total, 1), 0)
