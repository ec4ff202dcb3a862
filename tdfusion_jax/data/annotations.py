"""Box annotations: Pascal VOC XML, YOLO text, COCO JSON and the paper's split lists.

Every reader returns `Boxes(boxes, classes)`, float32 [K, 4] (x1, y1, x2, y2) in pixels and int32 [K]. VOC's
coordinates count pixels from 1 and are kept as they are in the file, like in the paper's lists.
"""

import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from xml.etree.ElementTree import ParseError

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import parse as parse_xml

from tdfusion_jax.data.images import safe_stem
from tdfusion_jax.data.source import DatasetError

log = logging.getLogger(__name__)


class Boxes(NamedTuple):
  """Boxes of one image, and the image size (height, width) the file claims, if it does."""

  boxes: np.ndarray
  classes: np.ndarray
  size: tuple[int, int] | None = None


def make_boxes(rows: Sequence[Sequence[float]], classes: Sequence[int], size=None) -> Boxes:
  """`Boxes` from lists; no rows give arrays of shape [0, 4] and [0]."""
  return Boxes(np.asarray(rows, np.float32).reshape(-1, 4), np.asarray(classes, np.int32).reshape(-1), size)


def clip_boxes(found: Boxes, size: tuple[int, int], origin: Path) -> tuple[np.ndarray, np.ndarray]:
  """Boxes cut at the image border; boxes without area inside the image are dropped and logged.

  Raises `DatasetError` when the file was made for an image of another size.
  """
  if found.size is not None and min(found.size) > 0 and tuple(found.size) != tuple(size):
    raise DatasetError(
      f"{origin}: made for an image of {found.size[1]}x{found.size[0]}, but the image is {size[1]}x{size[0]}"
      " (width x height); its boxes would be wrong"
    )
  limit = np.array([size[1], size[0], size[1], size[0]], np.float32)
  boxes = np.clip(found.boxes, np.float32(0), limit)
  keep = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
  if not keep.all():
    log.warning("%s: dropped %d box(es) without area inside the image", origin, int((~keep).sum()))
  return boxes[keep], found.classes[keep]


def _number(text: object, origin: Path, what: str) -> float:
  try:
    value = float(text)  # type: ignore[arg-type]
  except (TypeError, ValueError):
    raise DatasetError(f"{origin}: {what} is {text!r}, not a number") from None
  if not math.isfinite(value):
    raise DatasetError(f"{origin}: {what} is {text!r}, not a finite number")
  return value


def _class_index(value: object, count: int, origin: Path) -> int:
  number = _number(value, origin, "class index")
  if number != int(number) or not 0 <= number < count:
    raise DatasetError(f"{origin}: class index {value} is not in 0 to {count - 1}")
  return int(number)


def read_voc(path: Path, classes: Sequence[str]) -> Boxes:
  """One Pascal VOC file. Names are matched without case; an unknown one is an error."""
  try:
    root = parse_xml(path).getroot()
  except (ParseError, DefusedXmlException, OSError, ValueError) as error:
    raise DatasetError(f"{path}: cannot be read as XML ({error})") from None
  if root is None:
    raise DatasetError(f"{path}: cannot be read as XML (no root element)")
  index = {name.casefold(): i for i, name in enumerate(classes)}
  rows, ids = [], []
  for item in root.iter("object"):
    name = (item.findtext("name") or "").strip()
    if name.casefold() not in index:
      raise DatasetError(f"{path}: unknown class {name!r}; known: {', '.join(classes)}")
    sides = ("xmin", "ymin", "xmax", "ymax")
    rows.append([_number(item.findtext(f"bndbox/{side}"), path, f"{name} {side}") for side in sides])
    ids.append(index[name.casefold()])
  size = None
  if root.find("size") is not None:
    height, width = (_number(root.findtext(f"size/{k}") or 0, path, f"size/{k}") for k in ("height", "width"))
    size = (int(height), int(width))
  return make_boxes(rows, ids, size)


def read_yolo(path: Path, num_classes: int, size: tuple[int, int]) -> Boxes:
  """One YOLO text file: `class cx cy w h` a line, in fractions of the image of `size` (height, width)."""
  rows, ids = [], []
  for number, line in enumerate(_read_text(path).splitlines(), 1):
    if not line.strip():
      continue
    fields = line.split()
    if len(fields) != 5:
      raise DatasetError(f"{path}: line {number} has {len(fields)} fields, not 5 (class cx cy w h)")
    cx, cy, w, h = (_number(f, path, f"line {number}") for f in fields[1:])
    if min(cx, cy, w, h) < 0 or max(cx, cy, w, h) > 1:
      raise DatasetError(f"{path}: line {number} has values outside [0, 1]; YOLO boxes are fractions of the image")
    ids.append(_class_index(fields[0], num_classes, path))
    rows.append([(cx - w / 2) * size[1], (cy - h / 2) * size[0], (cx + w / 2) * size[1], (cy + h / 2) * size[0]])
  return make_boxes(rows, ids)


def read_coco(path: Path) -> tuple[dict[str, Boxes], tuple[str, ...]]:
  """One COCO file: boxes by image stem, and the category names in order of their ids. Crowds are skipped."""
  try:
    content = json.loads(_read_text(path))
    categories = sorted(content["categories"], key=lambda c: c["id"])
    index = {c["id"]: i for i, c in enumerate(categories)}
    stems = {im["id"]: safe_stem(PurePosixPath(str(im["file_name"])).name, path) for im in content["images"]}
    sizes = {im["id"]: _coco_size(im) for im in content["images"]}
    rows: dict = {i: ([], []) for i in stems}
    for item in content["annotations"]:
      if item.get("iscrowd"):
        continue
      x, y, w, h = (_number(v, path, "bbox") for v in item["bbox"])
      rows[item["image_id"]][0].append([x, y, x + w, y + h])
      rows[item["image_id"]][1].append(index[item["category_id"]])
  except json.JSONDecodeError as error:
    raise DatasetError(f"{path}: cannot be read as JSON ({error})") from None
  except (KeyError, TypeError, AttributeError) as error:
    raise DatasetError(f"{path}: not a COCO file: {type(error).__name__} {error}") from None
  if len(set(stems.values())) != len(stems):
    raise DatasetError(f"{path}: two images share a name")
  found = {stem: make_boxes(rows[i][0], rows[i][1], sizes[i]) for i, stem in stems.items()}
  return found, tuple(str(c["name"]) for c in categories)


def _coco_size(image: Mapping) -> tuple[int, int] | None:
  if not image.get("height") or not image.get("width"):
    return None
  return int(image["height"]), int(image["width"])


def read_split_file(path: Path, num_classes: int) -> dict[str, Boxes]:
  """The paper's lists (`name x1,y1,x2,y2,class ...` a line, in pixels): boxes by stem, in file order."""
  found: dict[str, Boxes] = {}
  for number, line in enumerate(_read_text(path).splitlines(), 1):
    fields = line.split()
    if not fields:
      continue
    stem = safe_stem(fields[0], path)
    if stem in found:
      raise DatasetError(f"{path}: line {number} repeats {fields[0]}")
    rows, ids = [], []
    for item in fields[1:]:
      values = item.split(",")
      if len(values) != 5:
        raise DatasetError(f"{path}: line {number}: {item!r} is not x1,y1,x2,y2,class")
      rows.append([_number(v, path, f"line {number}") for v in values[:4]])
      ids.append(_class_index(values[4], num_classes, path))
    found[stem] = make_boxes(rows, ids)
  if not found:
    raise DatasetError(f"{path}: names no image")
  return found


def _read_text(path: Path) -> str:
  try:
    return path.read_text(encoding="utf-8-sig")
  except (OSError, UnicodeDecodeError) as error:
    raise DatasetError(f"{path}: cannot be read ({error})") from None
