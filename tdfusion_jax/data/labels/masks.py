"""Masks: images of class indices."""

from pathlib import Path

import numpy as np

from tdfusion_jax.batch import IGNORE_LABEL
from tdfusion_jax.data.images import read_mask
from tdfusion_jax.data.source import DatasetError


def read_labels(
  path: Path, num_classes: int, unlabelled: int | None = None, content: bytes | None = None
) -> np.ndarray:
  """[H, W] uint8 class indices, `IGNORE_LABEL` where unknown.

  Palette images give their indices, not their colours; 16 bits are taken where the values fit.

  Args:
    path: the label image.
    num_classes: number of classes, at most 255.
    unlabelled: a file value to be replaced by `IGNORE_LABEL`; need not be a class.
    content: the file's bytes, where they were read already.

  Raises:
    DatasetError: colour-coded, or a value neither below `num_classes` nor `IGNORE_LABEL`.
  """
  values = one_channel(read_mask(path, content), path)
  if unlabelled is not None:
    values = np.where(values == unlabelled, np.asarray(IGNORE_LABEL, values.dtype), values)
  if not _are_classes(values, num_classes):
    found = ", ".join(str(value) for value in np.unique(values)[:20])
    raise DatasetError(
      f"{path}: label values must be 0 to {num_classes - 1} or {IGNORE_LABEL}, found {found}"
    )
  return values.astype(np.uint8)


def one_channel(values: np.ndarray, path: Path) -> np.ndarray:
  """[H, W] of a mask's pixels [H, W] or [H, W, channels]; alpha is left out.

  Raises:
    DatasetError: the channels differ: colours stand for classes.
  """
  if values.dtype == bool:
    values = values.astype(np.uint8)
  if values.ndim == 2:
    return values
  colours = values[..., :3] if values.shape[-1] >= 3 else values[..., :1]
  if (colours != colours[..., :1]).any():
    count = len(np.unique(colours.reshape(-1, 3)[:: max(1, colours.size // 300_000)], axis=0))
    raise DatasetError(
      f"{path}: colour-coded labels ({count} colours or more); class indices (one channel or a "
      "palette) are needed"
    )
  return colours[..., 0]


def _are_classes(values: np.ndarray, num_classes: int) -> bool:
  if values.dtype.kind == "f":
    return False
  known = values[values != IGNORE_LABEL]
  return not known.size or (int(known.min()) >= 0 and int(known.max()) < num_classes)
