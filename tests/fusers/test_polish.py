"""tools/polish.py: its measures beside the metrics, and two rounds of two steps."""

import jax
import jax.numpy as jnp
import numpy as np
import polish
import polish_measures as measures
import pytest
import tiny
from distil_pairs import Crops, crops_of
from polish_rounds import ROUNDS, Dark, Sharp

from tdfusion_jax import fusers
from tdfusion_jax.metrics import edges, perceptual, similarity
from tdfusion_jax.ops import compiling
from tdfusion_jax.weightfiles import save_weights


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


def test_slopes_are_finite_where_images_are_flat(monkeypatch):
  tiny.compile_quickly(monkeypatch)
  flat = np.zeros((1, 128, 128), np.float32)
  how = ROUNDS["F"][-1]
  slope = compiling.jit(jax.grad(lambda fused: polish.loss(how, flat, flat, fused)[0]))(flat)
  assert np.isfinite(slope).all()


def test_pairs_are_sharp_and_dark_as_far_as_their_levels_say():
  """Expected: by hand; stripes of d levels, one pixel each, have an SF of d (less one of W)."""
  stripes = np.tile(np.float32([0, 1] * 64), (128, 1))
  bright = (100 + np.float32([8, 10, 20])[:, None, None] * stripes) / 255
  night = np.full_like(bright, 42 / 255)
  how = ROUNDS["F"][11]
  assert how.sharp.least == 7.5 and how.dark.sharp == 0
  sharp, dark = polish.shares(how, bright, bright)
  np.testing.assert_allclose(sharp, [0.1, 0.5, 1], atol=1e-4)
  np.testing.assert_array_equal(dark, 0)
  sharp, dark = polish.shares(how, bright, night)
  np.testing.assert_allclose(dark, 0.5, atol=1e-5)  # 10 of the 20 levels below 52
  np.testing.assert_array_equal(sharp, 0)  # the softer image is flat
  sharp, _ = polish.shares(how, bright, bright - np.float32(68 / 255))
  np.testing.assert_allclose(sharp[2], 1 - 0.5, atol=1e-4)  # as dark as the one above


def test_rewards_follow_what_a_pair_is(pair):
  """Expected: the loss at other gains of the terms, by linearity; here the pair is dark in full."""
  ir, vi, fused = (image[None] / 8 for image in pair)
  plain = ROUNDS["fast"][0]._replace(ssim=0.2, entropy=0.1)
  asked = plain._replace(sharp=Sharp(300, ssim=0.5), dark=Dark(0.07, 0.3, ssim=0.4, vif=0.06))
  raised = plain._replace(
    ssim=0.2 + 0.5 * 1.4,
    entropy=plain.entropy + 0.07,
    qabf=plain.qabf + 0.3,
    vif=plain.vif + 0.06,
  )
  given, expected, before = (
    float(polish.loss(h, ir, vi, fused)[0]) for h in (asked, raised, plain)
  )
  assert given == pytest.approx(expected, rel=1e-6)
  assert abs(given - before) > 0.1


def test_a_mean_of_networks(tmp_path):
  """Expected: by hand."""
  start = fusers.fusion_file(weights="fast")
  _, params = fusers.load_fusion(weights=start)
  variables = {"params": jax.tree.map(lambda x: np.asarray(3 * x, np.float32), params)}
  save_weights(tmp_path / "three.safetensors", variables, {"arch": "fast"})
  mean = polish.mean_of({start: 0.25, tmp_path / "three.safetensors": 0.75})
  jax.tree.map(lambda m, x: np.testing.assert_allclose(m, 2.5 * x, rtol=1e-6), mean, params)


def test_rounds_go_on_where_the_one_before_ended(pair, tmp_path, monkeypatch):
  tiny.compile_quickly(monkeypatch)
  ir, vi = (np.uint8(image * 255)[None].repeat(2, 0) for image in pair[:2])
  pairs = Crops(*(np.pad(side, ((0, 0), (0, 64), (0, 64)), "edge") for side in (ir, vi)))
  two = ROUNDS["fast"][0]._replace(steps=2)
  both = two._replace(steps=0, begin={1: 0.5, 2: 0.5})
  rounds = {"fast": [two, two, both]}
  start = fusers.fusion_file(weights="fast")
  polish.polish(start, pairs, tmp_path, 1, rounds)
  _, before = fusers.load_fusion(weights=start)
  fuser, after = fusers.load_fusion(weights=tmp_path / "2.safetensors")
  assert fuser.name == "fast"
  moved = jax.tree.map(lambda x, y: np.abs(x - y).max(), before, after)
  assert 1e-5 < max(jax.tree.leaves(moved)) < 0.01
  first, third = (fusers.load_fusion(weights=tmp_path / f"{n}.safetensors")[1] for n in (1, 3))
  halfway = jax.tree.map(lambda x, y: (x + y) / 2, first, after)
  jax.tree.map(lambda m, x: np.testing.assert_allclose(m, x, rtol=1e-3), third, halfway)
  second = (tmp_path / "2.safetensors").read_bytes()
  polish.polish(start, pairs, tmp_path, 2, rounds)
  assert (tmp_path / "2.safetensors").read_bytes() == second
