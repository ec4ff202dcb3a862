"""What readers of box labels share: the boxes of one image, and how faults are reported.

Every reader returns an `Annotation`, float64 boxes in pixels. VOC's coordinates count pixels from 1
and are kept as they are in the file, like in the paper's lists.

The files are not trusted: XML entities are refused, sizes are limited, names cannot leave the
folder, and a fault raises `DatasetError` naming file and field. A reader with an argument `report`
calls it for each fault instead and drops the faulty box, so that a whole file can be looked
through. What is read otherwise than it stands, such as a polygon as the box around it, is no fault
and is counted (`Annotation.notes`, `labels.notes`).
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np

from tdfusion_jax.batch import Boxes
from tdfusion_jax.data.fields import UnknownClassError
from tdfusion_jax.data.source import DatasetError

OnFault = Callable[[str, str], None]
"""(kind of fault: "unknown-class", "bad-box" or "bad-label"; message naming file and field)."""


class Annotation(NamedTuple):
  """The boxes of one image as its label file has them, not yet cut at the image's border."""

  boxes: np.ndarray
  """[K, 4] float64, (x1, y1, x2, y2) in pixels."""
  classes: np.ndarray
  """[K] int32."""
  size: tuple[int, int] | None = None
  """(height, width) of the image where the file states it."""
  notes: tuple[str, ...] = ()
  """Kinds of what was read otherwise than it stands (`labels.notes`), one for each time."""


class Found(NamedTuple):
  """One box of a label file."""

  row: list[float]
  """x1, y1, x2, y2 in pixels."""
  index: int
  """Of the class."""
  notes: tuple[str, ...] = ()


def stop(kind: str, message: str) -> NoReturn:
  """The default `OnFault`: the first fault ends the reading."""
  del kind
  raise DatasetError(message)


def make_annotation(
  rows: Sequence[Sequence[float]],
  classes: Sequence[int],
  size: tuple[int, int] | None = None,
  notes: Sequence[str] = (),
) -> Annotation:
  """`Annotation` from lists; no rows give arrays of shape [0, 4] and [0].

  Args:
    rows: boxes (x1, y1, x2, y2) in pixels.
    classes: their class indices.
    size: (height, width) of the image.
    notes: as in `Annotation`.
  """
  boxes = np.asarray(rows, np.float64).reshape(-1, 4)
  return Annotation(boxes, np.asarray(classes, np.int32).reshape(-1), size, tuple(notes))


def clip_boxes(found: Annotation, size: tuple[int, int], origin: Path) -> Boxes:
  """The boxes (float32) cut at the image border; those without area inside it are dropped.

  `border_notes` counts both.

  Raises:
    DatasetError: the file was made for an image of another size.
  """
  if found.size is not None and min(found.size) > 0 and tuple(found.size) != tuple(size):
    raise DatasetError(
      f"{origin}: made for an image of {found.size[1]}x{found.size[0]}, "
      f"but the image is {size[1]}x{size[0]} (width x height); its boxes would be wrong"
    )
  limit = np.array([size[1], size[0], size[1], size[0]], np.float32)
  boxes = np.clip(found.boxes.astype(np.float32), np.float32(0), limit)
  keep = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
  return Boxes(boxes[keep], found.classes[keep])


def border_notes(boxes: np.ndarray, size: tuple[int, int]) -> tuple[str, ...]:
  """The notes "clipped", "outside" and "no-area" of boxes [K, 4] in an image of (height, width)."""
  reach = reaching(boxes, size)
  left_out = outside(boxes, size)
  empty = (boxes[:, 2] <= boxes[:, 0]) | (boxes[:, 3] <= boxes[:, 1])
  counts = {
    "clipped": int(((reach > 0) & ~left_out & ~empty).sum()),
    "outside": int((left_out & ~empty).sum()),
    "no-area": int(empty.sum()),
  }
  return tuple(kind for kind, count in counts.items() for _ in range(count))


_ROUNDING = 1e-6
"""Pixels that a border may be missed by in the arithmetic of fractions: nothing to speak of."""


def reaching(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """[K] how many pixels each box reaches outside its image, 0 where it does not."""
  beyond = np.concatenate([-boxes[:, :2], boxes[:, 2:] - np.array([size[1], size[0]])], axis=1)
  most = beyond.max(axis=1, initial=0)
  return np.where(most > _ROUNDING, most, 0)


def outside(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """[K] bool: nothing of the box is inside its image."""
  before = boxes[:, 2:] <= 0
  behind = boxes[:, :2] >= np.array([size[1], size[0]])
  return np.any(before | behind, axis=1)


def attempt(report: OnFault, read: Callable[[], Found]) -> Found | None:
  """`read()`, or None after its fault was reported."""
  try:
    return read()
  except UnknownClassError as error:
    report("unknown-class", str(error))
  except DatasetError as error:
    report("bad-box", str(error))
  return None


def collect(
  found: Sequence[Found | None],
  size: tuple[int, int] | None = None,
  notes: Sequence[str] = (),
) -> Annotation:
  """What `attempt` gave, without the faulty ones; `notes` concern the whole file."""
  kept = [item for item in found if item is not None]
  every = [*notes, *(note for item in kept for note in item.notes)]
  return make_annotation([item.row for item in kept], [item.index for item in kept], size, every)
