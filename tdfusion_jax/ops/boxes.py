"""Boxes: formats in the names, overlaps, and non-maximum suppression of static shape."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def cxcywh_to_xyxy(boxes: Float[Array, "*n 4"]) -> Float[Array, "*n 4"]:
  """(centre x, centre y, width, height) -> (x1, y1, x2, y2), any unit."""
  centre, half = boxes[..., :2], boxes[..., 2:] / 2
  return jnp.concatenate([centre - half, centre + half], axis=-1)


def xyxy_to_cxcywh(boxes: Float[Array, "*n 4"]) -> Float[Array, "*n 4"]:
  """(x1, y1, x2, y2) -> (centre x, centre y, width, height), any unit."""
  low, high = boxes[..., :2], boxes[..., 2:]
  return jnp.concatenate([(low + high) / 2, high - low], axis=-1)


def _areas(a, b):
  """Intersection and union of boxes that broadcast against each other."""
  size = jnp.maximum(jnp.minimum(a[..., 2:], b[..., 2:]) - jnp.maximum(a[..., :2], b[..., :2]), 0)
  inside = size[..., 0] * size[..., 1]
  area = lambda box: (box[..., 2] - box[..., 0]) * (box[..., 3] - box[..., 1])  # noqa: E731
  return inside, area(a) + area(b) - inside


def box_iou(a: Float[Array, "n 4"], b: Float[Array, "m 4"]) -> Float[Array, "n m"]:
  """Intersection over union of every pair of xyxy boxes, in [0, 1]; 0 for two boxes without area."""
  inside, union = _areas(a[:, None], b[None])
  return jnp.where(union > 0, inside / jnp.where(union > 0, union, 1), 0)


def ciou(
  predicted: Float[Array, "*n 4"], true: Float[Array, "*n 4"], eps: float = 1e-7
) -> Float[Array, "*n"]:
  """Complete IoU (Zheng et al., AAAI 2020) of xyxy boxes, pair by pair; equal boxes give 1.

  IoU minus the squared distance of the centres over that of the enclosing box's corners, minus the
  difference in aspect ratio, whose own weight gets no gradient.
  """
  width = lambda box: box[..., 2] - box[..., 0]  # noqa: E731
  height = lambda box: box[..., 3] - box[..., 1] + eps  # noqa: E731
  size = jnp.maximum(
    jnp.minimum(predicted[..., 2:], true[..., 2:]) - jnp.maximum(predicted[..., :2], true[..., :2]),
    0,
  )
  inside = size[..., 0] * size[..., 1]
  iou = inside / (width(predicted) * height(predicted) + width(true) * height(true) - inside + eps)
  enclosing = jnp.maximum(predicted[..., 2:], true[..., 2:]) - jnp.minimum(
    predicted[..., :2], true[..., :2]
  )
  apart = predicted[..., :2] + predicted[..., 2:] - true[..., :2] - true[..., 2:]
  distance = jnp.sum(apart**2, axis=-1) / 4 / (jnp.sum(enclosing**2, axis=-1) + eps)
  aspect = lambda box: jnp.arctan(width(box) / height(box))  # noqa: E731
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
    drop = (overlap > iou_threshold) & (classes == classes[best])
    return jnp.where(drop.at[best].set(True), 0, scores), (best, real)

  _, (indices, real) = jax.lax.scan(keep_best, scores, length=max_detections)
  return indices, real
