"""What images share in bits: entropy, mutual information and relatives, on 8-bit gray values."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_BINS = 256
Image = Float[Array, "h w"]
Score = Float[Array, ""]


def _levels(image: Image):
  return jnp.clip(image, 0, _BINS - 1).astype(jnp.int32)


def histogram(image: Image) -> Float[Array, "256"]:
  """Shares of the 256 gray values."""
  counts = jnp.zeros(_BINS, jnp.int32).at[_levels(image).reshape(-1)].add(1)
  return counts.astype(image.dtype) / image.size


def joint_histogram(one: Image, other: Image) -> Float[Array, "256 256"]:
  """Shares of the pairs of gray values, rows by `one`."""
  index = _levels(one).reshape(-1) * _BINS + _levels(other).reshape(-1)
  counts = jnp.zeros(_BINS * _BINS, jnp.int32).at[index].add(1)
  return (counts.astype(one.dtype) / one.size).reshape(_BINS, _BINS)


def bits(shares: Float[Array, "..."]) -> Score:
  """Entropy of a distribution, bits; empty cells count nothing."""
  there = shares > 0
  return -jnp.sum(jnp.where(there, shares * jnp.log2(jnp.where(there, shares, 1)), 0))


def entropy(a: Image, b: Image, f: Image) -> Score:
  """EN of the fused image."""
  del a, b
  return bits(histogram(f))


def _information(one: Image, other: Image) -> tuple[Score, Score, Score]:
  """(mutual information, entropy of one, entropy of the other)."""
  joint = joint_histogram(one, other)
  first, second = bits(joint.sum(1)), bits(joint.sum(0))
  return first + second - bits(joint), first, second


def mutual_information(a: Image, b: Image, f: Image) -> Score:
  """MI(a, f) + MI(b, f) (Qu et al. 2002)."""
  return _information(a, f)[0] + _information(b, f)[0]


def normalised_mutual_information(a: Image, b: Image, f: Image) -> Score:
  """2 (MI(a, f) / (H(a) + H(f)) + MI(b, f) / (H(b) + H(f))) (Hossny et al. 2008).

  0 where both are flat.
  """
  parts = [_ratio(shared, x + y) for shared, x, y in (_information(a, f), _information(b, f))]
  return 2 * (parts[0] + parts[1])


def cross_entropy(a: Image, b: Image, f: Image) -> Score:
  """Mean of the divergences of a's and b's histograms from f's, over gray values that both have."""
  fused = histogram(f)

  def divergence(image):
    shares = histogram(image)
    both = (shares > 0) & (fused > 0)
    ratio = jnp.where(both, shares, 1) / jnp.where(both, fused, 1)
    return jnp.sum(jnp.where(both, shares * jnp.log2(ratio), 0))

  return (divergence(a) + divergence(b)) / 2


def nonlinear_correlation(a: Image, b: Image, f: Image) -> Score:
  """Qncie: 1 + sum of l/3 log256(l/3) over eigenvalues l (Wang et al. 2008).

  Of the matrix of nonlinear correlations, mutual information in units of 8 bits.
  """

  def correlation(one, other):
    shared, _, _ = _information(one, other)
    return shared / jnp.log2(jnp.asarray(_BINS, one.dtype))

  ab, af, bf = correlation(a, b), correlation(a, f), correlation(b, f)
  one = jnp.ones_like(ab)
  matrix = jnp.stack([jnp.stack(row) for row in ([one, ab, af], [ab, one, bf], [af, bf, one])])
  share = jnp.clip(jnp.linalg.eigvalsh(matrix), 0) / 3
  there = share > 0
  nats = jnp.where(there, share * jnp.log(jnp.where(there, share, 1)), 0)
  return 1 + jnp.sum(nats) / jnp.log(jnp.asarray(_BINS, a.dtype))


def feature_information_pixel(a: Image, b: Image, f: Image) -> Score:
  """FMI of gray values in 3x3 windows (Haghighat et al. 2011)."""
  return _feature_information(a, b, f)


def feature_information_gradient(a: Image, b: Image, f: Image) -> Score:
  """FMI of gradient magnitudes (central differences) in 3x3 windows."""
  return _feature_information(*(_gradient(image) for image in (a, b, f)))


def _gradient(image: Image) -> Image:
  edges = jnp.pad(image, 1, mode="edge")

  def inner(n):  # central differences span two pixels, those at the border one
    border = (jnp.arange(n) == 0) | (jnp.arange(n) == n - 1)
    return jnp.where(border, 1.0, 0.5).astype(image.dtype)

  y = (edges[2:, 1:-1] - edges[:-2, 1:-1]) * inner(image.shape[0])[:, None]
  x = (edges[1:-1, 2:] - edges[1:-1, :-2]) * inner(image.shape[1])[None, :]
  return jnp.sqrt(x**2 + y**2)


def _feature_information(a: Image, b: Image, f: Image) -> Score:
  return (_windowed(a, f) + _windowed(b, f)) / 2


def _windowed(x: Image, f: Image) -> Score:
  """Mean over windows of 2 I(x; f) / (H(x) + H(f)).

  Each 3x3 window, scaled to a distribution over its nine cells, is a marginal; the joint one with
  the windows' correlation is taken between independence and the Frechet bound of the correlation's
  sign.
  """
  if min(x.shape) < 3:
    return jnp.full((), jnp.nan, x.dtype)
  rows = jax.lax.map(lambda pair: jax.vmap(_window)(*pair), (_neighbours(x), _neighbours(f)))
  return jnp.mean(rows)


def _neighbours(image: Image):
  """[H-2, W-2, 9] windows, cells column by column."""
  h, w = image.shape
  cells = [image[i : h - 2 + i, j : w - 2 + j] for j in range(3) for i in range(3)]
  return jnp.stack(cells, axis=-1)


def _distribution(cells):
  low, high = cells.min(), cells.max()
  flat = high <= low
  scaled = jnp.where(flat, 1.0, (cells - low) / jnp.where(flat, 1.0, high - low))
  scaled = scaled.astype(cells.dtype)
  return scaled / scaled.sum()


def _window(x: Float[Array, "9"], f: Float[Array, "9"]) -> Score:
  p, q = _distribution(x), _distribution(f)
  cp, cq = jnp.cumsum(p)[:, None], jnp.cumsum(q)[None, :]
  independent = cp * cq
  upper, lower = jnp.minimum(cp, cq), jnp.maximum(cp + cq - 1, 0)
  # Hoeffding: the covariance of the cell numbers is the sum of what the joint distribution function
  # adds.
  most, least = jnp.sum(upper - independent), jnp.sum(lower - independent)
  cells = jnp.arange(9, dtype=x.dtype)

  def spread(d):
    variance = jnp.sum(d * cells**2) - jnp.sum(d * cells) ** 2
    return jnp.sqrt(jnp.maximum(variance, 0))

  covariance = _correlation(x, f) * spread(p) * spread(q)
  bound = jnp.where(covariance >= 0, most, least)
  share = jnp.clip(_ratio(covariance, bound), 0, 1)
  joint = share * jnp.where(covariance >= 0, upper, lower) + (1 - share) * independent
  joint = jnp.diff(jnp.diff(joint, axis=0, prepend=0), axis=1, prepend=0)
  first, second = bits(p), bits(q)
  shared = first + second - bits(jnp.maximum(joint, 0))
  return jnp.where(jnp.all(x == f), 1.0, 2 * _ratio(shared, first + second)).astype(x.dtype)


def _correlation(x, f):
  x, f = x - x.mean(), f - f.mean()
  return _ratio(jnp.sum(x * f), jnp.sqrt(jnp.sum(x**2) * jnp.sum(f**2)))


def _ratio(part, whole):
  zero = whole == 0
  return jnp.where(zero, 0, part / jnp.where(zero, 1, whole))
