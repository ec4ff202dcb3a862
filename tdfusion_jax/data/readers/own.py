"""What a reader of the user's own makes: checked before training starts, read by threads."""

import time
from typing import Any

import numpy as np

from tdfusion_jax.batch import Boxes, Sample
from tdfusion_jax.data.source import DatasetError, Kind, Source

KINDS = ("segmentation", "detection", None)
_TRIES = 20
_DISTURBED = "AST constructor recursion depth mismatch"


class OwnSource:
  """The user's own source, which many threads may read at once.

  Python counts the depth of a syntax tree once for all threads (CPython issue 106905): where two of
  them parse at a time, as `numpy.load` does with the header of each array, one may end in a
  SystemError that says nothing of the file. Such a pair is read again.

  Args:
    source: what the user's reader made; see `check_source`.
  """

  def __init__(self, source: Source):
    self.source = source
    self.names, self.classes = source.names, source.classes
    self.kind: Kind | None = source.kind

  def __len__(self) -> int:
    return len(self.source)

  def __getitem__(self, index: int) -> Sample:
    for attempt in range(_TRIES):
      try:
        return self.source[index]
      except SystemError as error:
        if _DISTURBED not in str(error):
          raise
      time.sleep(0.001 * attempt)  # threads that fail together do not start again together
    return self.source[index]

  def describe(self) -> str:
    """What the user's own says."""
    return self.source.describe()


def check_source(source: Any, name: str) -> None:
  """Raises `DatasetError` unless `source` is a `Source` whose first pair is as the loader needs it.

  Only the first pair is looked at: it shows a wrong dtype or order of axes, and reading all would
  take long.
  """
  needed = ("names", "classes", "kind", "__len__", "__getitem__", "describe")
  missing = [attribute for attribute in needed if not hasattr(source, attribute)]
  if missing:
    raise DatasetError(
      f"data set {name!r}: its source has no {', '.join(missing)}; see data.Source"
    )
  if source.kind not in KINDS:
    raise DatasetError(
      f"data set {name!r}: kind {source.kind!r} is not segmentation, detection or None"
    )
  count, different = len(source.names), len(set(source.names))
  if not len(source) or not len(source) == count == different:
    raise DatasetError(
      f"data set {name!r}: {len(source)} pairs and {count} names, {different} of them different; "
      "each pair needs a name of its own"
    )
  _check_sample(
    source[0], f"data set {name!r}, pair {source.names[0]!r}", source.kind, len(source.classes)
  )


def _check_sample(sample: Any, where: str, kind: str | None, classes: int) -> None:
  if not isinstance(sample, Sample):
    raise DatasetError(f"{where}: a batch.Sample is needed, not {type(sample).__name__}")
  shape = np.shape(sample.ir)
  gray, colour = (*shape[:2],), (*shape[:2], 3)
  if len(shape) != 2 or np.shape(sample.vi) not in (gray, colour):
    raise DatasetError(
      f"{where}: ir [H, W] and vi [H, W] or [H, W, 3] of one size are needed, "
      f"not {shape} and {np.shape(sample.vi)}"
    )
  for title, image in (("ir", sample.ir), ("vi", sample.vi)):
    if np.asarray(image).dtype != np.uint8:
      raise DatasetError(
        f"{where}: {title} is {np.asarray(image).dtype}; uint8 in 0 to 255 is needed"
      )
  if sample.target is None or kind is None:
    return
  if kind == "segmentation":
    _check_labels(sample.target, where, gray, classes)
  else:
    _check_boxes(sample.target, where, classes)


def _check_labels(labels: Any, where: str, size: tuple[int, ...], classes: int) -> None:
  labels = np.asarray(labels)
  if labels.shape != size or labels.dtype.kind not in "iu":
    raise DatasetError(
      f"{where}: labels of whole numbers, {list(size)}, are needed, "
      f"not {labels.dtype} {list(labels.shape)}"
    )
  known = labels[labels != 255]
  if known.size and not 0 <= known.min() <= known.max() < classes:
    raise DatasetError(
      f"{where}: labels {known.min()} to {known.max()} are not in 0 to {classes - 1}, "
      "or 255 for unknown"
    )


def _check_boxes(target: Any, where: str, classes: int) -> None:
  if not isinstance(target, Boxes):
    raise DatasetError(f"{where}: batch.Boxes are needed, not {type(target).__name__}")
  boxes, indices = np.asarray(target.boxes), np.asarray(target.classes)
  if boxes.ndim != 2 or boxes.shape[1] != 4 or indices.shape != boxes.shape[:1]:
    raise DatasetError(
      f"{where}: boxes [K, 4] and classes [K] are needed, not {boxes.shape} and {indices.shape}"
    )
  if indices.size and not 0 <= indices.min() <= indices.max() < classes:
    raise DatasetError(
      f"{where}: classes {indices.min()} to {indices.max()} are not in 0 to {classes - 1}"
    )
  if (boxes[:, 2:] < boxes[:, :2]).any():
    raise DatasetError(f"{where}: a box ends before it begins; x1, y1, x2, y2 in pixels are needed")
