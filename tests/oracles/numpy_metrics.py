"""The fusion metrics again, in float64 with NumPy, SciPy and scikit-image: plain, slow, and by
other means."""

import warnings

import numpy as np
from numpy_information import (  # pyright: ignore[reportMissingImports]
  counts,
  divergence,
  fmi,
  mi,
  ncie,
  nmi,
  r,
)
from scipy import ndimage, signal, stats
from skimage import metrics as sk

PEAK = 255


def both(measure):
  return lambda a, b, f: (measure(a, f) + measure(b, f)) / 2


def magnitude(x):
  return np.hypot(*np.gradient(x))


def sobel(x):
  kernel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
  return signal.convolve2d(x, kernel, "same"), signal.convolve2d(x, -kernel.T, "same")


def angle_and_strength(x):
  dx, dy = sobel(x)
  with np.errstate(divide="ignore", invalid="ignore"):
    angle = np.where(dx == 0, np.pi / 2, np.arctan(dy / dx))
  return angle, np.hypot(dx, dy)


def kept(x, f):
  (ax, gx), (af, gf) = angle_and_strength(x), angle_and_strength(f)
  with np.errstate(divide="ignore", invalid="ignore"):
    g = np.where(gx == gf, gf, np.minimum(gx, gf) / np.maximum(gx, gf))
  turn = 1 - np.abs(ax - af) / (np.pi / 2)
  return 0.9994 / (1 + np.exp(-15 * (g - 0.5))) * 0.9879 / (1 + np.exp(-22 * (turn - 0.8)))


def transfer(which):
  def measure(a, b, f):
    (_, ga), (_, gb), (_, gf) = (angle_and_strength(x) for x in (a, b, f))
    qa, qb = kept(a, f), kept(b, f)
    mask = {
      "kept": np.ones_like(ga),
      "lost": (gf <= ga) | (gf <= gb),
      "new": (gf > ga) & (gf > gb),
    }[which]
    top = qa * ga + qb * gb if which == "kept" else (1 - qa) * ga + (1 - qb) * gb
    return np.sum(mask * top) / np.sum(ga + gb) if np.sum(ga + gb) else 0.0

  return measure


def window(size, sigma):
  line = signal.get_window(("gaussian", sigma), size, fftbins=False)
  square = np.outer(line, line)
  return square / square.sum()


def vif(x, f):
  top = bottom = 0.0
  if np.ptp(x) == 0:
    return float(np.ptp(f) == 0)
  for n in (17, 9, 5, 3):
    w = window(n, n / 5)
    mean = lambda z, w=w: signal.fftconvolve(z, w, "valid")  # noqa: E731
    if n < 17:
      x, f = mean(x)[::2, ::2], mean(f)[::2, ::2]
    if min(x.shape) < n:
      break
    vx, vf = (np.maximum(mean(z * z) - mean(z) ** 2, 0) for z in (x, f))
    cov = mean(x * f) - mean(x) * mean(f)
    g = cov / (vx + 1e-10)
    sv = vf - g * cov
    bad = vx < 1e-8
    g[bad], sv[bad], vx[bad] = 0, vf[bad], 0
    bad = vf < 1e-8
    g[bad], sv[bad] = 0, 0
    bad = g < 0
    sv[bad], g[bad] = vf[bad], 0
    sv = np.maximum(sv, 1e-10)
    top += np.log10(1 + g**2 * vx / (sv + 2)).sum()
    bottom += np.log10(1 + vx / 2).sum()
  return top / bottom if bottom else 0.0  # no window fits


def viff(a, b, f):
  ratios, shares = [], []
  for n, share in zip((17, 9, 5, 3), (1, 0, 0.15, 1), strict=True):
    w = window(n, n / 5)
    mean = lambda z, w=w: signal.fftconvolve(z, w, "valid")  # noqa: E731
    if n < 17:
      a, b, f = (mean(z)[::2, ::2] for z in (a, b, f))
    if min(a.shape) < n:
      break
    parts = []
    for x in (a, b):
      vx, vf = (np.maximum(mean(z * z) - mean(z) ** 2, 0) for z in (x, f))
      cov = mean(x * f) - mean(x) * mean(f)
      g = cov / (vx + 1e-10)
      sv = vf - g * cov
      zero = (vx < 1e-8) | (vf < 1e-8)
      sv = np.where(vx < 1e-8, vf, sv)
      vx = np.where(vx < 1e-8, 0, vx)
      sv = np.where(vf < 1e-8, 0, sv)
      g = np.where(zero, 0, g)
      sv = np.maximum(np.where(g < 0, vf, sv), 1e-10)
      g = np.maximum(g, 0)
      noise = 0.005 * 255**2
      parts.append((g, np.log2(1 + g**2 * vx / (sv + noise)), np.log2(1 + vx / noise)))
    (ga, ka, wa), (gb, kb, wb) = parts
    ratios.append(
      (np.where(ga < gb, kb, ka) + 1e-7).sum() / (np.where(ga < gb, wb, wa) + 1e-7).sum()
    )
    shares.append(share)
  return np.dot(ratios, shares) / np.sum(shares)


def ms_ssim(x, f):
  weights = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
  count = min(5, 1 + int(np.log2(min(x.shape) / 11)))
  score = 1.0
  for scale in range(count):
    w = window(11, 1.5)
    mean = lambda z, w=w: signal.convolve2d(z, w, "valid")  # noqa: E731
    mx, mf = mean(x), mean(f)
    vx, vf, cov = mean(x * x) - mx**2, mean(f * f) - mf**2, mean(x * f) - mx * mf
    cs = (2 * cov + 58.5225) / (vx + vf + 58.5225)
    full = cs * (2 * mx * mf + 6.5025) / (mx**2 + mf**2 + 6.5025)
    part = (full if scale == count - 1 else cs).mean()
    score *= max(part, 0) ** (weights[scale] / sum(weights[:count]))
    h, w2 = x.shape[0] // 2 * 2, x.shape[1] // 2 * 2
    x, f = (
      (z[:h:2, :w2:2] + z[1:h:2, :w2:2] + z[:h:2, 1:w2:2] + z[1:h:2, 1:w2:2]) / 4 for z in (x, f)
    )
  return score


def blocks_of(x, n):
  return np.lib.stride_tricks.sliding_window_view(x, (n, n)).reshape(
    x.shape[0] - n + 1, x.shape[1] - n + 1, n * n
  )


def wang_bovik(x, f):
  u, v = blocks_of(x, 8), blocks_of(f, 8)
  mu, mv, su, sv = u.mean(-1), v.mean(-1), u.var(-1), v.var(-1)
  cov = (u * v).mean(-1) - mu * mv
  with np.errstate(divide="ignore", invalid="ignore"):
    level = np.where(mu**2 + mv**2 > 0, 2 * mu * mv / (mu**2 + mv**2), 1)
    shape = np.where(su + sv < 1e-3, 1, 2 * cov / (su + sv))
  return level * shape, su


def piella(weighted):
  def measure(a, b, f):
    (qa, sa), (qb, sb) = wang_bovik(a, f), wang_bovik(b, f)
    share = np.divide(sa, sa + sb, out=np.full_like(sa, 0.5), where=sa + sb > 0)
    q, salience = share * qa + (1 - share) * qb, np.maximum(sa, sb)
    return np.average(q, weights=salience) if weighted and salience.sum() else q.mean()

  return measure


def ssim_map(x, y):
  u, v = blocks_of(x, 7), blocks_of(y, 7)
  mu, mv = u.mean(-1), v.mean(-1)
  cov = (u * v).mean(-1) - mu * mv
  top = (2 * mu * mv + 6.5025) * (2 * cov + 58.5225)
  return top / ((mu**2 + mv**2 + 6.5025) * (u.var(-1) + v.var(-1) + 58.5225))


def yang(a, b, f):
  ab, af, bf = ssim_map(a, b), ssim_map(a, f), ssim_map(b, f)
  sa, sb = blocks_of(a, 7).var(-1), blocks_of(b, 7).var(-1)
  share = np.divide(sa, sa + sb, out=np.full_like(sa, 0.5), where=sa + sb > 0)
  return np.where(ab >= 0.75, share * af + (1 - share) * bf, np.maximum(af, bf)).mean()


def through(x, sensitivity, scale):
  """Filtered by the long way round: centred spectrum, response on a centred grid."""
  rows, columns = (np.arange(n) - n // 2 for n in x.shape)
  radius = np.sqrt(
    (rows[:, None] / x.shape[0] * scale) ** 2 + (columns[None, :] / x.shape[1] * scale) ** 2
  )
  return np.fft.ifft2(np.fft.ifftshift(np.fft.fftshift(np.fft.fft2(x)) * sensitivity(radius))).real


def chen_blum(a, b, f):
  def contrast(x):
    x = (x - x.min()) / np.ptp(x) if np.ptp(x) else np.zeros_like(x)
    x = through(
      x, lambda r: np.exp(-((r / 15.387) ** 2)) - 0.7622 * np.exp(-((r / 1.3456) ** 2)), 30
    )
    near, far = (ndimage.convolve(x, window(31, s), mode="constant") for s in (2, 4))
    c = np.abs(np.divide(near, far, out=np.ones_like(near), where=far != 0) - 1)
    return c**3 / (c**2 + 1e-4)

  ca, cb, cf = (contrast(x) for x in (a, b, f))
  alike = lambda x, y: np.divide(  # noqa: E731
    np.minimum(x, y), np.maximum(x, y), out=np.ones_like(x), where=np.maximum(x, y) > 0
  )
  share = np.divide(ca**2, ca**2 + cb**2, out=np.full_like(ca, 0.5), where=ca**2 + cb**2 > 0)
  return np.mean(share * alike(ca, cf) + (1 - share) * alike(cb, cf))


def chen_varshney(a, b, f):
  csf = lambda r: 2.6 * (0.0192 + 0.144 * r) * np.exp(-((0.144 * r) ** 1.1))  # noqa: E731
  top = bottom = 0.0
  for x in (a, b):
    error, edge = through(x - f, csf, 16) ** 2, np.hypot(*sobel(x))
    for i in range(0, f.shape[0] // 16 * 16, 16):
      for j in range(0, f.shape[1] // 16 * 16, 16):
        cell = np.s_[i : i + 16, j : j + 16]
        top, bottom = top + edge[cell].sum() * error[cell].mean(), bottom + edge[cell].sum()
  return top / bottom if bottom else 0.0


def mse(a, b, f):
  return (sk.mean_squared_error(a, f) + sk.mean_squared_error(b, f)) / 2


def psnr(a, b, f):
  with warnings.catch_warnings(), np.errstate(divide="ignore"):
    warnings.simplefilter("ignore")
    return 10 * np.log10(PEAK**2 / mse(a, b, f))


def average_gradient(a, b, f):
  dx, dy = f[:-1, 1:] - f[:-1, :-1], f[1:, :-1] - f[:-1, :-1]
  return np.sqrt((dx**2 + dy**2) / 2).mean() if dx.size else 0.0


def spatial_frequency(a, b, f):
  return np.sqrt(
    sum((d**2).mean() if d.size else 0 for d in (np.diff(f, axis=0), np.diff(f, axis=1)))
  )


def edge_intensity(a, b, f):
  inner = np.hypot(ndimage.sobel(f, 0), ndimage.sobel(f, 1))[1:-1, 1:-1]
  return inner.mean() if inner.size else 0.0


ORACLES = {
  "EN": lambda a, b, f: stats.entropy(counts(f), base=2),
  "SD": lambda a, b, f: f.std(),
  "SF": spatial_frequency,
  "AG": average_gradient,
  "EI": edge_intensity,
  "MI": lambda a, b, f: mi(a, f) + mi(b, f),
  "NMI": nmi,
  "CE": both(divergence),
  "Qncie": ncie,
  "FMI_pixel": both(fmi),
  "FMI_gradient": lambda a, b, f: both(fmi)(*(magnitude(x) for x in (a, b, f))),
  "CC": both(r),
  "SCD": lambda a, b, f: r(f - b, a) + r(f - a, b),
  "MSE": mse,
  "PSNR": psnr,
  "SSIM": both(lambda x, f: sk.structural_similarity(x, f, win_size=7, data_range=PEAK)),
  "MS_SSIM": both(ms_ssim),
  "VIF": both(vif),
  "VIFF": viff,
  "Qabf": transfer("kept"),
  "Labf": transfer("lost"),
  "Nabf": transfer("new"),
  "Q": piella(False),
  "Qw": piella(True),
  "Qy": yang,
  "Qcb": chen_blum,
  "Qcv": chen_varshney,
}
"""Name: (a, b, f) -> score, on float64 images in [0, 255] with 8-bit values."""
