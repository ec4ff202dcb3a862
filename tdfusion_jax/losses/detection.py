"""YOLOv8's detection loss with static shapes.

Task-aligned assignment, binary cross-entropy of classes, CIoU and distance bins.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from tdfusion_jax.batch import UNKNOWN_CLASS, DetTarget
from tdfusion_jax.losses import sums
from tdfusion_jax.networks.yolov8 import BINS, Detections, decode_boxes
from tdfusion_jax.ops.boxes import ciou

GAINS = {"box": 7.5, "class": 0.5, "dfl": 1.5}
TOP_ANCHORS = 10
_ALPHA, _BETA = 0.5, 6.0


class Assignment(NamedTuple):
  """What each anchor is to predict."""

  scores: Float[Array, "b a classes"]
  """Target class scores in [0, 1]; zero for background."""
  boxes: Float[Array, "b a 4"]
  """The true box, xyxy pixels; any box for background."""


def assign(
  scores: Float[Array, "b a classes"],
  boxes: Float[Array, "b a 4"],
  points: Float[Array, "a 2"],
  target: DetTarget,
  eps: float = 1e-9,
  least_side: float = 0.0,
) -> Assignment:
  """Task-aligned assignment (TOOD, ICCV 2021, in YOLOv8's form), without gradient.

  For each true box, the ten anchors of largest `score^0.5 * max(CIoU, 0)^6` among those whose
  centre lies strictly inside it (fewer where the metric is zero). An anchor that several boxes
  claim goes to the one it overlaps most of those that contain its centre. Its target score is its
  metric, scaled so that the best anchor of a box gets that box's best overlap.

  Args:
    scores: predicted class probabilities.
    boxes: predicted boxes, xyxy pixels.
    points: anchor centres (x, y) in pixels.
    target: the true boxes. Overlaps are computed in their dtype, as the reference does: a float64
      network with float32 boxes still assigns in float32.
    eps: added to a box's best metric before it divides. The metric of a box that is overlapped
      little is far smaller than 1e-9 (an overlap of 0.01 to the sixth power is 1e-12), so the box
      then teaches next to nothing.
    least_side: pixels; candidates are chosen by boxes whose shorter sides are enlarged to this,
      about their centres. 0 is YOLOv8 as published, 16 the current Ultralytics package. A box
      under 8 pixels may lie between all centres, and without this it then teaches nothing.

  Returns:
    The targets of each anchor.
  """
  true_boxes, true_classes, valid = target
  low, high = _enlarged(true_boxes, least_side)
  inside = _inside(points, low, high) & valid[:, :, None]
  # [B, M, A, 4] each: every true box beside every prediction.
  predicted = boxes.astype(true_boxes.dtype)[:, None]
  predicted, true = jnp.broadcast_arrays(predicted, true_boxes[:, :, None])
  overlap = jnp.where(inside, jnp.maximum(ciou(predicted, true), 0), 0)
  of_class = jnp.take_along_axis(scores, true_classes[:, None, :], axis=2).transpose(0, 2, 1)
  metric = of_class**_ALPHA * overlap**_BETA
  # By index, not by value: equal metrics, as on a uniform image, must not make it more than ten.
  best_ten = jax.lax.top_k(metric, min(TOP_ANCHORS, metric.shape[-1]))[1]
  nothing = jnp.zeros_like(inside)
  chosen = jnp.put_along_axis(nothing, best_ten, True, axis=-1, inplace=False)
  claimed = chosen & (metric > 0)
  contested = jnp.sum(claimed, axis=1, keepdims=True) > 1
  rows = jnp.arange(true_boxes.shape[1])[None, :, None]
  overlaps_most = rows == jnp.argmax(overlap, axis=1)[:, None]
  claimed = jnp.where(contested, overlaps_most, claimed)
  metric = jnp.where(claimed, metric, 0)
  best_metric = metric.max(axis=2, keepdims=True)
  best_overlap = jnp.where(claimed, overlap, 0).max(axis=2, keepdims=True)
  level = (metric * best_overlap / (best_metric + eps)).max(axis=1)
  owner = jnp.argmax(claimed, axis=1)
  classes = jnp.take_along_axis(true_classes, owner, axis=1)
  wanted = jax.nn.one_hot(classes, scores.shape[-1], dtype=scores.dtype) * level[..., None]
  return Assignment(wanted, jnp.take_along_axis(true_boxes, owner[..., None], axis=1))


def _enlarged(boxes: jax.Array, least_side: float) -> tuple[jax.Array, jax.Array]:
  """(low, high) corners [B, M, 1, 2] of boxes none of whose sides is shorter than `least_side`."""
  low, high = boxes[:, :, None, :2], boxes[:, :, None, 2:]
  if not least_side:  # exactly the corners that are given
    return low, high
  middle, half = (low + high) / 2, jnp.maximum(high - low, least_side) / 2
  return middle - half, middle + half


def _inside(points: jax.Array, low: jax.Array, high: jax.Array) -> jax.Array:
  """Which of the centres [A, 2] lie strictly between corners [B, M, 1, 2]: [B, M, A]."""
  centre = points[None, None]
  return jnp.all((centre > low) & (centre < high), axis=-1)


def yolo_loss(
  outputs: Detections,
  target: DetTarget,
  *,
  assigner_eps: float = 1e-9,
  assigner_least_side: float = 0.0,
  class_balance: bool = False,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
  """YOLOv8's loss. Images without a box, and batches without any, contribute their class term only.

  Args:
    outputs: of the network, for a batch of B images.
    target: padded boxes in pixels of those images. Anchors in a box of class `UNKNOWN_CLASS` that
      no other box claims have no class term: what lies there may be an object.
    assigner_eps: `eps` of `assign`; the default is the reference's.
    assigner_least_side: `least_side` of `assign`.
    class_balance: the mean over classes of each one's loss, normalised by its own target scores:
      as in mean average precision, a class of few boxes then counts as much as one of many.

  Returns:
    (box + class + dfl, {"box", "class", "dfl"}), scalars with their gains (7.5, 0.5, 1.5), each
    normalised by max(sum of target scores, 1). NaN if a valid box has a class that the network does
    not know.

  Raises:
    ValueError: a target that is not one for B images.
  """
  _check(outputs, target)
  dtype = outputs.box_logits.dtype
  predicted = decode_boxes(outputs)
  probabilities = jax.nn.sigmoid(outputs.class_logits)
  target, unknown = _without_unknown(target, outputs.points)
  assigned = assign(
    probabilities,
    predicted,
    outputs.points,
    target,
    eps=assigner_eps,
    least_side=assigner_least_side,
  )
  assigned = jax.lax.stop_gradient(assigned)
  num_classes = outputs.class_logits.shape[-1]
  known = ~target.valid | ((target.classes >= 0) & (target.classes < num_classes))
  # Compiled code cannot raise, and must not train on a wrong answer.
  total = jnp.where(jnp.all(known), jnp.maximum(assigned.scores.sum(), 1), jnp.nan)
  weights = assigned.scores
  classified = optax.sigmoid_binary_cross_entropy(outputs.class_logits, weights)
  left_out = unknown & (weights.sum(axis=-1) == 0)
  classified = jnp.where(left_out[..., None], 0, classified)
  if class_balance:
    of_class = assigned.scores.sum(axis=(0, 1), keepdims=True)
    share = total / (num_classes * jnp.maximum(of_class, 1))
    weights, classified = weights * share, classified * share
  weight = weights.sum(axis=-1)
  strides = outputs.strides[None, :, None]
  # Background anchors get their own prediction as target: weight zero alone would turn an infinite
  # slope into NaN.
  is_object = (weight > 0)[..., None]
  boxes = assigned.boxes.astype(dtype)
  true = jnp.where(is_object, boxes, jax.lax.stop_gradient(predicted)) / strides
  parts = {
    "box": sums.total(weight * (1 - ciou(predicted / strides, true))),
    "class": sums.total(classified),
    "dfl": sums.total(weight * _bin_loss(outputs, true)),
  }
  parts = {name: GAINS[name] * value / total for name, value in parts.items()}
  return sum(parts.values(), jnp.zeros((), dtype)), parts


def _without_unknown(
  target: DetTarget, points: Float[Array, "a 2"]
) -> tuple[DetTarget, Bool[Array, "b a"]]:
  """The boxes whose class is known, and which anchors lie in one whose class is not."""
  ignored = target.valid & (target.classes == UNKNOWN_CLASS)
  inside = _inside(points, *_enlarged(target.boxes, 0.0)) & ignored[:, :, None]
  known = target._replace(
    classes=jnp.where(ignored, 0, target.classes), valid=target.valid & ~ignored
  )
  return known, inside.any(axis=1)


def _check(outputs: Detections, target: DetTarget) -> None:
  batch, shapes = len(outputs.class_logits), [field.shape for field in target]
  rows = shapes[0][:2]
  if shapes != [(*rows, 4), rows, rows] or rows[0] != batch or 0 in rows:
    raise ValueError(
      f"boxes, classes and valid must be [{batch}, M, 4], [{batch}, M] twice, M > 0, not {shapes}."
    )


def _bin_loss(outputs: Detections, true: Float[Array, "b a 4"]) -> Float[Array, "b a"]:
  """Distribution focal loss (Li et al., NeurIPS 2020), mean over the four sides.

  Cross-entropy of the two bins beside the true distance.
  """
  centres = outputs.points[None] / outputs.strides[None, :, None]
  distances = jnp.concatenate([centres - true[..., :2], true[..., 2:] - centres], axis=-1)
  distances = jnp.clip(distances, 0, BINS - 1 - 0.01)
  lower = jnp.floor(distances)
  log_probability = jax.nn.log_softmax(outputs.box_logits.reshape(*distances.shape, BINS), axis=-1)

  def pick(index):
    index = index[..., None].astype(jnp.int32)
    return jnp.take_along_axis(log_probability, index, axis=-1)[..., 0]

  nearer = lower + 1 - distances
  return -(pick(lower) * nearer + pick(lower + 1) * (1 - nearer)).mean(axis=-1)
