"""Fusion metrics against independent oracles, golden values and cases known by hand."""

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from helpers import goldens
from PIL import Image

from tdfusion_jax.metrics.fusion import METRICS, PAPER, fusion_metrics

sys.path.insert(0, str(Path(__file__).parents[1] / "oracles"))
import numpy_metrics  # pyright: ignore[reportMissingImports]

SIZE = (29, 46)
RNG = np.random.default_rng(5)
ALL = tuple(METRICS)
# Windows need 3, 7, 8, 11, 16 or 17 pixels.
NEED = {
  "FMI_pixel": 3,
  "FMI_gradient": 3,
  "SSIM": 7,
  "Qy": 7,
  "Q": 8,
  "Qw": 8,
  "MS_SSIM": 11,
  "Qcv": 16,
  "VIFF": 17,
}


def scene(height, width, count=2):
  """Smooth shapes with noise, as bytes: three different but related images."""
  y, x = np.mgrid[:height, :width] / max(height, width)
  images = []
  for k in range(3):
    waves = [np.sin(9 * (x + 0.3 * i) * (1 + k % 2) + 7 * y * i) for i in range(count)]
    images.append(127 + 70 * np.array(waves) + RNG.normal(0, 12, (count, height, width)))
  a, b = images[:2]
  f = 0.6 * a + 0.4 * b + RNG.normal(0, 4, a.shape)
  return [np.clip(np.round(image), 0, 255).astype(np.uint8) for image in (a, b, f)]


def assert_as_oracle(name, images, found, rtol=2e-4, atol=2e-5):
  for row, triple in enumerate(zip(*images, strict=True)):
    expected = numpy_metrics.ORACLES[name](*(image.astype(np.float64) for image in triple))
    np.testing.assert_allclose(
      found[row], expected, rtol=rtol, atol=atol, err_msg=f"{name}, image {row}"
    )


def test_there_is_an_oracle_for_each_of_more_than_twenty():
  assert set(numpy_metrics.ORACLES) == set(METRICS) and len(METRICS) >= 21
  assert all(m.bounds and m.source and m.name == name for name, m in METRICS.items())


@pytest.fixture(scope="module")
def measured():
  images = scene(*SIZE, count=1)
  return images, fusion_metrics(*images, metrics=ALL)


@pytest.mark.parametrize("name", ALL)
def test_equal_to_the_oracle_on_random_scenes(measured, name):
  images, found = measured
  assert found[name].shape == (1,) and np.isfinite(found[name]).all() and (found[name] != 0).all()
  assert_as_oracle(name, images, found[name])


def test_golden_values():
  """`goldens/metrics.json`, made independently of this project; sources are the real pairs."""
  folder = goldens()
  data = folder.parent / "data"
  if not data.is_dir():
    pytest.skip("the real pairs are not there")
  golden = json.loads((folder / "metrics.json").read_text())
  assert len(golden) == 5
  for stem, expected in golden.items():
    place, name_of_pair = stem.split("_", 1)
    place = {"MSRS": "MSRS_unlabelled"}.get(place, place)
    images = [next((data / str(place) / kind).glob(f"{name_of_pair}.*")) for kind in ("ir", "vi")]
    images.append(folder / "metrics" / f"{stem}.png")
    found = fusion_metrics(*(np.asarray(Image.open(path).convert("L"))[None] for path in images))
    for name in PAPER:
      rtol = 2e-5 if name == "SSIM" else 1e-6
      np.testing.assert_allclose(
        found[name][0], expected[name], rtol=rtol, err_msg=f"{stem} {name}"
      )


@pytest.mark.filterwarnings("ignore:.*flat")
@pytest.mark.parametrize(
  "case", ["flat", "all flat", "black", "equal", "opposite", "checkers", "row", "tiny"]
)
def test_edge_images_have_the_oracles_values_and_no_nan(case):
  size = {"row": (1, 40), "tiny": (5, 6)}.get(case, SIZE)
  a, b, f = scene(*size, count=1)
  if case in ("flat", "all flat", "black"):
    f = np.full_like(f, 0 if case == "black" else 90)
    if case == "all flat":
      a, b = np.full_like(a, 90), np.full_like(b, 20)
  elif case == "equal":
    b = f = a
  elif case == "opposite":
    b, f = 255 - a, a
  elif case == "checkers":
    f = ((np.indices(size).sum(0) % 2) * 255).astype(np.uint8)[None]
  found = fusion_metrics(a, b, f, metrics=ALL)
  for name in ALL:
    if min(size) < NEED.get(name, 1):
      assert np.isnan(found[name]).all(), f"{name} has no window in {size}"
    elif name == "PSNR" and case == "equal":
      assert np.isinf(found[name]).all()
    else:
      assert np.isfinite(found[name]).all(), name
      assert_as_oracle(name, (a, b, f), found[name], rtol=1e-3, atol=1e-4)


def partly_flat(size=(96, 120)):
  """A scene of which large parts are even, as clipped sky and night are; one source nearly all."""
  a, b, f = (image.copy() for image in scene(*size, count=2))
  a[0, :60, :80], b[0, 30:, :50], f[0, :50] = 17, 201, 240
  a[1], f[1, 20:] = 17, 90
  a[1, 40:44, 40:44] = 18
  return a, b, f


@pytest.mark.parametrize("name", ["VIF", "VIFF"])
def test_even_ground_is_exact_in_float32(name):
  """Expected: the oracle in float64. `E[x^2] - E[x]^2` in float32 is off by a third here."""
  images = partly_flat()
  assert_as_oracle(name, images, fusion_metrics(*images, metrics=(name,))[name], rtol=1e-4)


def test_compilers_order_of_operations_does_not_matter(tmp_path):
  """XLA without its optimisations, in a process of its own, gives the same on even ground."""
  images = partly_flat()
  np.savez(tmp_path / "images.npz", *images)
  script = (
    "import sys, warnings, numpy as np; warnings.simplefilter('ignore')\n"
    "from tdfusion_jax.metrics.fusion import METRICS, fusion_metrics\n"
    "images = list(np.load('images.npz').values())\n"
    "np.savez('found.npz', **fusion_metrics(*images, metrics=list(METRICS)))\n"
  )
  environment = {
    **os.environ,
    "XLA_FLAGS": "--xla_backend_optimization_level=0",
    "PYTHONPATH": str(Path(__file__).parents[2]),
  }
  command = [sys.executable, "-c", script]
  subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=300)
  expected = fusion_metrics(*images, metrics=ALL)
  with np.load(tmp_path / "found.npz") as found:
    assert set(found.files) == set(ALL)
    for name in ALL:
      np.testing.assert_allclose(found[name], expected[name], rtol=2e-4, atol=1e-6, err_msg=name)


def test_flat_images_warn():
  a, b, f = scene(20, 20)
  f[1] = 7
  with pytest.warns(UserWarning, match="1 of 2 fused images are flat"):
    found = fusion_metrics(a, b, f)
  assert all(np.isfinite(values).all() for values in found.values())


def test_profiles_and_roundings():
  a, b, f = scene(20, 20)
  mean, total = (
    fusion_metrics(a, b, f, metrics=("SSIM", "VIF"), profile=p) for p in ("tdfusion", "sum")
  )
  for name in ("SSIM", "VIF"):
    np.testing.assert_allclose(total[name], 2 * mean[name], rtol=1e-6)
  level = np.full((1, 8, 8), 100.6 / 255, np.float32)
  level[0, 0, 0] = 0

  def sd(rounding):
    scores = fusion_metrics(level, level, level, metrics=("SD",), rounding=rounding)
    return float(scores["SD"][0])

  # One pixel of 64 differs by v: the standard deviation is v sqrt(63) / 64.
  for rounding, value in (("round", 101), ("truncate", 100), ("none", 100.6)):
    assert sd(rounding) == pytest.approx(value * 63**0.5 / 64, rel=1e-4)
  for profile, value in (("tdfusion", 101), ("sum", 101), ("truncate", 100), ("float", 100.6)):
    found = fusion_metrics(level, level, level, metrics=("SD",), profile=profile)["SD"][0]
    assert found == pytest.approx(value * 63**0.5 / 64, rel=1e-4), profile


def test_wrong_arguments_are_named():
  a, b, f = scene(20, 20)
  with pytest.raises(ValueError, match="unknown metric QABF"):
    fusion_metrics(a, b, f, metrics=("QABF",))
  with pytest.raises(ValueError, match="profile 'other'"):
    fusion_metrics(a, b, f, profile="other")
  with pytest.raises(ValueError, match="of one size"):
    fusion_metrics(a, b, f[:, 1:])
  with pytest.raises(ValueError, match=r"fused: floating-point values are in \[0, 1\]"):
    fusion_metrics(a, b, f.astype(np.float32))
  with pytest.raises(ValueError, match="rounding"):
    fusion_metrics(a, b, f, rounding="up")


def test_a_mean_over_images_warns_of_nothing_without_flat_ones():
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    fusion_metrics(*scene(20, 20))


@pytest.mark.parametrize("values", [(57, 87), (101, 131)])
def test_flat_images_are_flat_whatever_their_value(values):
  """The float32 mean of 32,000 times 57 is not 57. Expected: the definitions, 0 for a flat
  image."""
  a, f = (np.full((160, 200), value, np.uint8) for value in values)
  b = np.random.default_rng(0).integers(0, 256, (160, 200)).astype(np.uint8)
  with pytest.warns(UserWarning, match="flat"):
    found = fusion_metrics(a[None], b[None], f[None], metrics=("CC", "SD"))
  assert found["CC"][0] == 0 and found["SD"][0] == 0
