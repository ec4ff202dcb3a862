"""tools/polish.py: its measures beside the metrics, and two rounds of two steps."""

import jax
import jax.numpy as jnp
import numpy as np
import polish
import polish_measures as measures
import pytest
import tiny
from distil_pairs import Crops, crops_of

from tdfusion_jax import fusers
from tdfusion_jax.metrics import edges, perceptual, similarity


@pytest.fixture(scope="module")
def pair():
  crops = crops_of(1, 0)
  ir, vi = (np.float32(side[0, :128, :128]) / 255 for side in crops)
  return ir, vi, np.float32(0.6) * ir + np.float32(0.4) * vi


def test_its_measures_are_those_of_the_metrics(pair):
  """Expected: the exact metrics; they differ by what makes these smooth."""
  a, b, f = (image[None] for image in pair)
  ours = [
    measures.vif(a, f)[0],
    measures.ssim(a, f)[0],
    measures.scd(a, b, f)[0],
    measures.qabf(a, b, f)[0],
  ]
  a, b, f = (jnp.asarray(image * 255) for image in pair)
  exact = [
    perceptual.visual_information_fidelity(a, f),
    similarity.structural_similarity(a, f),
    similarity.sum_of_correlations_of_differences(a, b, f),
    edges.edge_preservation(a, b, f),
  ]
  np.testing.assert_allclose(ours[:-1], exact[:-1], atol=0.02)
  # Noise has edges of any direction, whose opposites Qabf tells apart and ours does not.
  np.testing.assert_allclose(ours[-1], exact[-1], atol=0.1)
  assert min(exact) > 0.1


def test_overshoot_counts_what_no_source_shows():
  """Expected: by hand; one pixel of 64 is .2 too bright and one .3 too dark, .01 is let be."""
  a = np.full((1, 8, 8), 0.5, np.float32)
  fused = a.copy()
  fused[0, 2, 2], fused[0, 5, 5] = 0.7, 0.2
  assert measures.overshoot(a, a, fused) == pytest.approx((0.19 + 0.29) / 64, rel=1e-5)
  assert measures.overshoot(a, a, a) == 0


def test_slopes_are_finite_where_images_are_flat():
  flat = np.zeros((1, 128, 128), np.float32)
  how = polish.ROUNDS["F"][-1]
  slope = jax.grad(lambda fused: polish.loss(how, flat, flat, fused)[0])(flat)
  assert np.isfinite(slope).all()


def test_rounds_go_on_where_the_one_before_ended(pair, tmp_path, monkeypatch):
  tiny.compile_quickly(monkeypatch)
  ir, vi = (np.uint8(image * 255)[None].repeat(2, 0) for image in pair[:2])
  pairs = Crops(*(np.pad(side, ((0, 0), (0, 64), (0, 64)), "edge") for side in (ir, vi)))
  rounds = {"fast": [polish.ROUNDS["fast"][0]._replace(steps=2)] * 2}
  start = fusers.fusion_file(weights="fast")
  polish.polish(start, pairs, tmp_path, 1, rounds)
  _, before = fusers.load_fusion(weights=start)
  fuser, after = fusers.load_fusion(weights=tmp_path / "2.safetensors")
  assert fuser.name == "fast"
  moved = jax.tree.map(lambda x, y: np.abs(x - y).max(), before, after)
  assert 1e-5 < max(jax.tree.leaves(moved)) < 0.01
  second = (tmp_path / "2.safetensors").read_bytes()
  polish.polish(start, pairs, tmp_path, 2, rounds)
  assert (tmp_path / "2.safetensors").read_bytes() == second
