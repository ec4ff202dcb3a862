"""What a source shows before training: a look at some of its pairs, or at all if few."""

from pathlib import Path
from typing import Any

import numpy as np

from tdfusion_jax.data.images import read_picture
from tdfusion_jax.data.labels.census import BINARY_REMEDY, Look, remarks
from tdfusion_jax.data.labels.notes import told
from tdfusion_jax.data.source import DatasetError, find
from tdfusion_jax.images.colour import chroma, false_colours

MASKS = 64
"""Masks looked at; each is a whole image."""
BOXES = 1000
"""Label files of boxes looked at."""
IMAGES = 16
"""Infrared images looked at."""


def first_look(source: Any) -> list[str]:
  """Lines about absent classes, ignored pixels and what is read otherwise than it stands.

  Labels that cannot be read are left to the training, which stops at them or skips them. Sources
  that cannot show a label without its images, such as a reader of the user's own, give no lines.

  Args:
    source: of training pairs, cached or not.
  """
  look, count = find(source, "look"), len(source)
  if look is None or source.kind is None or not count:
    return []
  most = MASKS if source.kind == "segmentation" else BOXES
  chosen = _chosen(count, most)
  looks = [seen for index in chosen if (seen := _look(look, index)) is not None]
  unit, what = ("pixel", "masks") if source.kind == "segmentation" else ("box", "labels of boxes")
  said = []
  counts, unlabelled = [seen.counts for seen in looks], find(source, "unlabelled")
  for remark in remarks(counts, source.classes, unit, unlabelled):
    remedy = f"; {BINARY_REMEDY}" if remark.kind == "binary-mask" else ""
    said.append(remark.text + remedy)
  said += told(note for seen in looks for note in seen.notes)
  whole = f"all {count}" if len(chosen) == count else f"{len(chosen)} of {count}"
  return [f"{whole} {what} looked at: {text}" for text in said]


def first_images(source: Any) -> list[str]:
  """A line about infrared images in false colours, of which a training would see the brightness.

  Images that cannot be read are left to the training. Sources without image files give no line.

  Args:
    source: of training pairs, cached or not.
  """
  files = [getattr(pair, "ir", None) for pair in find(source, "pairs") or ()]
  chosen = [files[index] for index in _chosen(len(files), IMAGES)]
  files = [file for file in chosen if isinstance(file, Path)]  # a reader may have others
  wrong = [text for file in files if (text := false_colours(_chroma(file), str(file)))]
  return [f"{len(wrong)} of {len(files)} infrared images looked at: {wrong[0]}"] if wrong else []


def _chroma(file: Path) -> float:
  try:
    return chroma(read_picture(file)[0])
  except DatasetError:
    return 0.0


def _chosen(count: int, most: int) -> list[int]:
  """Evenly spread indices."""
  if not count:
    return []
  return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int)).tolist()


def _look(look: Any, index: int) -> Look | None:
  try:
    return look(index)
  except DatasetError:
    return None
