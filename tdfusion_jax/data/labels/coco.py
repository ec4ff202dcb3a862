"""COCO: one JSON file for all images.

Also as others write it: ids that are texts, paths of other systems, Roboflow's root category,
regions without a box (polygons or RLE).
"""

import json
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from tdfusion_jax.data.fields import (
  MAX_COCO_BYTES,
  UnknownClassError,
  decode,
  read_bytes,
  require_order,
  short,
  to_number,
)
from tdfusion_jax.data.labels.annotations import (
  Annotation,
  Found,
  OnFault,
  attempt,
  collect,
  stop,
)
from tdfusion_jax.data.labels.names import image_name, image_stem
from tdfusion_jax.data.labels.regions import box_around
from tdfusion_jax.data.source import DatasetError


class CocoFile(NamedTuple):
  """What a COCO file holds."""

  boxes: dict[str, Annotation]
  """By image stem."""
  classes: tuple[str, ...]
  """The category names in order of their ids."""
  files: dict[str, str]
  """The images' file names by stem, without folders."""
  notes: tuple[str, ...]
  """Of the whole file, see `Annotation.notes`."""


_Size = tuple[int, int] | None


def read_coco(path: Path, report: OnFault = stop) -> CocoFile:
  """One COCO file. Crowds are left out, which the notes count."""
  content, encoding = _read_json(path)
  categories = _list(content, "categories", path)
  images = _list(content, "images", path)
  annotations = _list(content, "annotations", path)
  used = {_text_of(item.get("category_id")) for item in annotations}
  names, roots = _categories(categories, used, path)
  index = {key: i for i, key in enumerate(names)}
  stems, sizes = _images(images, path)
  rows: dict[str, list] = {key: [] for key in stems}
  crowds: Counter[str] = Counter()
  for i, item in enumerate(annotations):
    where = f"annotations[{i}]"
    if item.get("iscrowd"):
      crowds[_text_of(item.get("image_id"))] += 1
      continue
    image = _id(item, "image_id", path, where)
    if image not in rows:
      report("bad-label", f"{path}: {where}.image_id {image} is not among the images")
      continue
    rows[image].append(attempt(report, partial(_box, item, index, path, where)))
  boxes = {
    stem: collect(rows[key], sizes[key], ["crowd"] * crowds[key]) for key, stem in stems.items()
  }
  files = {stem: image_name(item["file_name"]) for item, stem in zip(images, boxes, strict=True)}
  notes = ("root-category",) * roots + ("encoding",) * (encoding == "latin-1")
  return CocoFile(boxes, tuple(names.values()), files, notes)


def _categories(
  categories: list[Mapping], used: set[str], path: Path
) -> tuple[dict[str, str], int]:
  """(names by id in the order of the ids, number of root categories that are no class)."""
  named: dict[str, Mapping] = {}
  for i, category in enumerate(categories):
    key, name = _id(category, "id", path, f"categories[{i}]"), category.get("name")
    if key in named or not isinstance(name, str) or not name.strip():
      raise DatasetError(f"{path}: every category needs an id of its own and a name")
    named[key] = category
  roots = {key for key in named if key not in used and _is_root(key, named)}
  names = {key: str(item["name"]) for key, item in named.items() if key not in roots}
  by_name: dict[str, str] = {}
  for key, name in names.items():
    if by_name.setdefault(name, key) != key:
      raise DatasetError(
        f"{path}: categories {by_name[name]} and {key} are both called {short(name)}; "
        "1 to 255 categories of different names are needed"
      )
  if not 0 < len(names) < 256:
    raise DatasetError(
      f"{path}: 1 to 255 categories of different names are needed, got {len(names)}"
    )
  if all(key.lstrip("-").isdecimal() for key in names):
    names = dict(sorted(names.items(), key=lambda item: int(item[0])))
  return names, len(roots)


def _is_root(key: str, named: Mapping[str, Mapping]) -> bool:
  """Whether a category stands above others only, as the first one of Roboflow's files does."""
  name, above = named[key]["name"], named[key].get("supercategory")
  if above not in (None, "", "none", name):
    return False
  return any(item.get("supercategory") == name for other, item in named.items() if other != key)


def _images(images: list[Mapping], path: Path) -> tuple[dict[str, str], dict[str, _Size]]:
  """(stems, sizes) by id."""
  stems: dict[str, str] = {}
  sizes: dict[str, _Size] = {}
  first: dict[str, str] = {}
  for i, image in enumerate(images):
    where = f"images[{i}]"
    key = _id(image, "id", path, where)
    if key in stems:
      raise DatasetError(f"{path}: {where} repeats id {key}")
    stems[key] = image_stem(image.get("file_name"), path, f"{where}.file_name")
    sizes[key] = _size(image, path, where)
    if first.setdefault(stems[key], where) != where:
      raise DatasetError(
        f"{path}: two images share a name: {first[stems[key]]} and {where} are both "
        f"{short(stems[key])}, folders and ending aside"
      )
  return stems, sizes


def _box(item: Mapping, index: Mapping[str, int], path: Path, where: str) -> Found:
  box, notes = item.get("bbox"), ()
  if not box and item.get("segmentation"):
    row, notes = box_around(item["segmentation"], path, f"{where}.segmentation"), ("regions",)
  elif not isinstance(box, list) or len(box) != 4:
    raise DatasetError(f"{path}: {where}.bbox is {short(box)}, not [x, y, width, height]")
  else:
    x, y, w, h = (to_number(value, path, f"{where}.bbox") for value in box)
    row = [x, y, x + w, y + h]
  require_order(row, path, f"{where}.bbox")
  category = _id(item, "category_id", path, where)
  if category not in index:
    raise UnknownClassError(f"{path}: {where}.category_id {category} is not among the categories")
  return Found(row, index[category], notes)


def _read_json(path: Path) -> tuple[Mapping, str]:
  """(the object, the text's encoding)."""
  text, encoding = decode(read_bytes(path, MAX_COCO_BYTES), path)
  try:
    content = json.loads(text)
  except (ValueError, RecursionError) as error:
    raise DatasetError(f"{path}: cannot be read as JSON ({error})") from None
  if not isinstance(content, Mapping):
    raise DatasetError(
      f"{path}: not a COCO file: no object with images, annotations and categories{_named(content)}"
    )
  return content, encoding


_OTHERS = {
  "shapes": "labelme and X-AnyLabeling write this, one file an image",
  "_via_img_metadata": "the VGG Image Annotator writes this",
  "annotation": "datumaro or Supervisely writes this",
  "data": "Label Studio writes this",
  "score": "these are predictions in COCO's form of results",
  "items": "datumaro writes this",
}
"""{a key of other JSON: what has it}."""


def _named(content: Any) -> str:
  """What another JSON file is, as the end of a message."""
  if isinstance(content, list) and content:
    content = content[0]
  if isinstance(content, Mapping):
    for key, text in _OTHERS.items():
      if key in content:
        return f"; {text}: export COCO, YOLO or Pascal VOC there"
  return ""


def _list(content: Mapping, key: str, path: Path) -> list[Mapping]:
  items = content.get(key)
  if not isinstance(items, list) or not all(isinstance(item, Mapping) for item in items):
    raise DatasetError(f"{path}: not a COCO file: {key} is not a list of objects{_named(content)}")
  return items


def _id(item: Mapping, key: str, path: Path, where: str) -> str:
  """An id as text: some tools write numbers as texts, in one list and not in the other."""
  text = _text_of(item.get(key))
  if not text:
    raise DatasetError(
      f"{path}: {where}.{key} is {short(item.get(key))}, not an integer and not a text"
    )
  return text


def _text_of(value: object) -> str:
  """An id as text, "" for what is none."""
  if isinstance(value, float) and value == int(value if abs(value) < 1 << 53 else 0):
    value = int(value)
  if isinstance(value, bool) or not isinstance(value, (int, str)):
    return ""
  if isinstance(value, int) and abs(value) >= 1 << 63:
    return ""
  return str(value).strip() if len(str(value)) <= 200 else ""


def _size(image: Mapping, path: Path, where: str) -> _Size:
  if not image.get("height") or not image.get("width"):
    return None
  height, width = (int(to_number(image[k], path, f"{where}.{k}")) for k in ("height", "width"))
  return height, width
