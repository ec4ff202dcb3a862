"""Average precision by COCO's matching, computed by pycocotools."""

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_HUGE = 1e10  # COCO's bound of "all areas"
_MOST = 300  # detections per image that count


def average_precision(
  detected: Sequence[Mapping[str, Any]], true: Sequence[Mapping[str, Any]], classes: Sequence[str]
) -> dict[str, float]:
  """Average precision over a data set (Lin et al. 2014; 101 recall points, all areas).

  Args:
    detected: per image {"boxes" [K, 4] xyxy pixels, "scores" [K], "classes" [K] int}, in any order.
    true: per image {"boxes" [N, 4] xyxy pixels, "classes" [N] int}.
    classes: names; index = class id.

  Returns:
    {"AP50", "AP75", "mAP" (IoU 0.50 to 0.95), "AR" (mean best recall), "AP50/CLASS", "mAP/CLASS"}
    in [0, 1]; a class without any true box counts in no mean and has NaN. Without any true box all
    are NaN.

  Raises:
    ValueError: numbers of images differ, or boxes that are not [K, 4].
  """
  evaluation = matched(detected, true, classes)
  with contextlib.redirect_stdout(io.StringIO()):  # it reports on standard output
    evaluation.accumulate()
  assert evaluation.eval, "accumulate() fills it"
  # [IoU thresholds, recalls, classes]; -1 where a class has no true box.
  precision = evaluation.eval["precision"][:, :, :, 0, 0]
  recall = evaluation.eval["recall"][:, :, 0, 0]
  scores = {
    "AP50": _mean(precision[0]),
    "AP75": _mean(precision[5]),
    "mAP": _mean(precision),
    "AR": _mean(recall),
  }
  for index, name in enumerate(classes):
    scores |= {
      f"AP50/{name}": _mean(precision[0, :, index]),
      f"mAP/{name}": _mean(precision[:, :, index]),
    }
  return scores


def matched(
  detected: Sequence[Mapping[str, Any]], true: Sequence[Mapping[str, Any]], classes: Sequence[str]
) -> Any:
  """Detections and true boxes matched by image: a `COCOeval` behind its `evaluate`.

  Args:
    detected: as for `average_precision`.
    true: likewise.
    classes: likewise.

  Raises:
    ValueError: as for `average_precision`.
  """
  if len(detected) != len(true):
    raise ValueError(f"{len(detected)} images of detections, {len(true)} of true boxes.")
  from pycocotools.cocoeval import COCOeval

  with contextlib.redirect_stdout(io.StringIO()):  # it reports on standard output
    evaluation = COCOeval(_coco(true, classes), _coco(detected, classes), "bbox")
    evaluation.params.maxDets = [_MOST]
    evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, _HUGE]], ["all"]
    evaluation.evaluate()
  return evaluation


def _mean(values: np.ndarray) -> float:
  there = values[values > -1]
  return float(there.mean()) if there.size else float("nan")


def _coco(images: Sequence[Mapping[str, Any]], classes: Sequence[str]):
  """COCO's tables of true boxes, or of detections where there are scores."""
  from pycocotools.coco import COCO

  rows = []
  for image, boxes in enumerate(images, 1):
    corners = np.asarray(boxes["boxes"], np.float64)
    if corners.ndim != 2 or corners.shape[1] != 4:
      raise ValueError(f"boxes are [K, 4], not {corners.shape}.")
    scores = boxes.get("scores")
    for row, (x1, y1, x2, y2) in enumerate(corners.tolist()):
      width, height = max(x2 - x1, 0.0), max(y2 - y1, 0.0)
      about = {
        "id": len(rows) + 1,
        "image_id": image,
        "category_id": int(boxes["classes"][row]) + 1,
        "iscrowd": 0,
      }
      box = {"bbox": [x1, y1, width, height], "area": width * height}
      rows.append(about | box | ({} if scores is None else {"score": float(scores[row])}))
  table = COCO()
  table.dataset = {  # pyright: ignore
    "images": [{"id": image} for image in range(1, len(images) + 1)],
    "categories": [{"id": index, "name": name} for index, name in enumerate(classes, 1)],
    "annotations": rows,
  }
  table.createIndex()
  return table
