"""Where the files of a data set lie, for looking at all of them: the readers stop at the first fault."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tdfusion_jax.data.readers.fmb import CLASSES as FMB_CLASSES
from tdfusion_jax.data.readers.fmb import LAYOUT as FMB_LAYOUT
from tdfusion_jax.data.readers.folder import LAYOUT as FOLDER_LAYOUT
from tdfusion_jax.data.readers.folder import class_names
from tdfusion_jax.data.readers.llvip import CLASSES as LLVIP_CLASSES
from tdfusion_jax.data.readers.llvip import LAYOUT as LLVIP_LAYOUT
from tdfusion_jax.data.readers.m3fd import CLASSES as M3FD_CLASSES
from tdfusion_jax.data.readers.m3fd import LAYOUT as M3FD_LAYOUT
from tdfusion_jax.data.readers.msrs import CLASSES as MSRS_CLASSES
from tdfusion_jax.data.readers.msrs import LAYOUT as MSRS_LAYOUT
from tdfusion_jax.data.readers.paired import Layout, require_root
from tdfusion_jax.data.source import DatasetError
from tdfusion_jax.images.files import EXTENSIONS


class Place(NamedTuple):
  """The folders of one split."""

  split: str
  ir: Path
  vi: Path
  labels: Path | None
  form: str | None
  """What a label file is: "mask", "voc", "yolo", "coco", or None without labels."""
  complete: bool
  """Whether every pair needs a label file; otherwise a pair without one is unlabelled."""
  own_labels: bool = True
  """False where one folder holds the labels of several splits."""
  classes: tuple[str, ...] = ()
  """Of a split of a folder, which has its own list."""


class Shape(NamedTuple):
  """A data set on the disk."""

  title: str
  layout: Layout
  classes: tuple[str, ...]
  places: list[Place]
  expected: dict[str, int]
  """Pairs of the complete official set, by split."""


_MASKS = {
  "msrs": (
    MSRS_LAYOUT,
    MSRS_CLASSES,
    ("ir", "vi", "Segmentation_labels"),
    {"train": 1083, "test": 361},
  ),
  "fmb": (FMB_LAYOUT, FMB_CLASSES, ("Infrared", "Visible", "Label"), {"train": 1220, "test": 280}),
}
CHECKED = ("llvip", "m3fd", "msrs", "fmb", "folder")


def shape_of(name: str, root: str | Path | None, classes: Sequence[str] | None = None) -> Shape:
  """The folders, classes and label form of data set `name` under `root`.

  Raises:
    DatasetError: unknown name, missing root, or nothing in it that looks like the data set.
  """
  if name == "llvip":
    base = require_root(root, LLVIP_LAYOUT)
    places = [
      Place(
        s, base / "infrared" / s, base / "visible" / s, base / "Annotations", "voc", False, False
      )
      for s in ("train", "test")
    ]
    shape = Shape("LLVIP", LLVIP_LAYOUT, LLVIP_CLASSES, places, {"train": 12025, "test": 3463})
  elif name == "m3fd":
    base = require_root(root, M3FD_LAYOUT)
    places = [Place("all", base / "Ir", base / "Vis", base / "Annotation", "voc", False)]
    shape = Shape("M3FD", M3FD_LAYOUT, M3FD_CLASSES, places, {"all": 4200})
  elif name in _MASKS:
    layout, names, (ir, vi, labels), expected = _MASKS[name]
    base = require_root(root, layout)
    places = [
      Place(s, base / s / ir, base / s / vi, base / s / labels, "mask", True)
      for s in ("train", "test")
    ]
    shape = Shape(layout.title, layout, names, places, expected)
  elif name == "folder":
    shape = _folder(require_root(root, FOLDER_LAYOUT), classes)
  else:
    what = "has no files to verify" if name.startswith("synthetic_") else "is not known"
    raise DatasetError(f"data set {name!r} {what}; known: {', '.join(CHECKED)}")
  if name != "folder" and classes:
    raise DatasetError(
      f"{shape.title} has its own classes ({', '.join(shape.classes)}); others are for folders"
    )
  if not any(place.ir.is_dir() or place.vi.is_dir() for place in shape.places):
    raise DatasetError(f"{shape.title} not found in {root}. {shape.layout.help()}")
  return shape


def _folder(base: Path, classes: Sequence[str] | None) -> Shape:
  splits = [p.name for p in sorted(base.iterdir()) if (p / "ir").is_dir() or (p / "vi").is_dir()]
  places = []
  for split in splits or ["all"]:
    here = base / split if splits else base
    labels = here / "labels"
    form = label_form(labels)
    own = class_names(labels, classes) if form not in (None, "coco") else ()
    there = labels if labels.is_dir() else None
    places.append(Place(split, here / "ir", here / "vi", there, form, False, classes=own))
  names = next((place.classes for place in places if place.classes), tuple(classes or ()))
  return Shape("a pair folder", FOLDER_LAYOUT, names, places, {})


def label_form(labels: Path) -> str | None:
  """What the files of a label folder are; None if there is none."""
  if not labels.is_dir():
    return None
  found = {p.suffix.lower() for p in labels.iterdir() if p.is_file() and p.name != "classes.txt"}
  forms = [
    form
    for suffix, form in ((".json", "coco"), (".xml", "voc"), (".txt", "yolo"))
    if suffix in found
  ]
  forms += ["mask"] if found & set(EXTENSIONS) else []
  if len(forms) > 1:
    raise DatasetError(f"{labels}: holds several kinds of labels ({', '.join(forms)})")
  return forms[0] if forms else None
