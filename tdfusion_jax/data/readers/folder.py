"""The user's own pairs: `ir/` and `vi/` with equal names, labels in any of four common forms."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tdfusion_jax.data.fields import read_text
from tdfusion_jax.data.images import files_by_stem
from tdfusion_jax.data.labels.annotations import Annotation, clip_boxes
from tdfusion_jax.data.labels.coco import read_coco
from tdfusion_jax.data.labels.yolo import read_yolo
from tdfusion_jax.data.readers.boxed import VocSource
from tdfusion_jax.data.readers.paired import (
  MaskSource,
  PairedSource,
  PairFiles,
  list_folder,
  require_partners,
  require_root,
  shorten,
)
from tdfusion_jax.data.source import DataSet, DatasetError, Layout
from tdfusion_jax.images.listing import EXTENSIONS

log = logging.getLogger(__name__)

LAYOUT = Layout(
  "a pair folder",
  "your own images",
  """  <root>/                 or <root>/train/, <root>/test/ with the same inside
    ir/NAME.png ...         infrared
    vi/NAME.png ...         visible, same names and sizes
    labels/NAME.png|.txt|.xml or one .json   (optional) masks, YOLO, Pascal VOC or COCO
    labels/classes.txt      class names, one a line (not needed for COCO)""",
)


class YoloSource(PairedSource):
  """Pairs with YOLO text files."""

  def read_target(self, pair: PairFiles, size: tuple[int, int]) -> Any:
    """`Boxes`, or None for an unlabelled pair."""
    if pair.label is None:
      return None
    return clip_boxes(read_yolo(pair.label, len(self.classes), size), size, pair.label)


class CocoSource(PairedSource):
  """Pairs with boxes from one COCO file; images the file does not name are unlabelled."""

  def __init__(
    self,
    title: str,
    pairs: Sequence[PairFiles],
    classes: Sequence[str],
    found: dict[str, Annotation],
  ):
    super().__init__(title, pairs, "detection", classes)
    self.found = {pair.name: found[pair.name] for pair in pairs if pair.label is not None}

  def read_target(self, pair: PairFiles, size: tuple[int, int]) -> Any:
    """`Boxes`, or None for an unlabelled pair."""
    if pair.label is None:
      return None
    return clip_boxes(self.found[pair.name], size, Path(f"{pair.label} ({pair.name})"))


def folder(
  root: str | Path | None,
  split: str = "train",
  *,
  classes: Sequence[str] | None = None,
  labelled_only: bool = True,
) -> PairedSource:
  """Pairs from `<root>/<split>/`, or where there is none from `<root>/` for every split.

  Without a `labels` folder the source is label-free (`kind` None). The form of the labels is
  recognised by their extension; a pair without its label file is unlabelled, while an empty text
  file or an XML without objects says that there is nothing in the image.

  Args:
    root: the folder.
    split: a sub-folder's name.
    classes: class names; default: the lines of `labels/classes.txt`, or COCO's categories.
    labelled_only: skip unlabelled pairs where there are labels.
  """
  base = require_root(root, LAYOUT)
  if (base / split).is_dir():
    base = base / split
  infrared, visible = list_folder(base / "ir", LAYOUT), list_folder(base / "vi", LAYOUT)
  require_partners(infrared, visible, LAYOUT)
  title = f"folder {base}"
  labels = base / "labels"
  if not labels.is_dir():
    pairs = [PairFiles(name, path, visible[name]) for name, path in infrared.items()]
    return PairedSource(title, pairs, None, ())
  suffix, files = _recognise(labels)
  found: dict[str, Annotation] = {}
  if suffix == ".json":
    source_file = next(iter(files.values()))
    found, categories = read_coco(source_file)
    if classes is not None and tuple(classes) != categories:
      raise DatasetError(
        f"{source_file}: its categories are {', '.join(categories)}, not {', '.join(classes)}"
      )
    names, files = categories, dict.fromkeys(found, source_file)
  else:
    names = class_names(labels, classes)
  strangers = sorted(files.keys() - infrared.keys())
  if strangers and suffix != ".json":
    raise DatasetError(f"{labels}: {len(strangers)} label(s) without a pair: {shorten(strangers)}")
  pairs = [PairFiles(name, path, visible[name], files.get(name)) for name, path in infrared.items()]
  pairs = _labelled(pairs, labels) if labelled_only else pairs
  if suffix == ".txt":
    return YoloSource(title, pairs, "detection", names)
  if suffix == ".xml":
    return VocSource(title, pairs, names)
  if suffix == ".json":
    return CocoSource(title, pairs, names, found)
  return MaskSource(title, pairs, names)


DATASET = DataSet(
  reader=folder,
  about="A folder of the user's own pairs.",
  layout=LAYOUT,
  classes=(),
  kind=None,
)


def _labelled(pairs: list[PairFiles], labels: Path) -> list[PairFiles]:
  kept = [pair for pair in pairs if pair.label is not None]
  if not kept:
    raise DatasetError(
      f"{labels}: no label belongs to any of the {len(pairs)} pairs. {LAYOUT.help()}"
    )
  if len(kept) < len(pairs):
    log.info(
      "%s: %d of %d pairs have no label and are left out",
      labels,
      len(pairs) - len(kept),
      len(pairs),
    )
  return kept


def _recognise(labels: Path) -> tuple[str, dict[str, Path]]:
  """The form of a folder's labels ("image", ".txt", ".xml", ".json") and the files by stem."""
  forms = {"image": EXTENSIONS, ".txt": (".txt",), ".xml": (".xml",), ".json": (".json",)}
  found = {}
  for form, extensions in forms.items():
    files = {
      stem: path
      for stem, path in files_by_stem(labels, extensions).items()
      if path.name != "classes.txt"
    }
    if files:
      found[form] = files
  if len(found) != 1:
    what = "no label file" if not found else f"several kinds of labels ({', '.join(found)})"
    raise DatasetError(f"{labels}: holds {what}. {LAYOUT.help()}")
  form, files = next(iter(found.items()))
  if form == ".json" and len(files) != 1:
    raise DatasetError(
      f"{labels}: holds {len(files)} JSON files; one COCO file for all images is needed"
    )
  return form, files


def class_names(labels: Path, classes: Sequence[str] | None) -> tuple[str, ...]:
  """`classes`, or the lines of `classes.txt` in a label folder.

  Raises:
    DatasetError: no names, or not 1 to 255 different ones.
  """
  if classes is not None:
    names = tuple(classes)
  elif (labels / "classes.txt").is_file():
    lines = read_text(labels / "classes.txt").splitlines()
    names = tuple(line.strip() for line in lines if line.strip())
  else:
    raise DatasetError(
      f"{labels}: class names are needed: write classes.txt there (one a line) "
      "or give option classes"
    )
  if not 0 < len(names) < 256 or len(set(names)) != len(names):
    found = f"{len(names)}: {shorten(names)}" if names else "none"
    raise DatasetError(f"{labels}: 1 to 255 different class names are needed, got {found}")
  return names
