"""T's scores on the pairs that validation looks at, from predictions that are there already."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from tdfusion_jax.batch import DetTarget, SegTarget
from tdfusion_jax.metrics import segmentation
from tdfusion_jax.metrics.detection import average_precision
from tdfusion_jax.metrics.segmentation import confusion_matrix

_BOXES = ("boxes", "scores", "classes")
_MAIN = ("AP50", "mIoU")
_LOSSES = ("val/task_loss", "val/fusion_loss")


class Scores:
  """Collects pairs, one at a time."""

  def __init__(self, classes: Sequence[str]):
    self._classes = classes
    self._matrices: list[np.ndarray] = []
    self._detected: list[Mapping[str, Any]] = []
    self._true: list[Mapping[str, Any]] = []

  def add(self, predictions: Any, target: Any) -> None:
    """One pair's predictions and labels, each a batch of one; others than ours are passed over.

    Args:
      predictions: what `Task.predict` gives, as NumPy arrays.
      target: `SegTarget` or `DetTarget`.
    """
    if not isinstance(predictions, dict) or not self._classes:
      return
    if isinstance(target, SegTarget) and "labels" in predictions:
      labels = np.asarray(predictions["labels"])
      # A task of one's own may predict at another size, or other classes than the labels'.
      if labels.shape != target.labels.shape or not np.issubdtype(labels.dtype, np.integer):
        return
      matrix = confusion_matrix(jnp.asarray(labels), jnp.asarray(target.labels), len(self._classes))
      self._matrices.append(np.asarray(matrix, np.int64))
    elif isinstance(target, DetTarget) and {*_BOXES, "valid"} <= predictions.keys():
      if np.shape(predictions["boxes"])[-1:] != (4,):
        return
      kept, true = predictions["valid"][0], target.valid[0]
      self._detected.append({name: predictions[name][0][kept] for name in _BOXES})
      self._true.append({"boxes": target.boxes[0][true], "classes": target.classes[0][true]})

  def measured(self) -> dict[str, float]:
    """The scores of all pairs together, in [0, 1], higher is better.

    Returns:
      Segmentation: {"mIoU"}. Detection: {"AP50", "mAP"}, of the boxes that `Task.predict` gives.
      {} without labels or without predictions that can be compared.
    """
    found: dict[str, float] = {}
    if self._matrices:
      matrix = np.sum(self._matrices, axis=0)
      if (matrix >= 0).all():  # negative: a class outside the labels'
        found = {"mIoU": segmentation.scores(matrix)["mIoU"]}
    elif self._detected:
      scores = average_precision(self._detected, self._true, self._classes)
      found = {name: scores[name] for name in ("AP50", "mAP")}
    return {name: float(value) for name, value in found.items() if np.isfinite(value)}


def best_by(measured: Mapping[str, float], before: Sequence[Mapping[str, Any]]) -> str:
  """What makes a validation the best so far, such as "val/AP50"; "" if it is not the best.

  The score of T counts, between equal scores (T finds nothing yet, say) its loss; without a score
  the task loss, without a task the fusion loss. An equal one does not replace an earlier one.

  Args:
    measured: of the validation.
    before: of all earlier ones.
  """
  score = next((f"val/{name}" for name in _MAIN if f"val/{name}" in measured), "")
  loss = next((name for name in _LOSSES if name in measured), "")
  if not score and not loss:
    return ""

  def rank(row: Mapping[str, Any]) -> tuple[float, float]:
    return row.get(score, 0.0), -row.get(loss, 0.0)

  earlier = [row for row in before if (score or loss) in row]
  if not all(rank(measured) > rank(row) for row in earlier):
    return ""
  # What tells it from the best of the others is its name.
  told = score and not any(row[score] == measured[score] for row in earlier)
  return score if told or not loss else loss


def text(validations: Sequence[Mapping[str, Any]]) -> str:
  """The last and the best score of a run's validations so far; "" without a score."""
  for name in _MAIN:
    rows = [row for row in validations if f"val/{name}" in row]
    if rows:
      best = max(rows, key=lambda row: row[f"val/{name}"])  # the first of equal ones
      last = rows[-1][f"val/{name}"]
      return f"{name} {last:.3g}, best {best[f'val/{name}']:.3g} of epoch {best['epoch']}"
  return ""
