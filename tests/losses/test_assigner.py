"""The assigner of YOLOv8, by hand; parity with the reference is in test_goldens.py."""

import jax.numpy as jnp
import numpy as np
import pytest

from tdfusion_jax.batch import DetTarget
from tdfusion_jax.losses.detection import assign


def grid(count, stride=8.0):
  """Anchor centres of a count x count map, row by row."""
  along = (np.arange(count) + 0.5) * stride
  return jnp.asarray(np.stack(np.meshgrid(along, along), axis=-1).reshape(-1, 2))


def assigned(scores, predicted, points, true, classes=None, valid=None, **options):
  """`assign` for one image."""
  classes = [0] * len(true) if classes is None else classes
  valid = [True] * len(true) if valid is None else valid
  arrays = [jnp.asarray(x, jnp.result_type(float)) for x in (scores, predicted, points, true)]
  scores, predicted, points, true = arrays
  target = DetTarget(true[None], jnp.asarray([classes]), jnp.asarray([valid]))
  out = assign(scores[None], predicted[None], points, target, **options)
  return out.scores[0], out.boxes[0]


def test_scores_of_one_box_by_hand():
  """Metrics are 1/2 and CIoU^6.

  One anchor predicts the box itself with score 1/4, the other a quarter of it with score 1: IoU
  1/4, same aspect, centres 8 + 8 apart, squared, over the squared diagonal of 32 and 32.
  """
  true = [[0, 0, 32, 32]]
  overlap = 1 / 4 - (8**2 + 8**2) / (32**2 + 32**2)
  scores, boxes = assigned([[0.25], [1]], [true[0], [0, 0, 16, 16]], [[12, 12], [8, 8]], true)
  np.testing.assert_allclose(scores[:, 0], [1, overlap**6 / 0.5], rtol=1e-5)
  np.testing.assert_array_equal(boxes, true * 2)


def test_the_best_anchor_gets_the_best_overlap_not_its_own():
  """The surer anchor has the larger metric, so it takes the overlap 1 of the other one."""
  true, points = [[0.0, 0, 32, 32]], [[12, 12], [20, 20]]
  near = 0.5**2 / 1  # a centred box of half the side: IoU 1/4, no distance, same shape
  scores, _ = assigned([[1], [near**14]], [[8, 8, 24, 24], true[0]], points, true)
  np.testing.assert_allclose(
    scores[:, 0], [1, near**7 / near**6], rtol=1e-3
  )  # 1e-9 beside a metric of 2.4e-4


@pytest.mark.parametrize(
  ("point", "inside"), [((0, 4), False), ((4, 8), False), ((0.1, 7.9), True)]
)
def test_centres_lie_strictly_inside(point, inside):
  scores, _ = assigned([[0.5]], [[0, 0, 8, 8]], [point], [[0, 0, 8, 8]])
  assert (scores[0, 0] > 0.9) == inside


def test_a_prediction_apart_from_the_box_is_background():
  scores, _ = assigned([[0.9]], [[20, 20, 30, 30]], [[4, 4]], [[0, 0, 8, 8]])
  assert scores[0, 0] == 0


def test_the_ten_best_of_sixteen():
  sure = np.linspace(0.2, 0.9, 16)
  scores, _ = assigned(sure[:, None], [[0, 0, 32, 32]] * 16, grid(4), [[0, 0, 32, 32]])
  np.testing.assert_array_equal(scores[:, 0] > 0, np.arange(16) >= 6)
  np.testing.assert_allclose(scores[6:, 0], np.sqrt(sure[6:] / 0.9), rtol=1e-5)


def test_equal_metrics_do_not_make_it_more_than_ten():
  scores, _ = assigned(np.full((16, 1), 0.5), [[0, 0, 32, 32]] * 16, grid(4), [[0, 0, 32, 32]])
  assert (scores > 0.9).sum() == 10


def test_a_contested_anchor_goes_to_the_box_it_overlaps_most():
  """Its score is larger for the class of the other box: the overlap alone decides."""
  true = [[0, 0, 20, 20], [2, 0, 24, 20]]
  scores, boxes = assigned([[0.9, 0.1]], [[3, 0, 24, 20]], [[8, 8]], true, classes=[0, 1])
  np.testing.assert_array_equal(boxes[0], true[1])
  assert scores[0, 0] == 0 and scores[0, 1] > 0.9


def test_a_contested_anchor_is_not_lost_to_a_box_that_does_not_contain_it():
  """The third box equals the prediction, but the anchor's centre lies outside."""
  true = [[0, 0, 20, 20], [2, 0, 24, 20], [9, 0, 29, 20]]
  scores, boxes = assigned([[0.5]], [true[2]], [[8, 8]], true)
  np.testing.assert_array_equal(boxes[0], true[1])
  assert scores[0, 0] > 0.3


def test_losing_an_anchor_changes_what_the_loser_is_scaled_by():
  """Box 0 loses its best anchor to box 1; its best remaining one then gets *that* one's overlap."""
  true = [[0, 0, 32, 32], [8, 8, 24, 24]]
  small = 0.75**2  # a centred box of 24/32 of the side
  scores, boxes = assigned(
    [[0.9], [0.1]], [[8, 8, 24, 24], [4, 4, 28, 28]], [[12, 12], [4, 4]], true
  )
  np.testing.assert_array_equal(boxes, [true[1], true[0]])
  np.testing.assert_allclose(scores[:, 0], [1, small], rtol=1e-5)


def test_a_box_between_all_centres_teaches_only_where_it_is_enlarged():
  """A box of 4 pixels about (8, 8), where four cells of stride 8 meet: no centre lies in it.

  With sides of 16 the centres 4 away do, and the best overlap, 16 / 64, is the target of all.
  """
  box = [6, 6, 10, 10]
  near = [[4, 4, 12, 12]] * 4
  args = [[0.5]] * 4, near, grid(2), [box]
  assert not np.any(assigned(*args)[0])
  scores, _ = assigned(*args, least_side=16.0)
  np.testing.assert_allclose(scores, 0.25, rtol=1e-4)


def test_padding_takes_no_part():
  """Rows that are not valid change nothing, wherever they lie and whatever they hold."""
  sure = np.linspace(0.2, 0.9, 16)[:, None]
  args = (sure, [[2, 0, 30, 32]] * 16, grid(4))
  alone = assigned(*args, [[0, 0, 32, 32]])
  padded = assigned(
    *args, [[2, 0, 30, 32], [0, 0, 32, 32], [0, 0, 0, 0]], valid=[False, True, False]
  )
  np.testing.assert_array_equal(alone[0], padded[0])
  positive = np.asarray(alone[0][:, 0] > 0)
  assert positive.sum() == 10
  np.testing.assert_array_equal(padded[1][positive], [[0, 0, 32, 32]] * 10)
