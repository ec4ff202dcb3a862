"""The user's own pairs: `ir/` and `vi/` with equal names, labels in any of four common forms."""

import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from tdfusion_jax.data.folds import FILE, block_numbers, in_split, read_folds
from tdfusion_jax.data.images import files_by_stem
from tdfusion_jax.data.labels.annotations import Annotation
from tdfusion_jax.data.labels.classes import NO_LABELS, class_names, given_classes
from tdfusion_jax.data.labels.coco import read_coco
from tdfusion_jax.data.labels.names import fitted
from tdfusion_jax.data.labels.notes import told
from tdfusion_jax.data.labels.yolo import read_yolo
from tdfusion_jax.data.readers.boxed import BoxSource, VocSource
from tdfusion_jax.data.readers.paired import (
  MaskSource,
  PairedSource,
  PairFiles,
  list_folder,
  require_partners,
  require_root,
  shorten,
)
from tdfusion_jax.data.readers.places import places_of
from tdfusion_jax.data.source import DataSet, DatasetError, Layout
from tdfusion_jax.images.listing import EXTENSIONS

log = logging.getLogger(__name__)

FORMS = {"mask": EXTENSIONS, "yolo": (".txt",), "voc": (".xml",), "coco": (".json",)}
"""{form of labels: endings of its files}."""
LAYOUT = Layout(
  "a pair folder",
  "your own images",
  """  <root>/                 or <root>/train/, <root>/test/ with the same inside
    ir/NAME.png ...         infrared
    vi/NAME.png ...         visible, same names and sizes
    labels/NAME.png|.txt|.xml or one .json   (optional) masks, YOLO, Pascal VOC or COCO
    labels/classes.txt      class names, one a line (or names in data.yaml; not needed for COCO)""",
)


class YoloSource(BoxSource):
  """Pairs with YOLO text files."""

  def read_boxes(self, pair: PairFiles, size: tuple[int, int]) -> tuple[Annotation, Path] | None:
    """Of the text file."""
    if pair.label is None:
      return None
    return read_yolo(pair.label, len(self.classes), size), pair.label


class CocoSource(BoxSource):
  """Pairs with boxes from one COCO file; images the file does not name are unlabelled.

  Args:
    title: for `describe`.
    pairs: their files.
    classes: class names.
    found: boxes by name.
    background: see `BoxSource`.
  """

  def __init__(
    self,
    title: str,
    pairs: Sequence[PairFiles],
    classes: Sequence[str],
    found: dict[str, Annotation],
    *,
    background: bool = False,
  ):
    super().__init__(title, pairs, classes, background=background)
    self.found = {pair.name: found[pair.name] for pair in pairs if pair.label is not None}

  def read_boxes(self, pair: PairFiles, size: tuple[int, int]) -> tuple[Annotation, Path] | None:
    """Of the COCO file."""
    del size
    if pair.label is None:
      return None
    return self.found[pair.name], Path(f"{pair.label} ({pair.name})")


def folder(  # noqa: PLR0913  one argument for each of `config.data.train_options`
  root: str | Path | None,
  split: str = "train",
  *,
  classes: Sequence[str] | str | None = None,
  labelled_only: bool = True,
  unlabelled_images: Literal["skip", "keep", "background"] = "skip",
  unlabelled: int | None = None,
  fold: int | None = None,
  folders: str = "",
) -> PairedSource:
  """Pairs from `<root>/<split>/`, or where there is none from `<root>/` for every split.

  Without a `labels` folder the source is label-free (`kind` None). The form of the labels is
  recognised by their extension; a pair without its label file is unlabelled, while an empty text
  file or an XML without objects says that there is nothing in the image.

  Args:
    root: the folder.
    split: a sub-folder's name.
    classes: class names, a list or `person,car`; default: the list in `labels/` or above it
      (`classes.txt`, `data.yaml`, see `labels.classes`), or COCO's categories.
    labelled_only: False is `unlabelled_images="keep"`.
    unlabelled_images: what becomes of pairs without a label where there are labels: "skip" leaves
      them out, "keep" hands them out without a target, "background" says that there is nothing in
      them (boxes only).
    unlabelled: a value of masks that means unknown, as 255 does: no loss, no score.
    fold: the fold of `<root>/folds.txt` that is the test set; the others are "train" and, for
      choices, "val" (see `data.folds`).
    folders: where the folders have other names: `ir=thermal/{split},vi=rgb/{split},labels=labels`,
      below `root`.
  """
  places = places_of(require_root(root, LAYOUT), split, folders)
  base, labels = places.base, places.labels
  infrared, visible = list_folder(places.ir, LAYOUT), list_folder(places.vi, LAYOUT)
  require_partners(infrared, visible, LAYOUT)
  title = f"folder {base}" if fold is None else f"folder {base} {split} of fold {fold}"
  folds = {} if fold is None else _folds_of(base, infrared, split)
  used = infrared
  if fold is not None:
    used = {name: infrared[name] for name in in_split(folds, fold, split)}
    if not used:
      raise DatasetError(f"{base / FILE}: with fold={fold} the split {split!r} is empty")
  if not labels.is_dir():
    pairs = [PairFiles(name, path, visible[name]) for name, path in used.items()]
    return _with_blocks(PairedSource(title, pairs, None, ()), folds)
  read = _read(labels, classes, places.above, infrared)
  strangers = sorted(read.files.keys() - infrared.keys())
  if strangers and read.form != "coco" and places.own_labels:
    raise DatasetError(f"{labels}: {len(strangers)} label(s) without a pair: {shorten(strangers)}")
  pairs = [
    PairFiles(name, path, visible[name], read.files.get(name)) for name, path in used.items()
  ]
  policy = unlabelled_images if labelled_only else "keep"
  background = policy == "background"
  if read.form == "mask" and background:
    raise DatasetError(
      f"{labels}: unlabelled_images='background' is for boxes; save masks of class 0 for images "
      "with nothing in them"
    )
  if read.form != "mask" and unlabelled is not None:
    raise DatasetError(f"{labels}: unlabelled={unlabelled} is for masks, and these are boxes")
  pairs = _chosen(pairs, labels, policy)
  if read.form == "mask":
    return _with_blocks(MaskSource(title, pairs, read.classes, unlabelled), folds)
  if read.form == "yolo":
    source = YoloSource(title, pairs, read.classes, background=background)
  elif read.form == "voc":
    source = VocSource(title, pairs, read.classes, background=background)
  else:
    source = CocoSource(title, pairs, read.classes, read.found, background=background)
  source.notes.update(read.notes)
  return _with_blocks(source, folds)


DATASET = DataSet(
  reader=folder,
  about="A folder of the user's own pairs.",
  layout=LAYOUT,
  classes=(),
  kind=None,
)


def _with_blocks(source: PairedSource, folds: Mapping[str, int]) -> PairedSource:
  if folds:
    source.blocks = block_numbers(folds, source.names)
  return source


def _folds_of(base: Path, infrared: dict[str, Path], split: str) -> dict[str, int]:
  """The fold of each pair; DatasetError unless `folds.txt` has exactly these pairs."""
  if base.name == split and not (base / FILE).is_file():
    raise DatasetError(
      f"{base}: a fold is for pairs in one folder with {FILE}; with a folder for each split leave "
      "it out"
    )
  folds = read_folds(base / FILE)
  for lonely, where, what in (
    (folds.keys() - infrared.keys(), base / FILE, "name(s) without a pair (names have no suffix)"),
    (infrared.keys() - folds.keys(), base / "ir", f"pair(s) without a fold in {FILE}"),
  ):
    if lonely:
      raise DatasetError(f"{where}: {len(lonely)} {what}: {shorten(sorted(lonely))}")
  return folds


def _chosen(pairs: list[PairFiles], labels: Path, policy: str) -> list[PairFiles]:
  """The pairs that `unlabelled_images` leaves."""
  if policy == "keep":
    return pairs
  kept = [pair for pair in pairs if pair.label is not None]
  if not kept:
    raise DatasetError(
      f"{labels}: no label belongs to any of the {len(pairs)} pairs. {LAYOUT.help()}"
    )
  lacking = len(pairs) - len(kept)
  if lacking:
    what = {"skip": "are left out", "background": "are taken for images with nothing in them"}
    log.info("%s: %d of %d pairs have no label and %s", labels, lacking, len(pairs), what[policy])
  return kept if policy == "skip" else pairs


class _Read(NamedTuple):
  """What a label folder holds."""

  form: str
  """"mask", "yolo", "voc" or "coco"."""
  files: Mapping[str, Path]
  """By the pair's name."""
  classes: tuple[str, ...]
  found: dict[str, Annotation]
  """Of a COCO file."""
  notes: tuple[str, ...]
  """Of the whole folder, see `labels.notes`."""


def _read(
  labels: Path,
  classes: Sequence[str] | str | None,
  above: Sequence[Path],
  known: Collection[str],
) -> _Read:
  """The labels of a folder by the names of the pairs (`known`); `above` may list the classes."""
  form, files = recognise(labels)
  if form != "coco":
    names = class_names(labels, classes, above)
    fitting, renamed = fitted(files, known)
    read = _Read(form, fitting, names, {}, ("renamed",) * renamed)
  else:
    path = next(iter(files.values()))
    content = read_coco(path)
    given = given_classes(classes)
    if given is not None and given != content.classes:
      raise DatasetError(
        f"{path}: its categories are {', '.join(content.classes)}, not {', '.join(given)}"
      )
    found, renamed = fitted(content.boxes, known)
    notes = content.notes + ("renamed",) * renamed
    read = _Read(form, dict.fromkeys(found, path), content.classes, found, notes)
  for line in told(read.notes):
    log.info("%s: %s", labels, line)
  return read


def recognise(labels: Path) -> tuple[str, dict[str, Path]]:
  """The form of a folder's labels ("mask", "yolo", "voc" or "coco") and the files by stem.

  Raises:
    DatasetError: no label, several kinds of labels, or several COCO files.
  """
  found = {}
  for form, extensions in FORMS.items():
    files = {
      stem: path
      for stem, path in files_by_stem(labels, extensions).items()
      if path.name not in NO_LABELS
    }
    if files:
      found[form] = files
  if len(found) != 1:
    what = f"several kinds of labels ({', '.join(found)})" if found else "no label file"
    raise DatasetError(f"{labels}: holds {what}. {LAYOUT.help()}")
  form, files = next(iter(found.items()))
  if form == "coco" and len(files) != 1:
    raise DatasetError(
      f"{labels}: holds {len(files)} JSON files; one COCO file for all images is needed"
    )
  return form, files
