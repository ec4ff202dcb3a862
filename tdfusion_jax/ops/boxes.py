"""Overlaps of boxes (x1, y1, x2, y2), and non-maximum suppression of static shape."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def _width(box):
  return box[..., 2] - box[..., 0]


def _height(box):
  return box[..., 3] - box[..., 1]


def _intersection(a, b):
  """Area that boxes share; they broadcast against each other."""
  low = jnp.maximum(a[..., :2], b[..., :2])
  high = jnp.minimum(a[..., 2:], b[..., 2:])
  size = jnp.maximum(high - low, 0)
  return size[..., 0] * size[..., 1]


def box_iou(a: Float[Array, "n 4"], b: Float[Array, "m 4"]) -> Float[Array, "n m"]:
  """Intersection over union of every pair of xyxy boxes, in [0, 1].

  0 for two boxes without area.
  """
  rows, columns = a[:, None], b[None]
  inside = _intersection(rows, columns)
  both = _width(rows) * _height(rows) + _width(columns) * _height(columns)
  union = both - inside
  return jnp.where(union > 0, inside / jnp.where(union > 0, union, 1), 0)


def ciou(
  predicted: Float[Array, "*n 4"], true: Float[Array, "*n 4"], eps: float = 1e-7
) -> Float[Array, "*n"]:
  """Complete IoU (Zheng et al., AAAI 2020) of xyxy boxes, pair by pair; equal boxes give 1.

  IoU minus the squared distance of the centres over that of the enclosing box's corners, minus the
  difference in aspect ratio, whose own weight gets no gradient.
  """

  def height(box):  # never zero, which the aspect ratio divides by
    return _height(box) + eps

  def aspect(box):
    return jnp.arctan(_width(box) / height(box))

  inside = _intersection(predicted, true)
  areas = _width(predicted) * height(predicted) + _width(true) * height(true)
  iou = inside / (areas - inside + eps)
  low = jnp.minimum(predicted[..., :2], true[..., :2])
  enclosing = jnp.maximum(predicted[..., 2:], true[..., 2:]) - low
  apart = predicted[..., :2] + predicted[..., 2:] - true[..., :2] - true[..., 2:]
  distance = jnp.sum(apart**2, axis=-1) / 4 / (jnp.sum(enclosing**2, axis=-1) + eps)
  shape = 4 / jnp.pi**2 * (aspect(true) - aspect(predicted)) ** 2
  weight = jax.lax.stop_gradient(shape / (shape - iou + (1 + eps)))
  return iou - (distance + shape * weight)


def nms(
  boxes: Float[Array, "n 4"],
  scores: Float[Array, " n"],
  classes: Int[Array, " n"],
  *,
  iou_threshold: float,
  max_detections: int,
) -> tuple[Int[Array, " k"], Bool[Array, " k"]]:
  """Greedy non-maximum suppression within each class, `k = max_detections`.

  Args:
    boxes: xyxy.
    scores: candidates have scores above zero.
    classes: class of each candidate.
    iou_threshold: a candidate that overlaps a better one of its class by more is dropped.
    max_detections: rows of the result.

  Returns:
    (indices of the kept candidates by falling score, which of the rows are real).
  """

  def keep_best(scores, _):
    best = jnp.argmax(scores)
    real = scores[best] > 0
    overlap = box_iou(boxes[best][None], boxes)[0]
    # Dropped candidates get a score of zero, which is none.
    drop = (overlap > iou_threshold) & (classes == classes[best])
    return jnp.where(drop.at[best].set(True), 0, scores), (best, real)

  _, (indices, real) = jax.lax.scan(keep_best, scores, length=max_detections)
  return indices, real


def best_boxes(
  boxes: Float[Array, "anchors 4"],
  probabilities: Float[Array, "anchors classes"],
  *,
  score_threshold: float,
  iou_threshold: float,
  max_detections: int,
  multi_label: bool = False,
  candidates: int = 1000,
) -> dict[str, jax.Array]:
  """The detections of one image: candidates above a score, then `nms`.

  Args:
    boxes: xyxy pixels.
    probabilities: of every class.
    score_threshold: a candidate's score is above it.
    iou_threshold: see `nms`.
    max_detections: see `nms`.
    multi_label: an anchor is a candidate for every class above the threshold, and not for its most
      probable class alone.
    candidates: as many of the best enter `nms`.

  Returns:
    {"boxes" [k, 4], "scores" [k], "classes" [k] int32, "valid" [k] bool} by falling score, zeros
    where not valid; k = max_detections.
  """
  anchors, num_classes = probabilities.shape
  if multi_label:
    scores = probabilities.reshape(-1)
    owners, classes = jnp.divmod(jnp.arange(anchors * num_classes), num_classes)
  else:
    scores = probabilities.max(axis=-1)
    owners, classes = jnp.arange(anchors), jnp.argmax(probabilities, axis=-1)
  scores = jnp.where(scores > score_threshold, scores, 0)
  scores, order = jax.lax.top_k(scores, min(candidates, scores.size))
  boxes, classes = boxes[owners[order]], classes[order].astype(jnp.int32)
  kept, valid = nms(
    boxes, scores, classes, iou_threshold=iou_threshold, max_detections=max_detections
  )

  def zero_if_not_valid(x):
    return jnp.where(valid.reshape(-1, *[1] * (x.ndim - 1)), x, 0)

  detections = {"boxes": boxes[kept], "scores": scores[kept], "classes": classes[kept]}
  return {**jax.tree.map(zero_if_not_valid, detections), "valid": valid}
