"""The score that doubts a pair, and making pairs fit."""

import sys

import numpy as np
import pytest
from helpers import real_data

from tdfusion_jax.images.listing import list_pairs
from tdfusion_jax.images.reading import ImageError, read_image
from tdfusion_jax.images.registration import aligner, doubt, misalignment


def scene(seed, height=160, width=220):
  """Random rectangles: [H, W, 1] in [0, 1]."""
  rng, image = np.random.default_rng(seed), np.full((height, width, 1), 0.5, np.float32)
  for _ in range(40):
    top, left = rng.integers(0, height - 10), rng.integers(0, width - 10)
    image[top : top + rng.integers(8, 50), left : left + rng.integers(8, 50)] = rng.random()
  return image


def test_a_shift_is_found_whatever_the_contrast():
  """Infrared is the negative of the visible image, moved by a known amount."""
  vi = scene(0)
  ir = 1 - np.roll(vi, (8, -12), (0, 1))
  assert doubt(1 - vi, np.repeat(vi, 3, axis=-1)) == ""
  found = misalignment(ir, vi)
  assert (
    abs(found.down - 8) <= 1.5
    and abs(found.right + 12) <= 1.5
    and found.certainty > 4.5
    and found.gain > 2
  )
  assert "unregistered: infrared lies about -1" in doubt(ir, vi)
  assert misalignment(1 - vi, vi).rest > 0.99  # directions have no sign


def test_another_scene_is_found():
  assert "hardly any edges" in doubt(scene(1), scene(2))
  assert doubt(scene(1, 20, 20), scene(2, 20, 20)) == ""  # too small to say anything
  flat = np.full((64, 64, 1), 0.5, np.float32)
  assert "hardly any edges" in doubt(flat, flat)


@pytest.mark.parametrize(
  ("ir", "vi"), [("RoadScene/ir", "RoadScene/vi"), ("LLVIP/infrared/test", "LLVIP/visible/test")]
)
def test_registered_pairs_raise_no_alarm_and_shifted_ones_do(ir, vi):
  """Day and night. The data sets are registered; a shift by 3 % of the width is not."""
  pairs = [
    (read_image(a), read_image(b))
    for _, a, b in list_pairs(real_data() / ir, real_data() / vi)[:20]
  ]
  assert sum(bool(doubt(*pair)) for pair in pairs) <= len(pairs) // 10
  cut = [round(0.03 * a.shape[1]) for a, _ in pairs]
  alarms = [doubt(a[:, n:], b[:, :-n]) for n, (a, b) in zip(cut, pairs, strict=True)]
  assert sum("unregistered" in alarm for alarm in alarms) >= 0.9 * len(pairs)


def test_resizing_is_done_only_when_asked_for():
  assert aligner("none") is None
  ir, vi = (
    np.linspace(0, 1, 5, dtype=np.float32).reshape(1, 5, 1).repeat(4, 0),
    np.zeros((8, 10, 3), np.float32),
  )
  resized, same = aligner("resize")(ir, vi)
  assert resized.shape == (8, 10, 1) and same is vi
  np.testing.assert_allclose(resized[3, :, 0].mean(), 0.5, atol=1e-6)
  assert (np.diff(resized[3, :, 0]) >= 0).all() and resized[0, 0] == 0 and resized[0, -1] == 1
  np.testing.assert_array_equal(aligner("resize")(vi, vi)[0], vi)
  with pytest.raises(ImageError, match="none, resize, homography"):
    aligner("magic")


def test_homography_without_opencv_says_how_to_get_it(monkeypatch):
  monkeypatch.setitem(sys.modules, "cv2", None)
  with pytest.raises(ImageError, match="pip install"):
    aligner("homography")


def test_a_homography_is_undone():
  cv2 = pytest.importorskip("cv2")
  vi = scene(3)
  corners = np.float32([[0, 0], [220, 0], [220, 160], [0, 160]])
  moved = corners + np.float32([[5, 3], [-4, 6], [3, -5], [-6, 2]])
  matrix = cv2.getPerspectiveTransform(corners, moved)
  ir = 1 - cv2.warpPerspective(vi, matrix, (220, 160), borderMode=cv2.BORDER_REPLICATE)[..., None]
  fitted, _ = aligner("homography")(ir, vi)
  error = lambda image: np.abs(image - (1 - vi))[16:-16, 16:-16].mean()  # noqa: E731
  assert error(fitted) < 0.2 * error(ir) and error(ir) > 0.02
  smaller, _ = aligner("homography")(ir[::2, ::2], vi)
  assert smaller.shape == ir.shape and error(smaller) < 0.5 * error(ir)
  with pytest.raises(ImageError, match="could not be aligned"):
    aligner("homography")(scene(1), scene(2))
