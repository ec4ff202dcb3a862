"""How good a trained T is: the numbers of the paper's table 2 over a whole data set."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tdfusion_jax.batch import DetTarget, Pair, SegTarget
from tdfusion_jax.data import val_batches
from tdfusion_jax.data.source import DatasetError, Source
from tdfusion_jax.evaluate.contributions import Contributions, gathered
from tdfusion_jax.meta.state import Params
from tdfusion_jax.metrics.detection import average_precision
from tdfusion_jax.metrics.interpolated import interpolated_precision
from tdfusion_jax.metrics.segmentation import confusion_matrix
from tdfusion_jax.ops import compiling
from tdfusion_jax.tasks import Task

_BATCH = 8  # pairs at a time


def judge(
  task: Task,
  params: Params,
  source: Source,
  *,
  fuse: Callable,
  task_size: tuple[int, int],
  max_boxes: int = 64,
  view: str = "resize",
) -> tuple[dict[str, float], Contributions]:
  """T's scores on all pairs of `source`, and what each of them adds.

  Args:
    task: made with a low `score_threshold` for detection, since average precision needs the whole
      curve.
    params: of F, for `fuse`, and of T.
    source: pairs with labels.
    fuse: (params.f, ir, vi) -> what T sees, on [B, H, W, 1].
    task_size: (H, W) that pairs and labels are resized to.
    max_boxes: rows per image in `DetTarget`.
    view: how pairs fill that size, see `data.letterbox.whole_view`. Average precision is the same
      in the view as in the pairs' own pixels.

  Returns:
    {"task_loss": mean over pairs; segmentation: "mIoU", "mAcc", "pixel_accuracy", "IoU/CLASS",
    "Acc/CLASS";
    detection: "AP50", "AP75", "mAP" and "AP50/CLASS" by COCO matching in the view,
    "Ultralytics/AP50" and the like by `interpolated_precision`}, in [0, 1],
    higher is better but for the loss; and contributions to all but the loss.

  Raises:
    DatasetError: a source without labels.
  """
  if source.kind not in ("segmentation", "detection"):
    raise DatasetError(f"{source.describe()}: T cannot be judged without labels")

  @compiling.jit
  def predict(params: Params, pair: Pair):
    images = fuse(params.f, pair.ir, pair.vi)

    def loss(row):  # of one image: a batch's loss is no mean over its images for every task
      image, target = jax.tree.map(lambda leaf: leaf[None], row)
      outputs, _ = task.apply(params.t, params.t_stats, image, train=False, key=None)
      return task.loss(outputs, target)[0]

    losses = jax.lax.map(loss, (images, pair.target))
    return losses, task.predict(params.t, params.t_stats, images)

  losses, seen = [], []
  sizes = {"task_size": task_size, "max_boxes": max_boxes, "view": view}
  batches = val_batches(source, batch_size=_BATCH, **sizes)
  for pair in batches:
    loss, predictions = jax.device_get(predict(params, jax.tree.map(jnp.asarray, pair)))
    # Rows that only fill up the last batch are left out.
    valid = np.ones(len(pair.ir), bool) if pair.valid is None else np.asarray(pair.valid)
    losses.append(loss[valid])
    seen.append(_rows((predictions, pair.target), valid))
  measured = {"task_loss": float(np.concatenate(losses).mean())}
  look = _segmentation if source.kind == "segmentation" else _detection
  rows = look(seen, source.classes)
  of_images = gathered(source, rows)
  return measured | _whole(of_images, rows), of_images


def _rows(tree: Any, chosen: np.ndarray) -> Any:
  return jax.tree.map(lambda leaf: leaf[chosen], tree)


def _whole(of_images: Contributions, rows: list[Any]) -> dict[str, float]:
  """The scores of all images."""
  if of_images.kind == "detection":  # by COCO's own code, and its recall too
    detected, true = zip(*rows, strict=True)
    other = interpolated_precision(detected, true, of_images.classes)
    others = {f"Ultralytics/{name}": score for name, score in other.items()}
    return average_precision(detected, true, of_images.classes) | others
  found = of_images.scores(np.ones((1, len(rows))))
  return {name: float(value[0]) for name, value in found.items()}


def _segmentation(seen: list[tuple[dict, SegTarget]], classes: tuple[str, ...]) -> list[Any]:
  """The confusion matrix of each image."""
  matrices = []
  for predictions, target in seen:
    for predicted, true in zip(predictions["labels"], target.labels, strict=True):
      counts = confusion_matrix(jnp.asarray(predicted), jnp.asarray(true), len(classes))
      matrices.append(np.asarray(counts, np.int64))
  return matrices


def _detection(seen: list[tuple[dict, DetTarget]], classes: tuple[str, ...]) -> list[Any]:
  """(detections, true boxes) of each image."""
  del classes
  rows = []
  for predictions, target in seen:
    for row in range(len(target.valid)):
      kept = predictions["valid"][row]
      names = ("boxes", "scores", "classes")
      predicted = {name: predictions[name][row][kept] for name in names}
      kept = target.valid[row]
      rows.append(
        (predicted, {"boxes": target.boxes[row][kept], "classes": target.classes[row][kept]})
      )
  return rows
