"""What readers of box labels share: the boxes of one image, and how faults are reported.

Every reader returns an `Annotation`, float64 boxes in pixels. VOC's coordinates count pixels from 1
and are kept as they are in the file, like in the paper's lists.

The files are not trusted: XML entities are refused, sizes are limited, names cannot leave the
folder, and a fault raises `DatasetError` naming file and field. A reader with an argument `report`
calls it for each fault instead and drops the faulty box, so that a whole file can be looked
through.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np

from tdfusion_jax.batch import Boxes
from tdfusion_jax.data.fields import UnknownClassError
from tdfusion_jax.data.source import DatasetError

log = logging.getLogger(__name__)

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


def stop(kind: str, message: str) -> NoReturn:
  """The default `OnFault`: the first fault ends the reading."""
  del kind
  raise DatasetError(message)


def make_annotation(
  rows: Sequence[Sequence[float]], classes: Sequence[int], size=None
) -> Annotation:
  """`Annotation` from lists; no rows give arrays of shape [0, 4] and [0]."""
  return Annotation(
    np.asarray(rows, np.float64).reshape(-1, 4), np.asarray(classes, np.int32).reshape(-1), size
  )


def clip_boxes(found: Annotation, size: tuple[int, int], origin: Path) -> Boxes:
  """The boxes (float32) cut at the image border; those without area inside it are dropped.

  What is dropped is logged.

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
  if not keep.all():
    log.warning("%s: dropped %d box(es) without area inside the image", origin, int((~keep).sum()))
  return Boxes(boxes[keep], found.classes[keep])


def attempt(
  report: OnFault, read: Callable[[], tuple[list[float], int]]
) -> tuple[list[float], int] | None:
  """`read()`, or None after its fault was reported."""
  try:
    return read()
  except UnknownClassError as error:
    report("unknown-class", str(error))
  except DatasetError as error:
    report("bad-box", str(error))
  return None


def collect(found: Sequence[tuple[list[float], int] | None], size=None) -> Annotation:
  """What `attempt` gave, without the faulty ones."""
  kept = [item for item in found if item is not None]
  return make_annotation([row for row, _ in kept], [index for _, index in kept], size)
