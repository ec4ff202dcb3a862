"""YOLOv8's loss, by hand; parity with the reference is in test_goldens.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from tdfusion_jax.batch import UNKNOWN_CLASS, DetTarget
from tdfusion_jax.losses import detection
from tdfusion_jax.losses.detection import GAINS, assign
from tdfusion_jax.networks.yolov8 import BINS, Detections, anchor_points, decode_boxes


def yolo_loss(outputs, target):
  return jax.jit(lambda *args: detection.yolo_loss(*args))(outputs, target)


def test_eps_decides_whether_a_hardly_overlapped_box_teaches():
  """Predicted ten times as large, centred: CIoU 0.01, metric sqrt(1/4) 1e-12; its target is `0.01 m
  / (m + eps)`."""
  args = jnp.asarray([[[0.25]]]), jnp.asarray([[[0.0, 0, 100, 100]]]), jnp.asarray([[50.0, 50]])
  true = jnp.asarray([[[45.0, 45, 55, 55]]]), jnp.asarray([[0]]), jnp.asarray([[True]])
  np.testing.assert_allclose(
    assign(*args, DetTarget(*true)).scores, 0.01 * 5e-13 / (5e-13 + 1e-9), rtol=1e-4
  )
  np.testing.assert_allclose(assign(*args, DetTarget(*true), eps=1e-30).scores, 0.01, rtol=1e-4)
  outputs = Detections(
    jnp.zeros((1, 1, 4 * BINS)), jnp.zeros((1, 1, 1)), args[2], jnp.asarray([8.0])
  )
  # All bins alike: a box of 15 strides, 120 pixels; its target is its overlap, (10 / 120)^2.
  loss, parts = detection.yolo_loss(outputs, DetTarget(*true), assigner_eps=1e-30)
  np.testing.assert_allclose(parts["box"], 7.5 * (1 / 144) * (1 - 1 / 144), rtol=1e-4)
  assert detection.yolo_loss(outputs, DetTarget(*true))[1]["box"] < 1e-4 * parts["box"] < loss


def outputs_of(batch=2, classes=3, size=(32, 64), seed=0, dtype=None):
  points, strides = (jnp.asarray(x, dtype or jnp.result_type(float)) for x in anchor_points(*size))
  rng = np.random.default_rng(seed)
  box = jnp.asarray(rng.standard_normal((batch, len(points), 4 * BINS)), points.dtype)
  return Detections(
    box,
    jnp.asarray(rng.standard_normal((batch, len(points), classes)), points.dtype),
    points,
    strides,
  )


def target_of(*images, rows=3):
  """Each image a list of (x1, y1, x2, y2, class); padded to `rows`."""
  boxes, classes = np.zeros((len(images), rows, 4)), np.zeros((len(images), rows), np.int32)
  valid = np.zeros((len(images), rows), bool)
  for i, image in enumerate(images):
    for j, (*box, label) in enumerate(image):
      boxes[i, j], classes[i, j], valid[i, j] = box, label, True
  return DetTarget(
    jnp.asarray(boxes, jnp.result_type(float)), jnp.asarray(classes), jnp.asarray(valid)
  )


FULL = target_of([(2, 3, 40, 30, 1), (30, 1, 60, 20, 0)], [(5, 5, 30, 28, 2)])


def one_anchor(bin_logits, class_logit, stride=8.0):
  """Detections of one anchor at (12, 12), equal logits on all four sides."""
  box = jnp.tile(jnp.asarray(bin_logits, jnp.result_type(float)), 4)[None, None]
  class_logits = jnp.full((1, 1, 1), class_logit, box.dtype)
  return Detections(
    box, class_logits, jnp.full((1, 2), 12.0, box.dtype), jnp.full((1,), stride, box.dtype)
  )


def test_loss_by_hand():
  """One anchor at (12, 12) of stride 8, distances half on bin 1 and half on bin 2.

  That is 1.5 strides, the box (0, 0, 24, 24). The true box is (2, 2, 22, 22), 1.25 strides to each
  side, so CIoU = IoU = (20/24)^2 = o. The only anchor of its box gets the target score o, and o < 1
  normalises by 1. DFL: -(0.75 log 0.5 + 0.25 log 0.5) = log 2 on every side; BCE of logit 0 is log
  2 for any target. So box is 7.5 o (1 - o), class 0.5 log 2, DFL 1.5 o log 2.
  """
  bins = np.full(BINS, -100.0)
  bins[1:3] = 0
  loss, parts = yolo_loss(one_anchor(bins, 0.0), target_of([(2, 2, 22, 22, 0)], rows=2))
  o, log2 = (20 / 24) ** 2, np.log(2)
  expected = {"box": 7.5 * o * (1 - o), "class": 0.5 * log2, "dfl": 1.5 * o * log2}
  assert parts.keys() == expected.keys()
  for name, value in expected.items():
    np.testing.assert_allclose(parts[name], value, rtol=1e-5, err_msg=name)
  np.testing.assert_allclose(loss, sum(expected.values()), rtol=1e-5)


def test_far_sides_are_clipped_to_the_last_bin():
  """All on bin 15 (logit 20); true distances of 18 strides clip to 14.99: 0.99 of bin 15, 0.01 of
  14."""
  bins = np.zeros(BINS)
  bins[15] = 20
  _, parts = yolo_loss(one_anchor(bins, 0.0, stride=1.0), target_of([(-6, -6, 30, 30, 0)], rows=1))
  o = (15 / 18) ** 2  # IoU of the predicted (-3, -3, 27, 27)
  np.testing.assert_allclose(parts["dfl"], 1.5 * o * 0.01 * 20, rtol=1e-3)


def test_no_box_at_all_leaves_the_class_term():
  """Targets are zero, the divisor is 1: half of the sum of log(1 + e^x)."""
  outputs = outputs_of()
  (loss, parts), slope = jax.value_and_grad(yolo_loss, has_aux=True)(outputs, target_of([], []))
  np.testing.assert_allclose(
    loss, GAINS["class"] * np.logaddexp(0, outputs.class_logits).sum(), rtol=1e-5
  )
  assert parts["box"] == parts["dfl"] == 0 and loss > 1
  np.testing.assert_array_equal(slope.box_logits, jnp.zeros_like(outputs.box_logits))
  np.testing.assert_allclose(
    slope.class_logits, 0.5 * jax.nn.sigmoid(outputs.class_logits), rtol=1e-4
  )


def test_where_a_box_is_of_unknown_class_no_background_is_taught():
  """The class terms of the anchors in it are missing, those that a true box claims are not."""
  outputs = outputs_of(batch=1)
  known, unknown = (2, 3, 40, 30, 1), (0, 0, 50, 20)
  _, before = yolo_loss(outputs, target_of([known]))
  loss, parts = yolo_loss(outputs, target_of([(*unknown, UNKNOWN_CLASS), known]))
  slope = jax.grad(lambda o: yolo_loss(o, target_of([(*unknown, UNKNOWN_CLASS), known]))[0])(
    outputs
  )
  scores = assign(
    jax.nn.sigmoid(outputs.class_logits),
    decode_boxes(outputs),
    outputs.points,
    target_of([known]),
  ).scores
  (x, y), (x1, y1, x2, y2) = np.asarray(outputs.points).T, unknown
  claimed = np.asarray(scores[0]).sum(axis=-1) > 0
  left_out = (x > x1) & (x < x2) & (y > y1) & (y < y2) & ~claimed
  assert 0 < left_out.sum() < len(x) and claimed.any()
  missing = np.logaddexp(0, outputs.class_logits[0])[left_out].sum()
  divisor = np.maximum(scores.sum(), 1)
  expected = before["class"] - GAINS["class"] * missing / divisor
  np.testing.assert_allclose(parts["class"], expected, rtol=1e-5)
  np.testing.assert_allclose(loss, before["box"] + expected + before["dfl"], rtol=1e-5)
  assert not np.any(slope.class_logits[0, left_out])
  assert np.all(slope.class_logits[0, ~left_out])


def test_an_image_without_boxes_beside_one_with_them():
  """Only its class term counts: it has no say in the other image's box gradients."""
  outputs = outputs_of()
  slope = jax.grad(lambda o: yolo_loss(o, target_of([(2, 3, 40, 30, 1)], []))[0])(outputs)
  assert jnp.isfinite(slope.box_logits).all() and jnp.abs(slope.box_logits[0]).max() > 0
  np.testing.assert_array_equal(slope.box_logits[1], jnp.zeros_like(slope.box_logits[1]))
  assert jnp.abs(slope.class_logits[1]).min() > 0


def test_more_padding_changes_nothing():
  images = [(2, 3, 40, 30, 1), (30, 1, 60, 20, 0)], [(5, 5, 30, 28, 2)]
  value = jax.value_and_grad(lambda o, t: yolo_loss(o, t)[0])
  tight, loose = (value(outputs_of(), target_of(*images, rows=rows)) for rows in (2, 7))
  np.testing.assert_allclose(tight[0], loose[0], rtol=1e-6)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), tight[1], loose[1])


def test_the_whole_batch_shares_one_divisor():
  """Of two images like the one above the scores sum to 2 o > 1; twice as many leave the loss as it
  is."""
  bins = np.full(BINS, -100.0)
  bins[1:3] = 0
  one = one_anchor(bins, 0.0)
  loss, divisor = {}, (20 / 24) ** 2
  for count in (2, 4):
    several = one._replace(
      **{k: jnp.repeat(getattr(one, k), count, axis=0) for k in ("box_logits", "class_logits")}
    )
    loss[count] = yolo_loss(several, target_of(*[[(2, 2, 22, 22, 0)]] * count, rows=1))[1]
  np.testing.assert_allclose(loss[2]["class"], 0.5 * np.log(2) / divisor, rtol=1e-5)
  np.testing.assert_allclose(loss[2]["box"], 7.5 * (1 - divisor), rtol=1e-5)
  for name, value in loss[4].items():
    np.testing.assert_allclose(value, loss[2][name], rtol=1e-5, err_msg=name)


def test_a_perfect_prediction_costs_almost_nothing():
  """All of bin 2 on every side: (-4, -4, 28, 28), which is the true box; a box beside it costs."""
  bins = np.full(BINS, -100.0)
  bins[2] = 0
  parts = yolo_loss(one_anchor(bins, 20.0), target_of([(-4, -4, 28, 28, 0)], rows=2))[1]
  np.testing.assert_allclose(list(parts.values()), [0, 0, 0], atol=1e-5)
  assert yolo_loss(one_anchor(bins, 20.0), target_of([(-4, 0, 28, 28, 0)], rows=2))[1]["box"] > 0.1


def test_descent_lowers_every_part():
  """Two hundred steps against the gradient, from random logits; the assignment moves along."""

  def step(logits, _):
    outputs = outputs_of()._replace(box_logits=logits[0], class_logits=logits[1])
    (loss, parts), slope = jax.value_and_grad(detection.yolo_loss, has_aux=True)(outputs, FULL)
    return (logits[0] - slope.box_logits, logits[1] - slope.class_logits), (loss, parts)

  _, (loss, parts) = jax.jit(lambda x: jax.lax.scan(step, x, length=200))(outputs_of()[:2])
  assert loss[-1] < 0.1 * loss[0]
  for name, value in parts.items():
    assert value[-1] < 0.5 * value[0], name


@pytest.mark.parametrize(("part", "field"), [("class", "class_logits"), ("dfl", "box_logits")])
def test_derivatives_with_the_assignment_held(x64, monkeypatch, part, field):
  """Numerical derivatives would see the assignment move, which has no gradient, so it is held."""
  outputs, seen = outputs_of(1, 2, (32, 32), dtype=jnp.float64), []
  target = target_of([(2, 3, 30, 30, 1)], rows=2)
  module = "tdfusion_jax.losses.detection.assign"
  monkeypatch.setattr(module, lambda *args, **how: seen.append(assign(*args, **how)) or seen[0])
  detection.yolo_loss(outputs, target)
  held = seen[0]
  assert held.scores.max() > 0
  monkeypatch.setattr(module, lambda *_, **__: held)
  loss = jax.jit(lambda x: yolo_loss(outputs._replace(**{field: x}), target)[1][part])
  check_grads(loss, (getattr(outputs, field),), order=2)
  assert jnp.abs(jax.grad(loss)(getattr(outputs, field))).max() > 1e-6


@pytest.mark.parametrize("target", [FULL, target_of([], [])], ids=["boxes", "no box"])
def test_second_derivatives_are_finite(x64, target):
  """Along all logits at once, in float64; along the class logits BCE's curvature shows."""
  outputs = outputs_of(dtype=jnp.float64)

  @jax.jit
  def curvature(box_logits, class_logits):
    slope = jax.grad(
      lambda *x: yolo_loss(outputs._replace(box_logits=x[0], class_logits=x[1]), target)[0], (0, 1)
    )
    logits = box_logits, class_logits
    return jax.jvp(slope, logits, jax.tree.map(jnp.ones_like, logits))[1]

  second = curvature(outputs.box_logits, outputs.class_logits)
  assert all(jnp.isfinite(leaf).all() and leaf.dtype == jnp.float64 for leaf in second)
  assert second[1].min() > 0


def test_float32_stays_float32():
  loss, parts = yolo_loss(outputs_of(dtype=jnp.float32), FULL)
  assert {loss.dtype, *(value.dtype for value in parts.values())} == {jnp.dtype("float32")}


def test_balanced_classes_are_the_mean_of_each_class_alone():
  """Each class's loss by the plain one, of a network and of targets that have no other class."""
  outputs = outputs_of()
  target = target_of([(2, 3, 40, 30, 0), (30, 30, 62, 60, 1)], [(4, 4, 30, 60, 1)])
  balanced, parts = detection.yolo_loss(outputs, target, class_balance=True)
  alone = []
  for label in range(outputs.class_logits.shape[-1]):
    only = outputs._replace(class_logits=outputs.class_logits[..., label : label + 1])
    of_class = target.valid & (target.classes == label)
    renamed = target._replace(classes=jnp.zeros_like(target.classes), valid=of_class)
    alone.append(yolo_loss(only, renamed)[0])
  np.testing.assert_allclose(balanced, np.mean(alone), rtol=1e-5)
  assert abs(balanced - yolo_loss(outputs, target)[0]) > 0.01
  np.testing.assert_allclose(balanced, sum(parts.values()), rtol=1e-6)


@pytest.mark.parametrize("label", [3, -1])
def test_a_class_the_network_does_not_know_cannot_go_unnoticed(label):
  (value, _), slope = jax.jit(jax.value_and_grad(yolo_loss, has_aux=True))(
    outputs_of(), target_of([(2, 3, 40, 30, label)], [])
  )
  assert jnp.isnan(value) and jnp.isnan(slope.class_logits).any()


def test_classes_of_padding_do_not_matter():
  strange = FULL._replace(classes=jnp.where(FULL.valid, FULL.classes, 99))
  np.testing.assert_array_equal(
    yolo_loss(outputs_of(), strange)[0], yolo_loss(outputs_of(), FULL)[0]
  )


@pytest.mark.parametrize(
  "wrong",
  [
    jax.tree.map(lambda x: x[:1], FULL),
    FULL._replace(boxes=FULL.boxes[..., :3]),
    FULL._replace(classes=FULL.classes[:, :2]),
    jax.tree.map(lambda x: x[:, :0], FULL),
  ],
  ids=["images", "coordinates", "rows", "none"],
)
def test_wrong_shapes_raise(wrong):
  with pytest.raises(ValueError, match="must be"):
    yolo_loss(outputs_of(), wrong)
