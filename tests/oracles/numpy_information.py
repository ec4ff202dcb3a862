"""What two images tell of each other, in float64 with NumPy and SciPy: for numpy_metrics."""

import numpy as np
from scipy import stats


def counts(image):
  return np.bincount(image.astype(int).ravel(), minlength=256) / image.size


def joint(x, y):
  return np.histogram2d(x.ravel(), y.ravel(), bins=256, range=[[-0.5, 255.5]] * 2)[0] / x.size


def mi(x, y):
  h = lambda p: stats.entropy(p.ravel(), base=2)  # noqa: E731
  return h(counts(x)) + h(counts(y)) - h(joint(x, y))


def r(x, y):
  return 0.0 if x.std() == 0 or y.std() == 0 else np.corrcoef(x.ravel(), y.ravel())[0, 1]


def nmi(a, b, f):
  h = lambda x: stats.entropy(counts(x), base=2)  # noqa: E731
  parts = [(mi(x, f), h(x) + h(f)) for x in (a, b)]
  return 2 * sum(m / t if t else 0 for m, t in parts)


def divergence(x, f):
  p, q = counts(x), counts(f)
  ok = (p > 0) & (q > 0)
  return np.sum(p[ok] * np.log2(p[ok] / q[ok]))


def ncie(a, b, f):
  m = np.eye(3)
  for (i, x), (j, y) in (((0, a), (1, b)), ((0, a), (2, f)), ((1, b), (2, f))):
    m[i, j] = m[j, i] = mi(x, y) / 8
  values = np.linalg.eigvals(m).real / 3
  return 1 + sum(v * np.log(v) / np.log(256) for v in values if v > 1e-12)


def fmi(x, f):
  """Window by window, with the joint distribution written out."""
  found = []
  for i in range(x.shape[0] - 2):
    for j in range(x.shape[1] - 2):
      u, v = (image[i : i + 3, j : j + 3].T.ravel() for image in (x, f))
      found.append(1.0 if np.array_equal(u, v) else window_information(u, v))
  return np.mean(found)


def window_information(u, v):
  p, q = (
    np.full(9, 1 / 9) if np.ptp(w) == 0 else (w - w.min()) / np.sum(w - w.min()) for w in (u, v)
  )
  cells = np.arange(9)
  sd = [np.sqrt(max(np.sum(d * cells**2) - np.sum(d * cells) ** 2, 0)) for d in (p, q)]
  covariance = r(u, v) * sd[0] * sd[1]
  up, low = np.zeros((9, 9)), np.zeros((9, 9))
  for m in range(9):
    for n in range(9):
      cp, cq = p[: m + 1].sum(), q[: n + 1].sum()
      up[m, n], low[m, n] = min(cp, cq), max(cp + cq - 1, 0)
  independent = np.outer(p.cumsum(), q.cumsum())
  bound = up if covariance >= 0 else low
  most = (bound - independent).sum()
  t = np.clip(covariance / most, 0, 1) if most else 0
  cdf = np.pad(t * bound + (1 - t) * independent, ((1, 0), (1, 0)))
  pdf = np.clip(cdf[1:, 1:] - cdf[:-1, 1:] - cdf[1:, :-1] + cdf[:-1, :-1], 0, None)
  hp, hq = stats.entropy(p, base=2), stats.entropy(q, base=2)
  shared = hp + hq - (-np.sum(pdf[pdf > 0] * np.log2(pdf[pdf > 0])))
  return 2 * shared / (hp + hq) if hp + hq else 0.0
