"""Where the files of a data set lie: verifying goes through all of them, unlike the readers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tdfusion_jax.data.labels.classes import NO_LABELS, class_names, given_classes
from tdfusion_jax.data.readers import DATASETS, check_reader_options
from tdfusion_jax.data.readers.folder import FORMS
from tdfusion_jax.data.readers.paired import require_root
from tdfusion_jax.data.readers.places import places_of, splits_of
from tdfusion_jax.data.source import DatasetError, Folders, Layout


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
  expected: Mapping[str, int]
  """Pairs of the complete official set, by split."""
  unlabelled: int | None = None
  """A value of masks that means unknown, besides 255."""
  background: bool = False
  """Whether pairs without a label have nothing in them, rather than being unlabelled."""


CHECKED = tuple(name for name, dataset in DATASETS.items() if dataset.layout is not None)
"""The sets that have files."""


def shape_of(
  name: str,
  root: str | Path | None,
  classes: Sequence[str] | str | None = None,
  options: Mapping[str, Any] | None = None,
) -> Shape:
  """The folders, classes and label form of data set `name` under `root`.

  Args:
    name: of the data set.
    root: its folder.
    classes: names for a folder that lists none.
    options: of the reader; `unlabelled` and `unlabelled_images` change what is right.

  Raises:
    DatasetError: unknown name or option, missing root, or nothing in it that looks like the data
      set.
  """
  layout = DATASETS[name].layout if name in DATASETS else None
  if layout is None:
    what = "has no files to verify" if name in DATASETS else "is not known"
    raise DatasetError(f"data set {name!r} {what}; known: {', '.join(CHECKED)}")
  given = dict(options or {})
  check_reader_options(name, given)
  base = require_root(root, layout)
  classes = given.get("classes") or classes
  dataset = DATASETS[name]
  if layout.folders is not None:
    places = _places(layout.folders, base)
    shape = Shape(
      layout.title, layout, dataset.classes, places, dataset.expected, dataset.unlabelled
    )
    if classes:
      raise DatasetError(
        f"{shape.title} has its own classes ({', '.join(shape.classes)}); others are for folders"
      )
  else:
    shape = _folder(base, layout, classes, given.get("folders", ""))
  if not any(place.ir.is_dir() or place.vi.is_dir() for place in shape.places):
    raise DatasetError(f"{shape.title} not found in {root}. {layout.help()}")
  ignored = shape.unlabelled if given.get("ignore_unlabelled", True) else None
  return shape._replace(
    unlabelled=given.get("unlabelled", ignored),
    background=given.get("unlabelled_images") == "background",
  )


def _places(folders: Folders, base: Path) -> list[Place]:
  shared = "{split}" not in folders.labels and len(folders.splits) > 1
  return [
    Place(
      split,
      *folders.of(base, split),
      folders.form,
      complete=folders.form == "mask",
      own_labels=not shared,
    )
    for split in folders.splits
  ]


def _folder(base: Path, layout: Layout, classes: Sequence[str] | str | None, folders: str) -> Shape:
  if folders:
    splits = splits_of(base, folders)
  else:
    splits = [p.name for p in sorted(base.iterdir()) if (p / "ir").is_dir() or (p / "vi").is_dir()]
  places = []
  for split in splits or ["all"]:
    there = places_of(base, split, folders)
    form = label_form(there.labels)
    own = class_names(there.labels, classes, there.above) if form not in (None, "coco") else ()
    labels = there.labels if there.labels.is_dir() else None
    own_labels = there.own_labels or len(splits) < 2
    places.append(Place(split, there.ir, there.vi, labels, form, False, own_labels, own))
  given = given_classes(classes) or ()
  names = next((place.classes for place in places if place.classes), given)
  return Shape(layout.title, layout, names, places, {})


def label_form(labels: Path) -> str | None:
  """What the files of a label folder are; None if there is none."""
  if not labels.is_dir():
    return None
  files = [p for p in labels.iterdir() if p.is_file() and p.name not in NO_LABELS]
  found = {path.suffix.lower() for path in files}
  forms = [form for form, suffixes in FORMS.items() if found & set(suffixes)]
  if len(forms) > 1:
    raise DatasetError(f"{labels}: holds several kinds of labels ({', '.join(forms)})")
  return forms[0] if forms else None
