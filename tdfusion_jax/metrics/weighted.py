"""Scores of a data set in which some images count several times: what a bootstrap asks for.

Neither average precision nor mIoU is a mean over images, so each resample is scored anew. What an
image contributes is computed once: matched boxes, or a confusion matrix.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tdfusion_jax.metrics.detection import matched
from tdfusion_jax.metrics.segmentation import scores

Scores = dict[str, np.ndarray]
"""{name: one value for each weighting}; NaN where there is none."""

_RECALLS = np.linspace(0, 1, 101)  # at which COCO reads precision
_AT_ONCE = 1 << 22  # numbers of an intermediate array


class Matches(NamedTuple):
  """The detections of one class in all images, by falling score, ties in the images' order."""

  image: np.ndarray
  """[D] int: in which image each detection is."""
  hits: np.ndarray
  """[10, D] bool: whether it found a true box, at IoU 0.50, 0.55, ... 0.95."""
  true: np.ndarray
  """[images]: true boxes."""


def match(
  detected: Sequence[Mapping[str, Any]], true: Sequence[Mapping[str, Any]], classes: Sequence[str]
) -> list[Matches]:
  """COCO's matching, one item for each class.

  Args:
    detected: as for `metrics.detection.average_precision`.
    true: likewise.
    classes: likewise.
  """
  evaluation, count = matched(detected, true, classes), len(true)
  if not count:
    raise ValueError("there are no images.")
  of_class = []
  for index in range(len(classes)):
    images = evaluation.evalImgs[index * count : (index + 1) * count]
    found = [(number, image) for number, image in enumerate(images) if image is not None]
    own = [(number, image) for number, image in found if len(image["dtScores"])]
    labelled = np.zeros(count)
    for number, image in found:
      labelled[number] = len(image["gtIds"])
    levels = len(evaluation.params.iouThrs)
    hits = [np.asarray(image["dtMatches"]) > 0 for _, image in own]
    by_image = [np.full(len(image["dtScores"]), number) for number, image in own]
    scored = np.concatenate([np.zeros(0), *(np.asarray(image["dtScores"]) for _, image in own)])
    order = np.argsort(-scored, kind="stable")
    of_class.append(
      Matches(
        np.concatenate([np.zeros(0, int), *by_image])[order],
        np.concatenate([np.zeros((levels, 0), bool), *hits], axis=1)[:, order],
        labelled,
      )
    )
  return of_class


def average_precision(
  matches: Sequence[Matches], classes: Sequence[str], weights: np.ndarray
) -> Scores:
  """As `metrics.detection.average_precision`, of images that count as often as weights say.

  All weights 1 give COCO's values; whole numbers give those of a data set with images repeated.

  Args:
    matches: of each class.
    classes: their names.
    weights: [R, images], at least 0.

  Returns:
    {"AP50", "AP75", "mAP", "AP50/CLASS", "mAP/CLASS"}, each [R] in [0, 1]. A class without a true
    box has NaN and counts in no mean.
  """
  each = np.stack([_precision(of_class, weights) for of_class in matches])  # [classes, R, IoUs]
  found = {
    "AP50": _mean(each[:, :, 0]),
    "AP75": _mean(each[:, :, 5]),
    "mAP": _mean(each.mean(-1)),
  }
  for name, of_class in zip(classes, each, strict=True):
    found |= {f"AP50/{name}": of_class[:, 0], f"mAP/{name}": of_class.mean(-1)}
  return found


def _precision(matches: Matches, weights: np.ndarray) -> np.ndarray:
  """[R, IoUs]: precision averaged over COCO's 101 recalls."""
  of_each = [np.zeros((0, len(matches.hits)))]
  rows = max(1, _AT_ONCE // max(1, len(matches.image)))
  for start in range(0, len(weights), rows):
    of_each.append(_precision_of(matches, weights[start : start + rows]))
  return np.concatenate(of_each)


def _precision_of(matches: Matches, weights: np.ndarray) -> np.ndarray:
  labelled = weights @ matches.true
  counted = weights[:, matches.image]
  # Where nothing is found, recall stands still and precision falls: only hits matter.
  places = np.flatnonzero(matches.hits.any(0))
  seen, counted = np.cumsum(counted, axis=1)[:, places], counted[:, places]
  out = np.zeros((len(weights), len(matches.hits)))
  for level, hits in enumerate(matches.hits[:, places]):
    found = np.cumsum(counted[:, hits], axis=1)
    precision = found / (seen[:, hits] + np.spacing(1))
    # The best precision at this recall or a higher one.
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    for row, total in enumerate(labelled):
      if total:
        index = np.searchsorted(found[row] / total, _RECALLS, side="left")
        reached = index[index < best.shape[1]]
        out[row, level] = best[row, reached].sum() / len(_RECALLS)
  out[labelled == 0] = np.nan
  return out


def overlap(matrices: np.ndarray, classes: Sequence[str], weights: np.ndarray) -> Scores:
  """As `metrics.segmentation.scores`, of images that count as often as weights say.

  Args:
    matrices: the confusion matrix of each image, [images, classes, classes].
    classes: names.
    weights: [R, images], at least 0.

  Returns:
    {"mIoU", "mAcc", "pixel_accuracy", "IoU/CLASS", "Acc/CLASS"}, each [R].
  """
  whole = np.tensordot(weights, matrices.astype(np.float64), axes=1)
  by_name = [scores(matrix) for matrix in whole]
  found = {
    name: np.array([each[name] for each in by_name])
    for name in ("mIoU", "mAcc", "pixel_accuracy", "IoU", "Acc")
  }
  for name in ("IoU", "Acc"):
    table = found.pop(name).reshape(len(weights), len(classes))
    found |= {f"{name}/{title}": table[:, i] for i, title in enumerate(classes)}
  return found


def _mean(values: np.ndarray) -> np.ndarray:
  """Over the first axis, of those that are there; NaN where none is."""
  there = ~np.isnan(values)
  count = there.sum(0)
  total = np.where(there, values, 0).sum(0)
  return np.where(count, total / np.maximum(count, 1), np.nan)
