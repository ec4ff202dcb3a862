"""Quality indices of fused images a second time, straight from the formulas of their papers.

In float64, window by window, with SciPy and scikit-image where they have the part. They share no
code and no order of operations with the package: what is a filter there is a loop here.
"""

import numpy as np
from scipy import ndimage, optimize, stats
from skimage.metrics import structural_similarity


def windows(size, *images):
  """All positions of a square window that fits into the images: the same cut of each."""
  height, width = images[0].shape
  for i in range(height - size + 1):
    for j in range(width - size + 1):
      yield tuple(image[i : i + size, j : j + size] for image in images)


def q0(x, y):
  """Wang and Bovik's index: 4 cov mx my / ((mx^2 + my^2) (vx + vy)), 0 / 0 by its two factors."""
  (vx, cov), (_, vy) = np.cov(x.ravel(), y.ravel())
  mx, my = x.mean(), y.mean()
  if vx + vy < 1e-9:
    return 2 * mx * my / (mx**2 + my**2) if mx or my else 1.0
  return 4 * cov * mx * my / ((mx**2 + my**2) * (vx + vy)) if mx or my else 2 * cov / (vx + vy)


def piella_heijmans(a, b, f, size=8):
  """(Q, Qw) of Piella and Heijmans (2003), with variance as the saliency of a window."""
  qualities, saliencies = [], []
  for x, y, z in windows(size, a, b, f):
    sx, sy = np.var(x, ddof=1), np.var(y, ddof=1)
    share = sx / (sx + sy) if sx + sy > 0 else 0.5
    qualities.append(share * q0(x, z) + (1 - share) * q0(y, z))
    saliencies.append(max(sx, sy))
  whole = sum(saliencies)
  weighed = sum(q * s for q, s in zip(qualities, saliencies, strict=True)) / whole
  return np.mean(qualities), weighed


def ssim_map(x, y):
  """scikit-image's map of SSIM in 7x7 windows that fit."""
  _, whole = structural_similarity(
    x, y, win_size=7, data_range=255, use_sample_covariance=False, full=True
  )
  return whole[3:-3, 3:-3]


def yang(a, b, f):
  """Qy of Yang et al. (2008): where SSIM(a, b) is below 0.75 the better source counts alone."""
  between, from_a, from_b = ssim_map(a, b), ssim_map(a, f), ssim_map(b, f)
  spread_a, spread_b = (ndimage.generic_filter(x, np.var, size=7)[3:-3, 3:-3] for x in (a, b))
  scores = []
  for place in np.ndindex(between.shape):
    whole = spread_a[place] + spread_b[place]
    share = spread_a[place] / whole if whole > 0 else 0.5
    if between[place] >= 0.75:
      scores.append(share * from_a[place] + (1 - share) * from_b[place])
    else:
      scores.append(max(from_a[place], from_b[place]))
  return np.mean(scores)


def as_distribution(cells):
  """A window's nine values as probabilities of its cells; equal ones where it is flat."""
  risen = cells - cells.min()
  return risen / risen.sum() if risen.any() else np.full(cells.size, 1 / cells.size)


def extreme_joint(p, q, falling):
  """The joint distribution of the margins p and q with the largest (least) correlation.

  Made as one pours: what cell i has goes to the first (last) cells of q that still have room.
  """
  joint = np.zeros((p.size, q.size))
  room = q.copy()
  order = range(q.size - 1, -1, -1) if falling else range(q.size)
  for i, amount in enumerate(p):
    for j in order:
      poured = min(amount, room[j])
      joint[i, j] += poured
      room[j] -= poured
      amount -= poured
  return joint


def correlation(joint):
  """Of the cells' numbers."""
  i, j = np.mgrid[: joint.shape[0], : joint.shape[1]]
  mi, mj = (joint * i).sum(), (joint * j).sum()
  si, sj = np.sqrt((joint * (i - mi) ** 2).sum()), np.sqrt((joint * (j - mj) ** 2).sum())
  return (joint * (i - mi) * (j - mj)).sum() / (si * sj) if si * sj > 1e-12 else 0.0


def window_information(x, y):
  """I(x; y) / ((H(x) + H(y)) / 2) of two windows, Haghighat et al. (2011).

  The joint distribution is not known from the windows. It is taken on the line from independence
  to the extreme one, at the place where the cells correlate as the windows' values do.
  """
  x, y = x.T.ravel(), y.T.ravel()
  if np.array_equal(x, y):
    return 1.0
  p, q = as_distribution(x), as_distribution(y)
  wanted = np.corrcoef(x, y)[0, 1] if np.ptp(x) and np.ptp(y) else 0.0
  independent = np.outer(p, q)
  extreme = extreme_joint(p, q, falling=wanted < 0)
  mixed = lambda t: (1 - t) * independent + t * extreme  # noqa: E731
  if min(abs(wanted), abs(correlation(extreme))) < 1e-9:
    joint = independent
  elif abs(correlation(extreme)) <= abs(wanted):
    joint = extreme
  else:
    missing = lambda t: correlation(mixed(t)) - wanted  # noqa: E731
    joint = mixed(optimize.brentq(missing, 0, 1, xtol=1e-14))
  there = joint > 1e-15
  shared = np.sum(joint[there] * np.log2(joint[there] / independent[there]))
  whole = stats.entropy(p, base=2) + stats.entropy(q, base=2)
  return 2 * shared / whole if whole > 0 else 0.0


def feature_information(a, b, f):
  """FMI of the features a, b and f: mean over 3x3 windows and both sources."""
  scores = [
    (window_information(x, z) + window_information(y, z)) / 2 for x, y, z in windows(3, a, b, f)
  ]
  return np.mean(scores)


def gradient(image):
  """Magnitude of central differences."""
  down, across = np.gradient(image)
  return np.sqrt(down**2 + across**2)


def all_of(a, b, f):
  """{name in the package: score}."""
  q, qw = piella_heijmans(a, b, f)
  return {
    "Q": q,
    "Qw": qw,
    "Qy": yang(a, b, f),
    "FMI_pixel": feature_information(a, b, f),
    "FMI_gradient": feature_information(*map(gradient, (a, b, f))),
  }
