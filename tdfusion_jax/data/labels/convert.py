"""Box labels from one form into another: Pascal VOC, YOLO and COCO.

Coordinates, classes, image sizes and the difference between empty and unlabelled survive every
round trip: pixel coordinates with up to nine decimals and fractions with up to eight come back as
the same numbers, others within 1e-9 pixels. What only one form knows (VOC's "difficult", COCO's
areas and crowd regions) is left out.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from tdfusion_jax.data.fields import read_text
from tdfusion_jax.data.images import files_by_stem, open_image
from tdfusion_jax.data.labels.annotations import Annotation, make_annotation
from tdfusion_jax.data.labels.coco import read_coco
from tdfusion_jax.data.labels.voc import read_voc, read_xml
from tdfusion_jax.data.labels.write import Labels, snap, write_coco, write_voc, write_yolo
from tdfusion_jax.data.labels.yolo import read_yolo
from tdfusion_jax.data.source import DatasetError

FORMS = ("voc", "yolo", "coco")


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
  {"voc": write_voc, "yolo": write_yolo, "coco": write_coco}[form](labels, there)
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


def _snapped(found: Annotation) -> Annotation:
  rows = [[snap(v, 9, 1e-10) for v in row] for row in found.boxes.tolist()]
  return make_annotation(rows, found.classes.tolist(), found.size)


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
