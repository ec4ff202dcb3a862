"""Writing box labels: Pascal VOC, YOLO and COCO."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

from tdfusion_jax.data.labels.annotations import Annotation
from tdfusion_jax.data.source import DatasetError
from tdfusion_jax.files import write_text


class Labels(NamedTuple):
  """Boxes of a set of images; `Annotation.size` is (height, width) of every one."""

  classes: tuple[str, ...]
  boxes: dict[str, Annotation]
  """By image stem."""
  files: dict[str, str]
  """File names of the images by stem, where known."""
  notes: tuple[str, ...] = ()
  """Kinds of what was read otherwise than it stands (`labels.notes`), one for each time."""


def snap(value: float, digits: int, tolerance: float) -> float:
  """The decimal of few digits that `value` was before a division; else `value` itself."""
  near = round(value, digits)
  return near if abs(near - value) <= tolerance else value


def _text(value: float) -> str:
  """The shortest text that reads back as `value`; whole numbers without a point."""
  if value == int(value):
    return str(int(value))
  text = repr(float(value))
  return text if "e" not in text else f"{value:.20f}".rstrip("0")


def _each(
  labels: Labels, folder: Path, suffix: str, text: Callable[[str, Annotation], str]
) -> None:
  texts = {f"{stem}{suffix}": text(stem, found) for stem, found in labels.boxes.items()}
  texts["classes.txt"] = "".join(f"{name}\n" for name in labels.classes)
  new = not folder.exists()
  folder.mkdir(parents=True, exist_ok=True)
  written: list[Path] = []
  try:
    for name, content in texts.items():
      write_text(folder / name, content)
      written.append(folder / name)
  except BaseException:  # half of the labels would look like all of them
    with contextlib.suppress(OSError):
      for path in written:
        path.unlink()
      if new:
        folder.rmdir()
    raise


def _size_of(found: Annotation) -> tuple[int, int]:
  assert found.size is not None  # filled in by the reading
  return found.size


def write_voc(labels: Labels, folder: Path) -> None:
  """A Pascal VOC file an image, and `classes.txt`."""
  sides = ("xmin", "ymin", "xmax", "ymax")

  def text(stem: str, found: Annotation) -> str:
    height, width = _size_of(found)
    lines = ["<annotation>", f"  <filename>{escape(labels.files.get(stem, stem))}</filename>"]
    lines.append(f"  <size><width>{width}</width><height>{height}</height></size>")
    for row, index in zip(found.boxes.tolist(), found.classes.tolist(), strict=True):
      box = "".join(
        f"<{side}>{_text(value)}</{side}>" for side, value in zip(sides, row, strict=True)
      )
      lines.append(
        f"  <object><name>{escape(labels.classes[index])}</name><bndbox>{box}</bndbox></object>"
      )
    return "\n".join([*lines, "</annotation>", ""])

  _each(labels, folder, ".xml", text)


def write_yolo(labels: Labels, folder: Path) -> None:
  """A YOLO file an image, and `classes.txt`."""

  def text(stem: str, found: Annotation) -> str:
    height, width = _size_of(found)
    lines = []
    for (x1, y1, x2, y2), index in zip(found.boxes.tolist(), found.classes.tolist(), strict=True):
      values = (
        (x1 + x2) / 2 / width,
        (y1 + y2) / 2 / height,
        (x2 - x1) / width,
        (y2 - y1) / height,
      )
      if min(values) < 0 or max(values) > 1:
        raise DatasetError(
          f"{stem}: box ({x1:g}, {y1:g}, {x2:g}, {y2:g}) does not fit its image of {width}x{height}"
        )
      lines.append(" ".join([str(index), *(_text(snap(value, 10, 1e-14)) for value in values)]))
    return "".join(f"{line}\n" for line in lines)

  # All, before anything is written.
  texts = {stem: text(stem, found) for stem, found in labels.boxes.items()}
  _each(labels, folder, ".txt", lambda stem, _: texts[stem])


def write_coco(labels: Labels, path: Path) -> None:
  """One COCO file."""
  images, annotations = [], []
  for number, (stem, found) in enumerate(labels.boxes.items(), 1):
    height, width = _size_of(found)
    name = labels.files.get(stem, stem)
    images.append({"id": number, "file_name": name, "height": height, "width": width})
    for (x1, y1, x2, y2), index in zip(found.boxes.tolist(), found.classes.tolist(), strict=True):
      box = [_whole(v) for v in (x1, y1, snap(x2 - x1, 9, 1e-10), snap(y2 - y1, 9, 1e-10))]
      annotation = {
        "id": len(annotations) + 1,
        "image_id": number,
        "category_id": index + 1,
        "bbox": box,
      }
      annotations.append(annotation | {"area": _whole(box[2] * box[3]), "iscrowd": 0})
  categories = [{"id": i, "name": name} for i, name in enumerate(labels.classes, 1)]
  content = {"images": images, "annotations": annotations, "categories": categories}
  write_text(path, json.dumps(content, indent=1) + "\n")


def _whole(value: float | int) -> float | int:
  return int(value) if value == int(value) else value
