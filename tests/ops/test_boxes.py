"""Overlaps of boxes and non-maximum suppression: values by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.test_util import check_grads

from tdfusion_jax.ops.boxes import best_boxes, box_iou, ciou, nms


def boxes(*rows):
  return jnp.asarray(rows, jnp.result_type(float))


def test_iou_of_every_pair():
  """Shared 2x2 of two 4x4 boxes: 4 / (16 + 16 - 4); a quarter inside; touching edges share
  nothing."""
  a = boxes((0, 0, 4, 4), (1, 1, 1, 1))
  b = boxes((2, 2, 6, 6), (0, 0, 2, 2), (4, 0, 8, 4), (0, 0, 4, 4), (1, 1, 1, 1))
  expected = [[4 / 28, 1 / 4, 0, 1, 0], [0, 0, 0, 0, 0]]
  np.testing.assert_allclose(box_iou(a, b), expected, rtol=1e-6)


def test_ciou_by_hand():
  """Equal squares 2 apart: IoU 8/24 less 2^2 / (6^2 + 4^2). A box of half the height around the
  same centre: IoU 1/2 less the shape's term v^2 / (v - IoU + 1), v = 4/pi^2 (atan 1 - atan 2)^2.
  Far apart is below zero."""
  shape = 4 / math.pi**2 * (math.atan(1) - math.atan(2)) ** 2
  predicted = boxes((0, 0, 4, 4), (0, 1, 4, 3), (0, 0, 1, 1), (1, 2, 3, 7))
  true = boxes((2, 0, 6, 4), (0, 0, 4, 4), (9, 9, 10, 10), (1, 2, 3, 7))
  expected = [8 / 24 - 4 / 52, 0.5 - shape**2 / (shape + 0.5), -162 / 200, 1]
  np.testing.assert_allclose(ciou(predicted, true), expected, rtol=1e-6)


def test_ciou_differentiates_all_but_the_weight_of_the_shape(x64):
  """Against central differences of a copy in which that weight is a constant."""
  predicted, true = boxes((0, 1, 4, 3.5), (3, 2, 9, 5)), boxes((0.5, 0, 4.2, 4), (2, 1, 8, 7))

  def shape(p):
    aspect = lambda b: jnp.arctan((b[:, 2] - b[:, 0]) / (b[:, 3] - b[:, 1] + 1e-7))  # noqa: E731
    return 4 / jnp.pi**2 * (aspect(true) - aspect(p)) ** 2

  iou = jnp.diagonal(box_iou(predicted, true))
  weight = shape(predicted) / (shape(predicted) - iou + 1)
  # ciou + v * weight is free of the shape's term, so what is left of its gradient is -weight * dv
  freed = jax.grad(lambda p: (ciou(p, true) + shape(p) * weight).sum())(predicted)
  step = 1e-6 * jnp.eye(8).reshape(8, 2, 4)

  def without_shape(p):
    v = shape(p)
    return (ciou(p, true) + v * v / (v - jnp.diagonal(box_iou(p, true)) + 1)).sum()

  slope = [(without_shape(predicted + s) - without_shape(predicted - s)) / 2e-6 for s in step]
  np.testing.assert_allclose(freed.ravel(), jnp.stack(slope), atol=1e-6)
  assert jnp.abs(freed).max() > 0.1


def test_ciou_is_twice_differentiable(x64):
  # Squares of one size have no shape term, whose weight numerical derivatives would see.
  predicted, true = boxes((0, 0, 4, 4), (3, 2, 9, 8)), boxes((0.5, -0.3, 4.5, 3.7), (2, 1, 8, 7))
  check_grads(lambda t: ciou(predicted + t, true), (jnp.asarray(0.1),), order=2)


def test_ciou_of_boxes_without_area_is_finite():
  point = boxes((0, 0, 0, 0))
  for true in (point, boxes((0, 0, 4, 4))):
    value, slope = jax.value_and_grad(lambda p, t: ciou(p, t).sum())(point, true)
    assert jnp.isfinite(value) and jnp.isfinite(slope).all()


def test_nms_keeps_the_best_of_each_heap_and_class():
  """Rows 0, 1 overlap by 0.6 and row 2 is elsewhere; row 3 lies on row 0 but is of another
  class."""
  candidates = boxes((0, 0, 4, 4), (1, 0, 5, 4), (10, 10, 14, 14), (0, 0, 4, 4), (20, 20, 21, 21))
  scores, classes = jnp.array([0.8, 0.9, 0.5, 0.7, 0.0]), jnp.array([0, 0, 0, 1, 0])

  def keep(limit):
    return jax.jit(
      lambda: nms(candidates, scores, classes, iou_threshold=limit, max_detections=6)
    )()

  kept, real = keep(0.5)
  assert kept[real].tolist() == [1, 3, 2] and real.tolist() == [True] * 3 + [False] * 3
  kept, real = keep(0.7)
  assert kept[real].tolist() == [1, 0, 3, 2]


def test_nms_compares_with_the_kept_only():
  """A chain: 1 falls to 0, so it cannot bring down 2, which overlaps 1 by 0.6 but 0 by 1/3."""
  chain = boxes((0, 0, 4, 4), (1, 0, 5, 4), (2, 0, 6, 4))
  one_class = jnp.zeros(3, jnp.int32)
  kept, real = nms(
    chain, jnp.array([0.9, 0.8, 0.7]), one_class, iou_threshold=0.5, max_detections=3
  )
  assert kept[real].tolist() == [0, 2]


def test_nms_fills_no_more_rows_than_asked():
  apart = boxes(*[(10 * i, 0, 10 * i + 5, 5) for i in range(5)])
  scores = jnp.array([0.1, 0.5, 0.3, 0.9, 0.2])
  kept, real = nms(apart, scores, jnp.zeros(5, jnp.int32), iou_threshold=0.5, max_detections=2)
  assert kept.tolist() == [3, 1] and real.all()


def test_nms_of_nothing():
  empty = jnp.zeros(3)
  _, real = nms(
    jnp.zeros((3, 4)), empty, empty.astype(jnp.int32), iou_threshold=0.5, max_detections=4
  )
  assert not real.any()


def test_a_box_of_two_classes_is_one_candidate_or_two():
  """Two boxes on one another: within a class the surer one stays, whichever anchor it is."""
  where = boxes((0, 0, 10, 10), (0, 0, 10, 9))
  probabilities = jnp.asarray([[0.6, 0.3, 0.001], [0.5, 0.4, 0.01]])
  asked = {"score_threshold": 0.005, "iou_threshold": 0.7, "max_detections": 4}
  single = best_boxes(where, probabilities, **asked)
  assert single["valid"].tolist() == [True, False, False, False]
  np.testing.assert_allclose(single["scores"], [0.6, 0, 0, 0])
  several = jax.jit(lambda *args: best_boxes(*args, **asked, multi_label=True))(
    where, probabilities
  )
  assert several["valid"].tolist() == [True, True, True, False]
  np.testing.assert_allclose(several["scores"], [0.6, 0.4, 0.01, 0], rtol=1e-6)
  assert several["classes"].tolist() == [0, 1, 2, 0]
  np.testing.assert_array_equal(several["boxes"], where[jnp.array([0, 1, 1])].tolist() + [[0] * 4])
  few = best_boxes(where, probabilities, **asked, multi_label=True, candidates=1)
  assert few["valid"].sum() == 1
