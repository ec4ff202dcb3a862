"""Box labels from one form into another: Pascal VOC, YOLO and COCO.

Coordinates, classes, image sizes and the difference between empty and unlabelled survive every
round trip: pixel coordinates with up to nine decimals and fractions with up to eight come back as
the same numbers, others within 1e-9 pixels. What only one form knows (VOC's "difficult", COCO's
areas and crowd regions) is left out.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

from tdfusion_jax.data.fields import read_text
from tdfusion_jax.data.images import files_by_stem, open_image
from tdfusion_jax.data.labels.annotations import (
  Annotation,
  make_annotation,
  read_coco,
  read_voc,
  read_xml,
  read_yolo,
)
from tdfusion_jax.data.source import DatasetError
from tdfusion_jax.files import write_text

FORMS = ("voc", "yolo", "coco")


class Labels(NamedTuple):
  """Boxes of a set of images; `Annotation.size` is (height, width) of every one."""

  classes: tuple[str, ...]
  boxes: dict[str, Annotation]
  """By image stem."""
  files: dict[str, str]
  """File names of the images by stem, where known."""


def convert(
  source: str | Path,
  target: str | Path,
  form: str,
  *,
  images: str | Path | None = None,
  classes: Sequence[str] | None = None,
) -> Labels:
  """Reads labels in whatever form they are and writes them in another.

  Args:
    source: a folder of `.xml` or `.txt` files (with `classes.txt`), or a COCO `.json` file.
    target: a folder, or for COCO a `.json` file; must not exist yet, or be an empty folder.
    form: "voc", "yolo" or "coco".
    images: folder of the images; needed where the labels do not hold sizes (YOLO).
    classes: class names in order; default: `classes.txt`, COCO's categories, or VOC's names in
      sorted order.

  Returns:
    What was written.

  Raises:
    DatasetError: unreadable or unfitting labels, an unknown size, or a target that exists.
  """
  if form not in FORMS:
    raise DatasetError(f"unknown form {form!r}; known: {', '.join(FORMS)}")
  here, there = Path(source).expanduser(), Path(target).expanduser()
  if form == "coco" and there.suffix.lower() != ".json":
    raise DatasetError(f"{there}: COCO is one file; give it a name that ends with .json")
  filled = there.is_dir() and (form == "coco" or any(there.iterdir()))
  if there.is_file() or filled:
    raise DatasetError(f"{there} exists; choose another place")
  labels = read_labels_of(here, images=images, classes=classes)
  _require_classes(labels.classes, here, form)
  {"voc": _write_voc, "yolo": _write_yolo, "coco": _write_coco}[form](labels, there)
  return labels


def read_labels_of(
  source: Path, *, images: str | Path | None = None, classes: Sequence[str] | None = None
) -> Labels:
  """All labels of a folder or COCO file, with sizes. Arguments as in `convert`."""
  folder = None if images is None else Path(images).expanduser()
  if folder is not None and not folder.is_dir():
    raise DatasetError(f"{folder} (--images) is not a folder")
  pictures = files_by_stem(folder) if folder is not None else {}
  sizes = _Sizes(pictures, folder)
  given = None if classes is None else tuple(classes)
  files = {stem: path.name for stem, path in pictures.items()}
  if source.suffix.lower() == ".json" and source.is_file():
    found, names = read_coco(source)
    if given is not None and given != names:
      raise DatasetError(f"{source}: its categories are {', '.join(names)}, not {', '.join(given)}")
    named = {
      Path(str(image["file_name"])).stem: str(image["file_name"]) for image in _coco_images(source)
    }
    return Labels(names, {k: sizes.fill(k, v, source) for k, v in found.items()}, named | files)
  if not source.is_dir():
    raise DatasetError(f"{source} is neither a folder of labels nor a COCO .json file")
  xml, text = files_by_stem(source, (".xml",)), files_by_stem(source, (".txt",))
  text.pop("classes", None)
  if bool(xml) == bool(text):
    raise DatasetError(
      f"{source}: holds {'both .xml and .txt labels' if xml else 'no .xml or .txt labels'}"
    )
  names = given or _listed_classes(source)
  if xml:
    names = names or _voc_classes(xml)
    found = {k: sizes.fill(k, read_voc(path, names), path) for k, path in xml.items()}
    return Labels(names, found, _voc_files(xml) | files)
  if names is None:
    raise DatasetError(
      f"{source}: class names are needed: write classes.txt there (one a line) or give --classes"
    )
  boxes = {}
  for stem, path in text.items():
    size = sizes.of(stem, path)
    boxes[stem] = _snapped(read_yolo(path, len(names), size)._replace(size=size))
  return Labels(names, boxes, files)


class _Sizes:
  """Image sizes by stem, read from the headers."""

  def __init__(self, pictures: Mapping[str, Path], folder: Path | None):
    self.pictures, self.folder = pictures, folder

  def of(self, stem: str, origin: Path) -> tuple[int, int]:
    if stem not in self.pictures:
      hint = (
        f"{self.folder} has no image of this name"
        if self.folder
        else "give the folder of the images (--images)"
      )
      raise DatasetError(f"{origin}: the size of image {stem!r} is not known; {hint}")
    try:
      with open_image(self.pictures[stem]) as image:
        return image.height, image.width
    except OSError as error:
      raise DatasetError(f"{self.pictures[stem]}: cannot be read as an image ({error})") from None

  def fill(self, stem: str, found: Annotation, origin: Path) -> Annotation:
    size = found.size if found.size is not None and min(found.size) > 0 else self.of(stem, origin)
    if stem in self.pictures and self.of(stem, origin) != size:
      actual = self.of(stem, origin)
      raise DatasetError(
        f"{origin}: made for an image of {size[1]}x{size[0]}, "
        f"but {self.pictures[stem]} is {actual[1]}x{actual[0]}"
      )
    return _snapped(found._replace(size=size))


def snap(value: float, digits: int, tolerance: float) -> float:
  """The decimal of few digits that `value` was before a division; else `value` itself."""
  near = round(value, digits)
  return near if abs(near - value) <= tolerance else value


def _snapped(found: Annotation) -> Annotation:
  rows = [[snap(v, 9, 1e-10) for v in row] for row in found.boxes.tolist()]
  return make_annotation(rows, found.classes.tolist(), found.size)


def _text(value: float) -> str:
  """The shortest text that reads back as `value`; whole numbers without a point."""
  if value == int(value):
    return str(int(value))
  text = repr(float(value))
  return text if "e" not in text else f"{value:.20f}".rstrip("0")


def _listed_classes(folder: Path) -> tuple[str, ...] | None:
  if not (folder / "classes.txt").is_file():
    return None
  return tuple(filter(None, map(str.strip, read_text(folder / "classes.txt").splitlines())))


def _require_classes(names: Sequence[str], origin: Path, form: str) -> None:
  """Raises for class names that would not come back from a file of `form`."""
  if not names:
    raise DatasetError(
      f"{origin}: there is no object and no list of classes; give their names (--classes)"
    )
  for name in names:
    if name != name.strip() or not name.isprintable() or not name:
      raise DatasetError(
        f"{origin}: class name {name!r} has blanks at its ends, "
        "or characters that cannot be printed"
      )
  if len(set(names)) != len(names):
    raise DatasetError(f"{origin}: class names must be different, got {', '.join(names)}")
  if form == "voc" and len({name.casefold() for name in names}) != len(names):
    raise DatasetError(
      f"{origin}: Pascal VOC's names are read without case, and some differ in case only"
    )


def _voc_classes(files: Mapping[str, Path]) -> tuple[str, ...]:
  """Every name that occurs; names that differ in case only are one class."""
  names: dict[str, str] = {}
  for path in files.values():
    for item in read_xml(path).iter("object"):
      name = (item.findtext("name") or "").strip()
      names.setdefault(name.casefold(), name)
  return tuple(names[key] for key in sorted(names))


def _voc_files(files: Mapping[str, Path]) -> dict[str, str]:
  found = {
    stem: (read_xml(path).findtext("filename") or "").strip() for stem, path in files.items()
  }
  return {
    stem: name
    for stem, name in found.items()
    if Path(name).stem == stem and Path(name).name == name
  }


def _coco_images(path: Path) -> list:
  return json.loads(read_text(path, 1 << 30))["images"]


def _each(
  labels: Labels, folder: Path, suffix: str, text: Callable[[str, Annotation], str]
) -> None:
  folder.mkdir(parents=True, exist_ok=True)
  for stem, found in labels.boxes.items():
    write_text(folder / f"{stem}{suffix}", text(stem, found))
  write_text(folder / "classes.txt", "".join(f"{name}\n" for name in labels.classes))


def _size_of(found: Annotation) -> tuple[int, int]:
  assert found.size is not None  # filled in by the reading
  return found.size


def _write_voc(labels: Labels, folder: Path) -> None:
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


def _write_yolo(labels: Labels, folder: Path) -> None:
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


def _write_coco(labels: Labels, path: Path) -> None:
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
