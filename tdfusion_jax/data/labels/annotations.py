"""Box annotations: Pascal VOC XML, YOLO text, COCO JSON and the paper's split lists.

Every reader returns an `Annotation`, float64 boxes in pixels. VOC's coordinates count pixels from 1
and are kept as they are in the file, like in the paper's lists.

The files are not trusted: XML entities are refused, sizes are limited, names cannot leave the
folder, and a fault raises `DatasetError` naming file and field. A reader with an argument `report`
calls it for each fault instead and drops the faulty box, so that a whole file can be looked
through.
"""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple, NoReturn
from xml.etree.ElementTree import Element, ParseError

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring as parse_xml

from tdfusion_jax.batch import Boxes
from tdfusion_jax.data.fields import (
  MAX_COCO_BYTES,
  UnknownClassError,
  class_index,
  read_bytes,
  read_text,
  require_order,
  short,
  to_number,
)
from tdfusion_jax.data.images import safe_stem
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


def _try(
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


def _collect(found: Sequence[tuple[list[float], int] | None], size=None) -> Annotation:
  kept = [item for item in found if item is not None]
  return make_annotation([row for row, _ in kept], [index for _, index in kept], size)


def read_xml(path: Path) -> Element:
  """The root of an XML file. Entities, whatever they hold, are refused rather than expanded."""
  try:
    root = parse_xml(read_bytes(path))
  except DefusedXmlException as error:
    raise DatasetError(f"{path}: cannot be read as XML (refused: {error})") from None
  except (ParseError, LookupError, ValueError, RecursionError) as error:
    raise DatasetError(f"{path}: cannot be read as XML ({error})") from None
  if root is None:
    raise DatasetError(f"{path}: cannot be read as XML (no root element)")
  return root


def read_voc(path: Path, classes: Sequence[str], report: OnFault = stop) -> Annotation:
  """One Pascal VOC file. Names are matched without case; an unknown one is an error."""
  root = read_xml(path)
  if root.tag != "annotation":
    raise DatasetError(
      f"{path}: not a Pascal VOC file: its root element is <{short(root.tag)[1:-1]}>"
    )
  index = {name.casefold(): i for i, name in enumerate(classes)}

  def read(item: Element, number: int) -> tuple[list[float], int]:
    name = (item.findtext("name") or "").strip()
    if name.casefold() not in index:
      raise UnknownClassError(
        f"{path}: object {number}: unknown class {short(name)}; known: {', '.join(classes)}"
      )
    sides = ("xmin", "ymin", "xmax", "ymax")
    row = [
      to_number(item.findtext(f"bndbox/{side}"), path, f"object {number}: {name} {side}")
      for side in sides
    ]
    require_order(row, path, f"object {number}: {name} bndbox")
    return row, index[name.casefold()]

  found = [_try(report, lambda i=i, n=n: read(i, n)) for n, i in enumerate(root.iter("object"), 1)]
  return _collect(found, _voc_size(root, path))


def _voc_size(root: Element, path: Path) -> tuple[int, int] | None:
  if root.find("size") is None:
    return None
  height, width = (
    to_number(root.findtext(f"size/{k}") or 0, path, f"size/{k}") for k in ("height", "width")
  )
  return int(height), int(width)


def read_yolo(
  path: Path, num_classes: int, size: tuple[int, int], report: OnFault = stop
) -> Annotation:
  """One YOLO text file: `class cx cy w h` a line, in fractions of the image.

  Args:
    path: the file.
    num_classes: above every class index.
    size: (height, width) of the image.
    report: called for each fault.

  Raises:
    DatasetError: see the module.
  """

  def read(line: str, number: int) -> tuple[list[float], int]:
    fields = line.split()
    if len(fields) != 5:
      raise DatasetError(f"{path}: line {number} has {len(fields)} fields, not 5 (class cx cy w h)")
    names = ("cx", "cy", "w", "h")
    cx, cy, w, h = (
      to_number(f, path, f"line {number}: {k}") for f, k in zip(fields[1:], names, strict=True)
    )
    if min(cx, cy, w, h) < 0 or max(cx, cy, w, h) > 1:
      raise DatasetError(
        f"{path}: line {number} has values outside [0, 1]; YOLO boxes are fractions of the image"
      )
    index = class_index(fields[0], num_classes, path, f"line {number}: class index")
    return [
      (cx - w / 2) * size[1],
      (cy - h / 2) * size[0],
      (cx + w / 2) * size[1],
      (cy + h / 2) * size[0],
    ], index

  lines = [(n, line) for n, line in enumerate(read_text(path).splitlines(), 1) if line.strip()]
  return _collect([_try(report, lambda n=n, line=line: read(line, n)) for n, line in lines])


def read_coco(path: Path, report: OnFault = stop) -> tuple[dict[str, Annotation], tuple[str, ...]]:
  """One COCO file: boxes by image stem, and the category names in order of their ids.

  Crowds are skipped.
  """
  content = _read_json(path)
  categories = _coco_list(content, "categories", path)
  images = _coco_list(content, "images", path)
  annotations = _coco_list(content, "annotations", path)
  names = _coco_categories(categories, path)
  index = {key: i for i, key in enumerate(sorted(names))}
  stems, sizes = _coco_images(images, path)
  rows: dict[int, list] = {key: [] for key in stems}
  for i, item in enumerate(annotations):
    if item.get("iscrowd"):
      continue
    where = f"annotations[{i}]"
    image = _coco_id(item, "image_id", path, where)
    if image not in rows:
      report("bad-label", f"{path}: {where}.image_id {image} is not among the images")
      continue
    rows[image].append(_try(report, partial(_coco_box, item, index, path, where)))
  found = {stem: _collect(rows[key], sizes[key]) for key, stem in stems.items()}
  return found, tuple(names[key] for key in sorted(names))


def _coco_categories(categories: list[Mapping], path: Path) -> dict[int, str]:
  """Names by id."""
  names = {
    _coco_id(category, "id", path, f"categories[{i}]"): category.get("name")
    for i, category in enumerate(categories)
  }
  named = all(isinstance(name, str) and name.strip() for name in names.values())
  if not named or len(names) != len(categories):
    raise DatasetError(f"{path}: every category needs an id of its own and a name")
  if not 0 < len(names) < 256 or len(set(names.values())) != len(names):
    raise DatasetError(
      f"{path}: 1 to 255 categories of different names are needed, got {len(names)}"
    )
  return {key: str(name) for key, name in names.items()}


def _coco_images(
  images: list[Mapping], path: Path
) -> tuple[dict[int, str], dict[int, tuple[int, int] | None]]:
  """(stems, sizes) by id."""
  stems: dict[int, str] = {}
  sizes: dict[int, tuple[int, int] | None] = {}
  for i, image in enumerate(images):
    key = _coco_id(image, "id", path, f"images[{i}]")
    if key in stems:
      raise DatasetError(f"{path}: images[{i}] repeats id {key}")
    stems[key] = _coco_stem(image.get("file_name"), path, f"images[{i}].file_name")
    sizes[key] = _coco_size(image, path, f"images[{i}]")
  if len(set(stems.values())) != len(stems):
    raise DatasetError(f"{path}: two images share a name")
  return stems, sizes


def _coco_box(
  item: Mapping, index: Mapping[int, int], path: Path, where: str
) -> tuple[list[float], int]:
  box = item.get("bbox")
  if not isinstance(box, list) or len(box) != 4:
    raise DatasetError(f"{path}: {where}.bbox is {short(box)}, not [x, y, width, height]")
  x, y, w, h = (to_number(value, path, f"{where}.bbox") for value in box)
  row = [x, y, x + w, y + h]
  require_order(row, path, f"{where}.bbox")
  category = _coco_id(item, "category_id", path, where)
  if category not in index:
    raise UnknownClassError(f"{path}: {where}.category_id {category} is not among the categories")
  return row, index[category]


def _read_json(path: Path) -> Mapping:
  try:
    content = json.loads(read_text(path, MAX_COCO_BYTES))
  except (ValueError, RecursionError) as error:
    if isinstance(error, DatasetError):
      raise
    raise DatasetError(f"{path}: cannot be read as JSON ({error})") from None
  if not isinstance(content, Mapping):
    raise DatasetError(
      f"{path}: not a COCO file: no object with images, annotations and categories"
    )
  return content


def _coco_list(content: Mapping, key: str, path: Path) -> list[Mapping]:
  items = content.get(key)
  if not isinstance(items, list) or not all(isinstance(item, Mapping) for item in items):
    raise DatasetError(f"{path}: not a COCO file: {key} is not a list of objects")
  return items


def _coco_id(item: Mapping, key: str, path: Path, where: str) -> int:
  value = item.get(key)
  if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= 1 << 63:
    raise DatasetError(f"{path}: {where}.{key} is {short(value)}, not an integer")
  return value


def _coco_stem(name: object, path: Path, where: str) -> str:
  if not isinstance(name, str):
    raise DatasetError(f"{path}: {where} is {short(name)}, not a name")
  parts = PurePosixPath(name).parts
  if name.startswith("/") or ".." in parts or not parts:
    raise DatasetError(
      f"{path}: {where} is {short(name)}, not a plain file name inside the data set's folder"
    )
  return safe_stem(parts[-1], path)


def _coco_size(image: Mapping, path: Path, where: str) -> tuple[int, int] | None:
  if not image.get("height") or not image.get("width"):
    return None
  height, width = (int(to_number(image[k], path, f"{where}.{k}")) for k in ("height", "width"))
  return height, width


def read_split_file(path: Path, num_classes: int, report: OnFault = stop) -> dict[str, Annotation]:
  """The paper's lists: boxes by stem, in file order.

  A line is `name x1,y1,x2,y2,class ...`, in pixels.
  """
  found: dict[str, Annotation] = {}

  def read(item: str, number: int) -> tuple[list[float], int]:
    values = item.split(",")
    if len(values) != 5:
      raise DatasetError(f"{path}: line {number}: {short(item)} is not x1,y1,x2,y2,class")
    row = [to_number(v, path, f"line {number}") for v in values[:4]]
    require_order(row, path, f"line {number}: box {short(item)}")
    return row, class_index(values[4], num_classes, path, f"line {number}: class index")

  for number, line in enumerate(read_text(path).splitlines(), 1):
    fields = line.split()
    if not fields:
      continue
    stem = safe_stem(fields[0], path)
    if stem in found:
      report("bad-label", f"{path}: line {number} repeats {short(fields[0])}")
      continue
    found[stem] = _collect(
      [_try(report, lambda item=item, n=number: read(item, n)) for item in fields[1:]]
    )
  if not found:
    raise DatasetError(f"{path}: names no image")
  return found
