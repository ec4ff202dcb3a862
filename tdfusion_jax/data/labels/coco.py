"""COCO: one JSON file for all images."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path, PurePosixPath

from tdfusion_jax.data.fields import (
  MAX_COCO_BYTES,
  UnknownClassError,
  read_text,
  require_order,
  short,
  to_number,
)
from tdfusion_jax.data.images import safe_stem
from tdfusion_jax.data.labels.annotations import Annotation, OnFault, attempt, collect, stop
from tdfusion_jax.data.source import DatasetError


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
    rows[image].append(attempt(report, partial(_coco_box, item, index, path, where)))
  found = {stem: collect(rows[key], sizes[key]) for key, stem in stems.items()}
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
