"""Random light: by hand for given draws, and what is the same for both images."""

import numpy as np
import pytest

from tdfusion_jax.batch import Boxes, Sample
from tdfusion_jax.data.loader import StepOptions, StepSource
from tdfusion_jax.data.photometric import relit


class Drawn(np.random.Generator):
  """A generator whose draws are told: of `random`, and where in its range each `uniform` is."""

  def __init__(self, *draws):
    super().__init__(np.random.PCG64(0))
    self.draws = list(draws)

  def random(self):
    return self.draws.pop(0)

  def uniform(self, low, high):
    return low + (high - low) * self.draws.pop(0)


IMAGE = np.array([[0.0, 0.2, 0.5, 0.9]], np.float32)


@pytest.mark.parametrize(
  ("draws", "asked", "expected"),
  [
    ([], {}, [0, 0.2, 0.5, 0.9]),
    ([1.0], {"hsv_value": 0.4}, [0, 0.28, 0.7, 1]),  # times 1.4
    ([0.25], {"hsv_value": 0.4}, [0, 0.16, 0.4, 0.72]),  # times 0.8
    ([0.9, 0.9], {"distortion": True}, [0, 0.2, 0.5, 0.9]),  # neither
    # 32 of 255 darker, then a contrast of 1.5: 0.5 -> 0.3745 -> 0.5618
    ([0.4, 0.0, 0.4, 1.0], {"distortion": True}, [0, 0.1117647, 0.5617647, 1]),
    ([0.9, 0.1, 0.5], {"distortion": True}, [0, 0.2, 0.5, 0.9]),  # a contrast of 1
    ([0.9, 0.1, 0.0], {"distortion": True}, [0, 0.1, 0.25, 0.45]),
  ],
)
def test_light_by_hand(draws, asked, expected):
  rng = Drawn(*draws)
  ir, vi = relit(IMAGE, 1 - IMAGE, rng, **asked)
  assert not rng.draws and ir.dtype == np.float32
  np.testing.assert_allclose(ir[0], expected, atol=1e-6)
  again, other = relit(IMAGE, IMAGE, Drawn(*draws), **asked)
  assert again is other
  np.testing.assert_array_equal(again, ir)
  mirrored, _ = relit(1 - IMAGE, 1 - IMAGE, Drawn(*draws), **asked)  # alike for both
  np.testing.assert_array_equal(vi, mirrored)


OPTIONS = {
  "epochs": 10,
  "g_steps": 0,
  "batch_size": 4,
  "meta_pairs": 2,
  "crop_size": None,
  "task_size": (32, 48),
  "augment": "none",
}


class Fake:
  """Finished images of a gray ramp: two boxes each, or a left and a right half of two classes."""

  names = [f"p{i}" for i in range(8)]
  classes = ("x", "y")

  def __init__(self, kind):
    self.kind = kind

  def __len__(self):
    return len(self.names)

  def __getitem__(self, index):
    image = np.tile(np.arange(40, 184, 3, dtype=np.uint8), (32, 1)) + np.uint8(index)
    boxes = np.array([[4, 4, 20, 24], [24, 8, 44, 28]], np.float32) + index % 4
    target = Boxes(boxes, np.array([0, 1], np.int32))
    if self.kind == "segmentation":
      target = np.tile((np.arange(48) > 23).astype(np.uint8), (32, 1))
    return Sample(self.names[index], image, image, target)

  def describe(self):
    return "fake"


def steps(kind="detection", **changes):
  return StepSource(Fake(kind), StepOptions(**{**OPTIONS, **changes}))


def test_steps_see_other_light_but_the_same_boxes():
  plain, lit, again = (steps(**changes) for changes in ({}, {"hsv_value": 0.4}, {"hsv_value": 0.4}))
  for step in (0, 19):
    a, b = plain[step]["ftr"].whole, lit[step]["ftr"].whole
    np.testing.assert_array_equal(a.target.boxes, b.target.boxes)
    np.testing.assert_array_equal(b.ir, b.vi)
    np.testing.assert_array_equal(b.ir, again[step]["ftr"].whole.ir)  # by (seed, step) alone
    for row in range(4):
      dark = a.ir[row] < 0.7  # no factor up to 1.4 clips it
      factors = b.ir[row][dark] / a.ir[row][dark]
      np.testing.assert_allclose(factors, factors[0], rtol=1e-4)
      assert 0.6 <= factors[0] <= 1.4
    assert abs(b.ir - a.ir).max() > 0.02


def many(source, step):
  """Boxes of a batch at `step`: four scenes in each view, or one."""
  return int(source[step]["ftr"].whole.target.valid.sum())


def test_mosaics_end_where_they_are_told_to():
  """20 steps of 2 an epoch; views of one scene have no more boxes than the scenes."""
  closed = steps(augment="task", close_mosaic=3)
  never, always = steps(augment="task", mosaic=0.0), steps(augment="task", close_mosaic=0)
  assert closed.mosaics_until() == 20 - 3 * 2 and always.mosaics_until() == 20
  assert steps(augment="task").mosaics_until() == 18  # the last tenth, by default
  for step in (0, 13):
    assert many(closed, step) == many(always, step) > many(never, step)
  for step in (14, 19):
    assert many(closed, step) == many(never, step) < many(always, step)


def test_a_share_of_views_are_mosaics():
  half = steps(augment="task", mosaic=0.5, close_mosaic=0, max_boxes=99)
  whole, none = (steps(augment="task", mosaic=p, close_mosaic=0) for p in (1.0, 0.0))
  counts = [sum(many(source, step) for step in range(20)) for source in (none, half, whole)]
  assert counts[0] < 0.75 * counts[1] and counts[1] < 0.8 * counts[2]


def test_windows_of_masks_are_of_their_own_size_and_hold_several_classes():
  asked = {"kind": "segmentation", "augment": "task", "crop_view": (24, 24)}

  def one_class(**changes):
    """Windows of which one class fills three quarters of the known pixels."""
    source, filled = steps(**asked, **changes), 0
    for step in range(20):
      whole = source[step]["ftr"].whole
      assert whole.ir.shape == (4, 24, 24, 1) and whole.target.labels.shape == (4, 24, 24)
      for labels in whole.target.labels:
        known = labels[labels != 255]
        filled += np.bincount(known).max() >= 0.75 * known.size
    return filled

  anyhow, redrawn = one_class(), one_class(cat_max_ratio=0.75)
  assert redrawn < 0.7 * anyhow and anyhow > 20


def test_views_that_cannot_be():
  with pytest.raises(ValueError, match="view must be one of"):
    steps(view="stretch")
