"""Targets of a batch, and validation batches."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from tdfusion_jax.batch import IGNORE_LABEL, UNKNOWN_CLASS, Boxes, DetTarget, Pair, SegTarget
from tdfusion_jax.data.letterbox import whole_view
from tdfusion_jax.data.source import DatasetError, Kind, Source


def stack_targets(
  targets: list[Any], names: list[str], kind: Kind | None, max_boxes: int, num_classes: int | None
) -> SegTarget | DetTarget | None:
  """One target for a batch; None without labels.

  Args:
    targets: `Sample.target` of each row.
    names: of the rows, for messages.
    kind: what the targets are; None for label-free data.
    max_boxes: rows per image in `DetTarget`.
    num_classes: the task's classes, checked against the labels; None skips the check.

  Raises:
    DatasetError: an unlabelled sample, more boxes than `max_boxes`, or a class that does not fit.
  """
  if kind is None:
    return None
  for name, target in zip(names, targets, strict=True):
    if target is None:
      raise DatasetError(
        f"{name}: no label, but the task is {kind}; skip unlabelled pairs (labelled_only)"
      )
    values = target[1] if kind == "detection" else target[target != IGNORE_LABEL]
    if num_classes is not None and values.size and values.max() >= num_classes:
      raise DatasetError(
        f"{name}: class {values.max()} does not fit a task with {num_classes} classes"
      )
  if kind == "segmentation":
    return SegTarget(np.stack(targets).astype(np.int32))
  batch = DetTarget(
    np.zeros((len(targets), max_boxes, 4), np.float32),
    np.zeros((len(targets), max_boxes), np.int32),
    np.zeros((len(targets), max_boxes), bool),
  )
  for row, (boxes, classes) in enumerate(targets):
    known = np.asarray(classes) != UNKNOWN_CLASS
    if (count := np.count_nonzero(known)) > max_boxes:
      raise DatasetError(
        f"{names[row]}: {count} boxes are more than data.max_boxes={max_boxes}; raise it"
      )
    # Those of unknown class take the room that is left.
    kept = np.argsort(~known, kind="stable")[:max_boxes]
    boxes, classes = boxes[kept], classes[kept]
    batch.boxes[row, : len(boxes)] = boxes
    batch.classes[row, : len(boxes)] = classes
    batch.valid[row, : len(boxes)] = True
  return batch


def as_images(rows: list[np.ndarray]) -> np.ndarray:
  """[h, w] each -> [B, h, w, 1]."""
  return np.stack(rows)[..., None]


def checked_size(size) -> tuple[int, int]:
  """`size` as two whole numbers; ValueError if one is below 1."""
  height, width = size
  if min(height, width) < 1:
    raise ValueError(f"sizes are (height, width) >= 1, got {tuple(size)}")
  return int(height), int(width)


def val_batches(
  source: Source,
  *,
  batch_size: int,
  task_size: tuple[int, int],
  max_boxes: int = 64,
  limit: int | None = None,
  num_classes: int | None = None,
  view: str = "resize",
) -> Iterator[Pair]:
  """Batches of whole pairs at the task's size, in the order of `source.names`.

  The last batch repeats its last pair to keep the shape; `Pair.valid` is False there. Where an
  image has more boxes than `max_boxes`, its batch has room for two or three times as many, and so
  on: what a long training has led to is judged, however crowded an image is.

  Args:
    source: validation pairs.
    batch_size: rows per batch.
    task_size: (h, w).
    max_boxes: rows per image in `DetTarget`, or a multiple.
    limit: only the first pairs.
    num_classes: the task's classes, checked against the labels.
    view: how pairs fill that size, see `letterbox.whole_view`.
  """
  if batch_size < 1 or (limit is not None and limit < 0):
    raise ValueError(f"batch_size must be >= 1 and limit >= 0, got {batch_size} and {limit}")
  count = len(source) if limit is None else min(limit, len(source))
  for start in range(0, count, batch_size):
    samples = [source[i] for i in range(start, min(start + batch_size, count))]
    views = [whole_view(sample, checked_size(task_size), view) for sample in samples]
    views += views[-1:] * (batch_size - len(views))
    names = [sample.name for sample in samples] + [samples[-1].name] * (batch_size - len(samples))
    targets = [v[2] for v in views]
    most = max(len(target.boxes) if isinstance(target, Boxes) else 0 for target in targets)
    rows = max_boxes * max(1, -(-most // max_boxes))
    target = stack_targets(targets, names, source.kind, rows, num_classes)
    valid = np.arange(batch_size) < len(samples)
    yield Pair(as_images([v[0] for v in views]), as_images([v[1] for v in views]), target, valid)
