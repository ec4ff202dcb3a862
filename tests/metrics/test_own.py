"""Metrics of the user's own beside ours."""

import json
import sys

import numpy as np
import pytest

from tdfusion_jax import cli
from tdfusion_jax.files import UsageError
from tdfusion_jax.images.writing import write_image
from tdfusion_jax.metrics.fusion import METRICS, Metric, fusion_metrics
from tdfusion_jax.metrics.own import own_metric

CODE = """
import numpy as np


def brightness(fused, ir, vi):
  assert fused.shape == ir.shape == vi.shape and fused.dtype == np.float32
  return fused.mean() + 1000 * ir.mean() + 1000_000 * vi.mean()


def darkness(fused, ir, vi):
  return 255 - fused.mean()


darkness.higher_is_better = False


def EN(fused, ir, vi):
  return 0


def row_means(fused, ir, vi):
  return fused.mean(0)
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(sys, "path", list(sys.path))
  (tmp_path / "own_scores.py").write_text(CODE)
  yield tmp_path
  sys.modules.pop("own_scores", None)


def flat(value):
  return np.full((2, 8, 9), value, np.uint8)


def test_the_function_sees_the_images_in_the_documented_order_and_range(mine):
  own = own_metric("own_scores:brightness", "--metrics")
  with pytest.warns(UserWarning, match="flat"):
    scores = fusion_metrics(flat(3), flat(4), flat(200), metrics=["EN", own])
  assert list(scores) == ["EN", "brightness"]
  # 200 of the fused image, 3 of infrared, 4 of visible, each constant: see CODE.
  np.testing.assert_allclose(scores["brightness"], 4_003_200, rtol=1e-6)


def test_a_metric_object_of_ones_own_is_not_replaced_by_a_profiles():
  own = Metric("SSIM", lambda a, b, f: 0.25, True, "", "")
  images = np.random.default_rng(0).integers(0, 255, (3, 1, 16, 16), dtype=np.uint8)
  assert fusion_metrics(*images, metrics=[own], profile="sum")["SSIM"] == 0.25


def test_the_command_line_measures_it(mine, capsys):
  values = np.linspace(0, 1, 64).reshape(8, 8, 1)
  for side, image in (
    ("ir", values),
    ("vi", values[::-1]),
    ("dark", values * 0.2),
    ("bright", values * 0.2 + 0.8),
  ):
    write_image(mine / side / "a.png", image)
  command = ["evaluate", "--ir=ir", "--vi=vi", "--fused=dark", "--fused=bright", "--out=scores"]
  assert cli.main([*command, "--metrics=en,own_scores:darkness"]) == 0
  found = json.loads((mine / "scores.json").read_text())
  assert found["lower_is_better"] == ["darkness"]
  # Means of a ramp: 255 (1 - 0.1) and 255 (1 - 0.9), to the rounding of 8-bit files.
  np.testing.assert_allclose(found["means"]["dark"]["darkness"], 229.5, atol=0.5)
  np.testing.assert_allclose(found["means"]["bright"]["darkness"], 25.5, atol=0.5)
  assert list(found["means"]["dark"]) == ["EN", "darkness"]
  capsys.readouterr()


@pytest.mark.parametrize(
  ("metrics", "message"),
  [
    (
      "own_scores:bright",
      "--metrics='own_scores:bright': own_scores has no bright. Is it brightness?",
    ),
    ("nowhere:f", "--metrics='nowhere:f': there is no module nowhere in"),
    (
      "EN,own_scores:EN",
      "--metrics: two are called EN; give the function of own_scores:EN another name.",
    ),
    ("own_scores:row_means", "a number is needed, not float32 of shape (8,)"),
  ],
)
def test_what_is_no_metric_is_named(mine, capsys, metrics, message):
  for side in ("ir", "vi", "fused"):
    write_image(mine / side / "a.png", np.linspace(0, 1, 64).reshape(8, 8, 1))
  command = ["evaluate", "--ir=ir", "--vi=vi", "--fused=fused"]
  assert cli.main([*command, f"--metrics={metrics}"]) == 2
  assert message in capsys.readouterr().err


def test_its_direction_defaults_to_higher(mine):
  assert own_metric("own_scores:brightness", "x").higher_is_better
  assert not own_metric("own_scores:darkness", "x").higher_is_better
  assert all(isinstance(metric, Metric) for metric in METRICS.values())
  with pytest.raises(UsageError):
    own_metric("own_scores:", "x")
