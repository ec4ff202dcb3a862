"""Box labels from one form into another: Pascal VOC, YOLO and COCO.

Coordinates, classes, image sizes and the difference between empty and unlabelled survive every
round trip: pixel coordinates with up to nine decimals and fractions with up to eight come back as
the same numbers, others within 1e-9 pixels. What only one form knows (VOC's "difficult", COCO's
areas and crowd regions) is left out.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tdfusion_jax.data.images import files_by_stem
from tdfusion_jax.data.labels.annotations import (
  Annotation,
  border_notes,
  make_annotation,
  outside,
  reaching,
)
from tdfusion_jax.data.labels.classes import NO_LABELS, YAML, given_classes, listed_classes
from tdfusion_jax.data.labels.coco import read_coco
from tdfusion_jax.data.labels.names import fitted, image_name
from tdfusion_jax.data.labels.voc import read_voc, read_xml
from tdfusion_jax.data.labels.write import Labels, snap, write_coco, write_voc, write_yolo
from tdfusion_jax.data.labels.yolo import read_yolo
from tdfusion_jax.data.source import DatasetError
from tdfusion_jax.images.listing import EXTENSIONS
from tdfusion_jax.images.reading import image_size

FORMS = ("voc", "yolo", "coco")


def convert(
  source: str | Path,
  target: str | Path,
  form: str,
  *,
  images: str | Path | None = None,
  classes: Sequence[str] | str | None = None,
) -> Labels:
  """Reads labels in whatever form they are and writes them in another.

  Args:
    source: a folder of `.xml` or `.txt` files (with `classes.txt`), or a COCO `.json` file.
    target: a folder, or for COCO a `.json` file; must not exist yet, or be an empty folder.
    form: "voc", "yolo" or "coco".
    images: folder of the images; needed where the labels do not hold sizes (YOLO).
    classes: class names in order, or a file that lists them (see `labels.classes`); default: the
      list beside the labels or, for YOLO, up to two folders above them; COCO's categories; or VOC's
      names in sorted order.

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
  if form == "coco":
    _require_files(labels, here)
  {"voc": write_voc, "yolo": write_yolo, "coco": write_coco}[form](labels, there)
  return labels


def read_labels_of(
  source: Path, *, images: str | Path | None = None, classes: Sequence[str] | str | None = None
) -> Labels:
  """All labels of a folder or COCO file, with sizes. Arguments as in `convert`.

  Boxes are read as training reads them: what lies outside its image is left out, and what rounding
  puts up to a pixel outside is cut at the border. `Labels.notes` counts both.
  """
  folder = None if images is None else Path(images).expanduser()
  if folder is not None and not folder.is_dir():
    raise DatasetError(f"{folder} (--images) is not a folder")
  pictures = files_by_stem(folder) if folder is not None else {}
  given = given_classes(classes)
  if source.suffix.lower() == ".json" and source.is_file():
    labels = _read_coco_file(source, given, pictures)
  else:
    labels = _read_folder(source, given, pictures, folder)
  boxes, notes = {}, list(labels.notes)
  for stem, found in labels.boxes.items():
    boxes[stem] = _finished(found, _size(stem, found, labels.origins[stem], pictures, folder))
    notes += boxes[stem].notes
  files = labels.files | {stem: path.name for stem, path in pictures.items()}
  return Labels(labels.classes, boxes, files, tuple(notes))


class _Read(NamedTuple):
  """Labels as they stand in their files."""

  classes: tuple[str, ...]
  boxes: dict[str, Annotation]
  origins: dict[str, Path]
  """The label files by stem."""
  files: dict[str, str]
  """File names of images that the labels state, by stem."""
  notes: tuple[str, ...]


def _read_coco_file(
  source: Path, given: tuple[str, ...] | None, pictures: Mapping[str, Path]
) -> _Read:
  content = read_coco(source)
  if given is not None and given != content.classes:
    names = ", ".join(content.classes)
    raise DatasetError(f"{source}: its categories are {names}, not {', '.join(given)}")
  boxes, renamed = fitted(content.boxes, pictures)
  notes = content.notes + ("renamed",) * renamed
  return _Read(content.classes, boxes, dict.fromkeys(boxes, source), content.files, notes)


def _read_folder(
  source: Path,
  given: tuple[str, ...] | None,
  pictures: Mapping[str, Path],
  folder: Path | None,
) -> _Read:
  if not source.is_dir():
    lists = source.suffix.lower() in YAML and source.is_file()
    hint = f"; give a folder of labels, and it as --classes={source}" if lists else ""
    raise DatasetError(f"{source} is neither a folder of labels nor a COCO .json file{hint}")
  xml, text = (_label_files(source, suffix) for suffix in (".xml", ".txt"))
  if bool(xml) == bool(text):
    inside = [path.name for path in sorted(source.iterdir()) if path.is_dir()]
    hint = f"; give one of its folders: {', '.join(inside[:5])}" if inside and not xml else ""
    what = "both .xml and .txt labels" if xml else "no .xml or .txt labels"
    raise DatasetError(f"{source}: holds {what}{hint}")
  files, renamed = fitted(xml or text, pictures)
  notes = ("renamed",) * renamed
  if xml:
    listed = None if given else listed_classes([source])
    names = given or (listed.names if listed else _voc_classes(files))
    boxes = {stem: read_voc(path, names) for stem, path in files.items()}
    return _Read(names, boxes, files, _voc_files(files), notes)
  names = given
  if names is None:
    # Ultralytics and Roboflow keep data.yaml one or two folders above the labels.
    listed = listed_classes([source, *source.absolute().parents[:2]])
    if listed is None:
      raise DatasetError(
        f"{source}: class names are needed: write classes.txt there (one a line), give --classes, "
        "or the data.yaml that lists them as --classes=data.yaml"
      )
    names = listed.names
  boxes = {}
  for stem, path in files.items():
    boxes[stem] = read_yolo(path, len(names), _picture_size(stem, path, pictures, folder))
  return _Read(names, boxes, files, {}, notes)


def _label_files(folder: Path, suffix: str) -> dict[str, Path]:
  files = files_by_stem(folder, (suffix,))
  return {stem: path for stem, path in files.items() if path.name not in NO_LABELS}


def _size(
  stem: str,
  found: Annotation,
  origin: Path,
  pictures: Mapping[str, Path],
  folder: Path | None,
) -> tuple[int, int]:
  """(height, width) of a label's image, as the label states it or as the image has it."""
  stated = found.size if found.size is not None and min(found.size) > 0 else None
  if stated is not None and stem not in pictures:
    return stated
  actual = _picture_size(stem, origin, pictures, folder)
  if stated not in (None, actual):
    turned = stated == actual[::-1] and "; it is turned by its EXIF orientation, or by its label"
    raise DatasetError(
      f"{origin}: made for an image of {stated[1]}x{stated[0]}, "
      f"but {pictures[stem]} is {actual[1]}x{actual[0]}{turned or ''}"
    )
  return actual


def _picture_size(
  stem: str, origin: Path, pictures: Mapping[str, Path], folder: Path | None
) -> tuple[int, int]:
  """(height, width) of an image as it is seen, upright."""
  if stem not in pictures:
    hint = (
      f"{folder} has no image of this name"
      if folder
      else "give the folder of the images (--images)"
    )
    raise DatasetError(f"{origin}: the size of image {stem!r} is not known; {hint}")
  size = image_size(pictures[stem])
  if size is None:
    raise DatasetError(f"{pictures[stem]}: cannot be read as an image")
  return size


def _finished(found: Annotation, size: tuple[int, int]) -> Annotation:
  """`found` with its size, cut where rounding left the image, without what is outside."""
  height, width = size
  notes = [*found.notes, *border_notes(found.boxes, size)]
  empty = (found.boxes[:, 2:] <= found.boxes[:, :2]).any(axis=1)
  keep = ~(outside(found.boxes, size) | empty)
  boxes = found.boxes[keep]
  far = reaching(boxes, size) > 1
  cut = np.where(far[:, None], boxes, np.clip(boxes, 0, [width, height, width, height]))
  notes = _moved(notes, "clipped", "beyond", int(far.sum()))
  rows = [[snap(v, 9, 1e-10) for v in row] for row in cut.tolist()]
  return make_annotation(rows, found.classes[keep].tolist(), size, notes)


def _moved(notes: list[str], kind: str, other: str, count: int) -> list[str]:
  """`notes` with `count` of one kind turned into another."""
  for _ in range(count):
    notes.remove(kind)
  return notes + [other] * count


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
  """The images' file names by stem, where the files state one that is an image's."""
  found = {stem: image_name(read_xml(path).findtext("filename")) for stem, path in files.items()}
  return {
    stem: name
    for stem, name in found.items()
    if Path(name).stem == stem and Path(name).suffix.lower() in EXTENSIONS
  }


def _require_files(labels: Labels, origin: Path) -> None:
  """Raises where an image's file name, which COCO needs, is not known."""
  unknown = [stem for stem in labels.boxes if stem not in labels.files]
  if unknown:
    raise DatasetError(
      f"{origin}: the file names of {len(unknown)} image(s) are not known, and COCO names them: "
      f"{', '.join(unknown[:5])}; give the folder of the images (--images)"
    )
