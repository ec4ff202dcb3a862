"""Segmentation accuracy from one confusion matrix, summed over a whole data set."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Integer

from tdfusion_jax.batch import IGNORE_LABEL

_POISON = -(2**30)


def confusion_matrix(
  predicted: Integer[Array, "*shape"], labels: Integer[Array, "*shape"], num_classes: int
) -> Int[Array, "classes classes"]:
  """Counts pixels by (true class, predicted class); can be jitted.

  Pixels labelled `IGNORE_LABEL` are skipped.

  Args:
    predicted: any shape, integers in [0, num_classes).
    labels: the same shape, integers in [0, num_classes) or `IGNORE_LABEL`.
    num_classes: number of classes.

  Returns:
    [num_classes, num_classes] int32, row = true, column = predicted. Sum the matrices of many
    batches on the host (int64). If any class is outside its range, every entry is hugely negative,
    and `scores` raises.
  """
  known = labels != IGNORE_LABEL
  inside = (labels >= 0) & (labels < num_classes) & (predicted >= 0) & (predicted < num_classes)
  cells = num_classes * num_classes
  index = labels.astype(jnp.int32) * num_classes + predicted.astype(jnp.int32)
  index = jnp.where(known & inside, index, cells)
  counts = jnp.bincount(index.reshape(-1), length=cells + 1)[:cells].astype(jnp.int32)
  return jnp.where(jnp.any(known & ~inside), _POISON, counts).reshape(num_classes, num_classes)


def scores(matrix) -> dict:
  """The usual scores of a confusion matrix, all in [0, 1]; a perfect prediction gives ones.

  Args:
    matrix: [classes, classes] counts, row = true, column = predicted (on the host).

  Returns:
    `IoU` [classes] = TP / (TP + FP + FN), NaN for classes that are neither labelled nor predicted;
    `Acc` [classes] = TP / (TP + FN), NaN for classes that are not labelled;
    `mIoU`, `mAcc`: floats, their means over the classes that are not NaN (NaN if there is none);
    `pixel_accuracy`: share of correct pixels (NaN without pixels).

  Raises:
    ValueError: not a square matrix, or negative entries (labels or predictions outside their
      range).
  """
  matrix = np.asarray(matrix, np.float64)
  if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
    raise ValueError(f"a confusion matrix is square, not {matrix.shape}.")
  if (matrix < 0).any():
    raise ValueError(
      "negative entries in the confusion matrix: labels or predictions lay outside [0, classes)."
    )
  hits, labelled, predicted = np.diag(matrix), matrix.sum(1), matrix.sum(0)
  iou = _ratio(hits, labelled + predicted - hits)
  accuracy = _ratio(hits, labelled)
  return {
    "mIoU": _mean(iou),
    "mAcc": _mean(accuracy),
    "pixel_accuracy": float(_ratio(hits.sum(), matrix.sum())),
    "IoU": iou,
    "Acc": accuracy,
  }


def _ratio(part, whole) -> np.ndarray:
  return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)


def _mean(values: np.ndarray) -> float:
  present = values[~np.isnan(values)]
  return float(present.mean()) if present.size else float("nan")
