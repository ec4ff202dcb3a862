"""Masks: images of class indices."""

from pathlib import Path

import numpy as np

from tdfusion_jax.batch import IGNORE_LABEL
from tdfusion_jax.data.images import decode
from tdfusion_jax.data.source import DatasetError


def read_labels(
  path: Path, num_classes: int, unlabelled: int | None = None, content: bytes | None = None
) -> np.ndarray:
  """[H, W] uint8 class indices, `IGNORE_LABEL` where unknown.

  Palette images give their indices, not their colours.

  Args:
    path: the label image.
    num_classes: number of classes, at most 255.
    unlabelled: a file value to be replaced by `IGNORE_LABEL`.
    content: the file's bytes, where they were read already.

  Raises:
    DatasetError: colour-coded, or a value neither below `num_classes` nor `IGNORE_LABEL`.
  """
  values = decode(path, lambda image: image, content)
  if values.ndim == 3:
    colours = values[..., :3] if values.shape[-1] >= 3 else values[..., :1]
    if (colours != colours[..., :1]).any():
      raise DatasetError(
        f"{path}: colour-coded labels; class indices (one channel or a palette) are needed"
      )
    values = colours[..., 0]
  if not _are_classes(values, num_classes):
    found = ", ".join(str(value) for value in np.unique(values)[:20])
    raise DatasetError(
      f"{path}: label values must be 0 to {num_classes - 1} or {IGNORE_LABEL}, found {found}"
    )
  values = values.astype(np.uint8)
  if unlabelled is not None:
    values[values == unlabelled] = IGNORE_LABEL
  return values


def _are_classes(values: np.ndarray, num_classes: int) -> bool:
  if values.dtype == bool:
    return True
  if values.dtype.kind == "f":
    return False
  known = values[values != IGNORE_LABEL]
  return not known.size or (int(known.min()) >= 0 and int(known.max()) < num_classes)
