"""Looking through label files: what is wrong with them, and how to repair it."""

from collections import Counter
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from tdfusion_jax.batch import IGNORE_LABEL
from tdfusion_jax.data.images import RefusedError, open_image, read_mask
from tdfusion_jax.data.labels.annotations import Annotation, OnFault
from tdfusion_jax.data.labels.census import BINARY_REMEDY
from tdfusion_jax.data.labels.masks import one_channel
from tdfusion_jax.data.labels.voc import read_voc
from tdfusion_jax.data.labels.yolo import read_yolo
from tdfusion_jax.data.source import DatasetError
from tdfusion_jax.data.verify.images import IMAGE_HINTS
from tdfusion_jax.data.verify.layout import Place, Shape

Level = Literal["error", "note"]

HINTS = {
  "missing-folder": "put the folder where the layout has it, or remove its counterpart",
  "missing-partner": (
    "copy the missing file from the original distribution, or move the lonely one away"
  ),
  "no-images": "put the images there; of the files only those with these extensions are looked at",
  "same-name": "two files of one name, such as a.png and a.jpg: keep one of them",
  **IMAGE_HINTS,
  "size": (
    "use the image or label that belongs to this pair; do not stretch one to fit, that breaks "
    "the registration"
  ),
  "swapped": "exchange the two files (or the two folders, where it happens to all pairs)",
  "constant-image": "the image shows nothing: copy the file again or leave the pair out",
  "binary-mask": BINARY_REMEDY,
  "label-value": "map the values to class indices, 255 where unknown; or give the right --classes",
  "label-mode": (
    "store class indices as 8-bit gray: Image.fromarray(np.asarray(image)).save(...) keeps a "
    "palette's indices; of an RGB file with equal channels keep one"
  ),
  "label-colour": "replace each colour by its class index and store 8-bit gray",
  "duplicate": "keep the pair in one split only: a test image that was trained on proves nothing",
  "repeated": "the same picture under two names in one split: keep one",
  "unknown-class": "correct the spelling, remove the object, or give all names with --classes",
  "class-names": (
    "list the same classes in the same order for every split: labels hold their positions"
  ),
  "bad-box": "correct the coordinates or remove the object",
  "box-outside": (
    "cut the box at the border; if many lie outside, the label was made for another image or size"
  ),
  "bad-label": "write the file again with the tool that made it, or fetch it anew",
  "no-labels": (
    "put labels of these pairs there, or remove the folder: then the pairs are unlabelled"
  ),
  "missing-label": "every pair of this set needs a label: fetch it, or leave the pair out",
  "stray-label": "remove the label, or add its pair",
  "split-name": "correct the name in the list, or fetch the image",
}
"""How to repair each kind of error."""


class Finding(NamedTuple):
  """One thing to report."""

  level: Level
  """"error": something is wrong; "note": allowed, but good to know."""
  kind: str
  split: str
  name: str
  """Stem of the pair, "" for what concerns a whole split."""
  message: str


def error(kind: str, split: str, name: str, message: str) -> Finding:
  """A finding of level "error"."""
  return Finding("error", kind, split, name, message)


def verify_label(
  place: Place,
  shape: Shape,
  name: str,
  label: Path,
  size: tuple[int, int],
  listed: dict[str, Annotation],
  findings: list[Finding],
) -> tuple[Annotation | None, Counter]:
  """(boxes, objects by class) of one label file.

  Args:
    place: the folders of its split.
    shape: the data set.
    name: the pair's stem.
    label: the file.
    size: (height, width) of the pair's image.
    listed: boxes by stem of a COCO file.
    findings: where faults are added.
  """

  def report(kind: str, text: str) -> None:
    findings.append(error(kind, place.split, name, text))

  try:
    if place.form == "mask":
      return None, _verify_mask(label, shape, size, report)
    if place.form == "voc":
      boxes = read_voc(label, shape.classes, report)
    elif place.form == "yolo":
      boxes = read_yolo(label, len(shape.classes), size, report)
    else:
      boxes = listed[name]
  except DatasetError as fault:
    report("bad-label", str(fault))
    return None, Counter()
  if boxes.size is not None and min(boxes.size) > 0 and boxes.size != size:
    stated = f"{boxes.size[1]}x{boxes.size[0]}"
    report(
      "size",
      f"{label}: made for an image of {stated}, but {name} is {size[1]}x{size[0]} (width x height)",
    )
  _verify_boxes(boxes, label, size, report)
  if len(boxes.boxes) == 0 and not any(f.kind in ("unknown-class", "bad-box") for f in findings):
    findings.append(
      Finding("note", "empty-label", place.split, name, f"{label}: no object ({name})")
    )
  return boxes, Counter(boxes.classes.tolist())


def _verify_boxes(boxes: Annotation, label: Path, size: tuple[int, int], report: OnFault) -> None:
  for number, (x1, y1, x2, y2) in enumerate(boxes.boxes.tolist(), 1):
    text = f"{label}: box {number} ({x1:g}, {y1:g}, {x2:g}, {y2:g})"
    if x2 <= x1 or y2 <= y1:
      report("bad-box", f"{text} has no area")
    # One pixel of grace: files that count from 1 and files that count from 0 both end at the
    # border.
    elif min(x1, y1) < -1 or x2 > size[1] + 1 or y2 > size[0] + 1:
      report(
        "box-outside", f"{text} reaches outside the image of {size[1]}x{size[0]} (width x height)"
      )


def _verify_mask(label: Path, shape: Shape, size: tuple[int, int], report: OnFault) -> Counter:
  try:
    with open_image(label) as image:
      mode = image.mode
    values = read_mask(label)
  except RefusedError as fault:
    report(fault.kind, str(fault))
    return Counter()
  except DatasetError as fault:
    report("unreadable-image", str(fault))
    return Counter()
  except Exception as fault:  # decoders of damaged files raise nearly anything
    report("unreadable-image", f"{label}: cannot be read as an image ({fault})")
    return Counter()
  try:
    values = one_channel(values, label)
  except DatasetError as fault:
    report("label-colour", str(fault))
    return Counter()
  if mode != "L":
    what = "palette" if mode == "P" else mode
    report(
      "label-mode",
      f"{label}: class indices stored as {what}, which other readers turn into colours; 8-bit gray",
    )
  if values.shape != size:
    own, pair = f"{values.shape[1]}x{values.shape[0]}", f"{size[1]}x{size[0]}"
    report("size", f"{label} is {own}, its pair {pair} (width x height)")
  found, counts = np.unique(values, return_counts=True)
  pixels = Counter(dict(zip(found.tolist(), counts.tolist(), strict=True)))
  unknown = (IGNORE_LABEL, shape.unlabelled)
  wrong = [v for v in pixels if v not in unknown and not _is_class(v, len(shape.classes))]
  if wrong:
    shown = ", ".join(str(value) for value in wrong[:8])
    report(
      "label-value",
      f"{label}: values {shown} are neither 0 to {len(shape.classes) - 1} nor {IGNORE_LABEL}",
    )
  return Counter({int(value): n for value, n in pixels.items() if value not in wrong})


def _is_class(value: float | int, count: int) -> bool:
  return 0 <= value < count and value == int(value)
