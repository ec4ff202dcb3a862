"""Q, Qw, Qy, FMI against a second implementation, and Qcv and Qcb of the profile "vifb"."""

import numpy as np
import numpy_metrics  # pyright: ignore[reportMissingImports]
import pytest
import quality_indices  # pyright: ignore[reportMissingImports]
from helpers import real_data
from PIL import Image
from scipy import ndimage

from tdfusion_jax.metrics.fusion import PROFILES, fusion_metrics

NAMES = ("Q", "Qw", "Qy", "FMI_pixel", "FMI_gradient")


def scene(height, width):
  """Waves with noise, and a flat patch in each image."""
  rng = np.random.default_rng(11)
  y, x = np.mgrid[:height, :width] / width
  a = 120 + 80 * np.sin(11 * x + 5 * y) + rng.normal(0, 10, x.shape)
  b = 110 + 70 * np.cos(7 * x - 9 * y) + rng.normal(0, 14, x.shape)
  f = 0.55 * a + 0.45 * b + rng.normal(0, 5, x.shape)
  a[:9, :9], b[12:, :11], f[:10, 30:] = 20, 240, 90
  return [np.clip(np.round(image), 0, 255).astype(np.uint8) for image in (a, b, f)]


def real(place, name, rows, columns):
  """A part of a real pair, and its maximum as the fused image."""
  folder = real_data() / place
  files = (next((folder / side).glob(f"{name}.*")) for side in ("ir", "vi"))
  a, b = (np.asarray(Image.open(file).convert("L"))[rows, columns] for file in files)
  return [a, b, np.maximum(a, b)]


CASES = {
  "synthetic": lambda: scene(24, 40),
  "RoadScene": lambda: real("RoadScene", "FLIR_00122", np.s_[150:174], np.s_[200:240]),
  "TNO": lambda: real("TNO", "01", np.s_[300:324], np.s_[350:390]),
  "MSRS by night": lambda: real("MSRS_unlabelled", "00710N", np.s_[200:224], np.s_[300:340]),
}


@pytest.mark.parametrize("case", CASES)
def test_equal_to_a_second_implementation(case):
  """Expected: `oracles/quality_indices.py`, which is written from the papers' formulas."""
  images = CASES[case]()
  expected = quality_indices.all_of(*(image.astype(np.float64) for image in images))
  found = fusion_metrics(*(image[None] for image in images), metrics=NAMES)
  for name in NAMES:
    assert 0.01 < expected[name] < 1, name
    np.testing.assert_allclose(found[name][0], expected[name], rtol=5e-5, err_msg=name)


def by_angle(image, degrees, response):
  """Filtered by a response to cycles per degree, where the picture is so many degrees wide and
  high: each frequency is a whole number of cycles per picture."""
  height, width = image.shape
  rows, columns = (np.arange(n) - n // 2 for n in image.shape)
  radius = np.hypot(*np.meshgrid(rows / degrees, columns / degrees, indexing="ij"))
  assert radius[height // 2, width // 2] == 0
  return np.fft.ifft2(np.fft.fft2(image) * np.fft.ifftshift(response(radius))).real


def stretched(image):
  return np.round((image - image.min()) * 255 / np.ptp(image))


def varshney(a, b, f):
  """Block by block, each weighed by the sum of its edges' fifth powers."""
  a, b, f = map(stretched, (a, b, f))
  response = lambda r: 2.6 * (0.0192 + 0.144 * r) * np.exp(-((0.144 * r) ** 1.1))  # noqa: E731
  errors, weights = [], []
  for x in (a, b):
    error = by_angle(x - f, 4, response) ** 2
    edges = np.hypot(*(ndimage.sobel(x, axis, mode="constant") for axis in (0, 1)))
    for i in range(x.shape[0] // 16):
      for j in range(x.shape[1] // 16):
        block = np.s_[16 * i : 16 * i + 16, 16 * j : 16 * j + 16]
        errors.append(error[block].mean())
        weights.append((edges[block] ** 5).sum())
  return np.average(errors, weights=weights)


def blum(a, b, f):
  response = lambda r: (  # noqa: E731
    np.exp(-((r / 15.387) ** 2)) - 0.7622 * np.exp(-((r / 1.3456) ** 2))
  )

  def contrast(x):
    x = by_angle(stretched(x), 15, response)
    near, far = (ndimage.convolve(x, numpy_metrics.window(31, s), mode="constant") for s in (2, 4))
    c = np.abs(near / far - 1)
    return c**3 / (c**2 + 1e-4)

  ca, cb, cf = map(contrast, (a, b, f))
  alike = [np.minimum(c, cf) / np.maximum(c, cf) for c in (ca, cb)]
  return np.mean((ca**2 * alike[0] + cb**2 * alike[1]) / (ca**2 + cb**2))


@pytest.mark.parametrize("case", ["synthetic", "TNO"])
def test_profile_vifb_is_what_the_manual_says_of_it(case):
  """Expected: Qcv and Qcb by NumPy, of a picture of 4 and 15 degrees, edges to the power 5."""
  images = (
    scene(50, 70) if case == "synthetic" else real("TNO", "01", np.s_[260:310], np.s_[340:410])
  )
  exact = [image.astype(np.float64) for image in images]
  one = [image[None] for image in images]
  found = fusion_metrics(*one, metrics=("Qcv", "Qcb", "SSIM"), profile="vifb")
  np.testing.assert_allclose(found["Qcv"][0], varshney(*exact), rtol=1e-3)
  np.testing.assert_allclose(found["Qcb"][0], blum(*exact), rtol=1e-3)
  ours = fusion_metrics(*one, metrics=("Qcv", "Qcb", "SSIM"))
  assert abs(ours["Qcv"][0] / found["Qcv"][0] - 1) > 0.05
  assert ours["SSIM"] == found["SSIM"] and set(PROFILES["vifb"].measures) == {"Qcv", "Qcb"}
