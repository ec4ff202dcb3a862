"""Average precision as the Ultralytics package defines it, beside COCO's of `metrics.detection`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_OVERLAPS = np.linspace(0.5, 0.95, 10)  # least IoU of a hit
_RECALLS = np.linspace(0, 1, 101)


def interpolated_precision(
  detected: Sequence[Mapping[str, Any]], true: Sequence[Mapping[str, Any]], classes: Sequence[str]
) -> dict[str, float]:
  """Average precision over a data set by the Ultralytics package's rules.

  Its matching is COCO's (of version 8.4; older ones give a detection no second-best true box): the
  surest detections choose first, each the free true box of its class that it overlaps most. What
  differs is the area under the curve: straight lines between its points, at 101 recalls and summed
  as trapezes, with precision 1 at recall 0, and 0 beyond the largest recall; COCO's is the mean of
  steps. So perfect detections score 0.995 here and 1 there, and on curves of hundreds of boxes the
  two differ by a few thousandths.

  Args:
    detected: as for `average_precision`, in any order.
    true: likewise.
    classes: names; index = class id.

  Returns:
    {"AP50", "AP75", "mAP"} in [0, 1], means over the classes that have a true box; NaN if none has.
  """
  hits, scores, kinds = [], [], []
  for found, there in zip(detected, true, strict=True):
    order = np.argsort(-np.asarray(found["scores"]), kind="stable")
    boxes = np.asarray(found["boxes"], np.float64).reshape(-1, 4)[order]
    of_class = np.asarray(found["classes"], int)[order]
    hits.append(_hits(boxes, of_class, there))
    scores.append(np.asarray(found["scores"], np.float64)[order])
    kinds.append(of_class)
  wanted = np.concatenate([np.asarray(there["classes"], int) for there in true] or [[]])
  by_class = [
    _of_class(np.concatenate(hits), np.concatenate(scores), np.concatenate(kinds) == index, count)
    for index in range(len(classes))
    if (count := int((wanted == index).sum()))
  ]
  if not by_class:
    return dict.fromkeys(("AP50", "AP75", "mAP"), float("nan"))
  mean = np.mean(by_class, axis=0)
  return {"AP50": float(mean[0]), "AP75": float(mean[5]), "mAP": float(mean.mean())}


def _hits(boxes: np.ndarray, of_class: np.ndarray, there: Mapping[str, Any]) -> np.ndarray:
  """[K, 10]: which of the detections of one image, surest first, are hits at each overlap."""
  hits = np.zeros((len(boxes), len(_OVERLAPS)), bool)
  true = np.asarray(there["boxes"], np.float64).reshape(-1, 4)
  if not len(true) or not len(boxes):
    return hits
  same_class = of_class[:, None] == np.asarray(there["classes"], int)
  overlaps = np.where(same_class, _overlaps(boxes, true), 0)
  free = np.ones((len(_OVERLAPS), len(true)), bool)
  columns = np.arange(len(_OVERLAPS))
  for row, overlap in enumerate(overlaps):
    left = np.where(free, overlap, -1)
    best = left.argmax(axis=1)
    hits[row] = left[columns, best] >= _OVERLAPS
    free[columns, best] &= ~hits[row]
  return hits


def _overlaps(boxes: np.ndarray, true: np.ndarray) -> np.ndarray:
  """[K, N] intersections over unions."""
  low = np.maximum(boxes[:, None, :2], true[None, :, :2])
  high = np.minimum(boxes[:, None, 2:], true[None, :, 2:])
  shared = np.maximum(high - low, 0).prod(axis=-1)
  areas = [(sides[:, 2:] - sides[:, :2]).prod(axis=-1) for sides in (boxes, true)]
  union = areas[0][:, None] + areas[1][None] - shared
  return shared / np.maximum(union, 1e-12)


def _of_class(hits: np.ndarray, scores: np.ndarray, mine: np.ndarray, count: int) -> list[float]:
  """Average precision at each overlap of one class with `count` true boxes."""
  order = np.argsort(-scores[mine], kind="stable")
  hit = np.cumsum(hits[mine][order], axis=0)
  if not len(hit):
    return [0.0] * len(_OVERLAPS)
  recall = hit / count
  precision = hit / np.arange(1, len(hit) + 1)[:, None]
  return [_area(recall[:, column], precision[:, column]) for column in range(len(_OVERLAPS))]


def _area(recall: np.ndarray, precision: np.ndarray) -> float:
  recall = np.concatenate([[0.0], recall, [recall[-1], 1.0]])
  precision = np.concatenate([[1.0], precision, [0.0, 0.0]])
  envelope = np.maximum.accumulate(precision[::-1])[::-1]
  return float(np.trapezoid(np.interp(_RECALLS, recall, envelope), _RECALLS))
