"""Pairs with boxes; detection sets with a Pascal VOC file per image or the paper's lists."""

import abc
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tdfusion_jax.data.labels.annotations import (
  Annotation,
  border_notes,
  clip_boxes,
  make_annotation,
)
from tdfusion_jax.data.labels.census import Look
from tdfusion_jax.data.labels.splitlist import read_split_file
from tdfusion_jax.data.labels.voc import read_voc
from tdfusion_jax.data.readers.paired import Layout, PairedSource, PairFiles, shorten
from tdfusion_jax.data.source import DatasetError
from tdfusion_jax.images.reading import image_size

log = logging.getLogger(__name__)


class BoxSource(PairedSource, abc.ABC):
  """Pairs with boxes. Subclasses override `read_boxes`.

  Args:
    title: for `describe`.
    pairs: their files.
    classes: class names.
    background: a pair without a label has nothing in it, rather than being unlabelled.
  """

  def __init__(
    self,
    title: str,
    pairs: Sequence[PairFiles],
    classes: Iterable[str],
    *,
    background: bool = False,
  ):
    super().__init__(title, pairs, "detection", classes)
    self.background = background
    self.notes: Counter[str] = Counter()
    """What was read otherwise than it stands, of every label that was read (`labels.notes`)."""
    self._noted: set[str] = set()

  @abc.abstractmethod
  def read_boxes(self, pair: PairFiles, size: tuple[int, int]) -> tuple[Annotation, Path] | None:
    """(boxes, what they come from) of a pair whose images have `size`; None for an unlabelled."""

  def read_target(self, pair: PairFiles, size: tuple[int, int]) -> Any:
    """`Boxes`, or None for an unlabelled pair."""
    read = self.read_boxes(pair, size)
    if read is None:
      return clip_boxes(make_annotation([], []), size, pair.ir) if self.background else None
    found, origin = read
    boxes = clip_boxes(found, size, origin)
    if pair.name not in self._noted:
      self._noted.add(pair.name)
      self.notes.update(found.notes + border_notes(found.boxes, size))
      dropped = len(found.boxes) - len(boxes.boxes)
      if dropped:
        log.warning("%s: dropped %d box(es) without area inside the image", origin, dropped)
    return boxes

  def look(self, index: int) -> Look | None:
    """Boxes by class index."""
    pair = self.pairs[index]
    size = image_size(pair.ir) or (0, 0)  # what cannot be read is reported where it is read
    read = self.read_boxes(pair, size)
    if read is None:
      return Look({}) if self.background else None
    found, origin = read
    boxes = clip_boxes(found, size, origin)
    notes = found.notes + border_notes(found.boxes, size)
    return Look(Counter(boxes.classes.tolist()), notes)


class VocSource(BoxSource):
  """Pairs with boxes from `PairFiles.label` (VOC) or, where there is no XML, from a split list.

  Args:
    title: for `describe`.
    pairs: their files.
    classes: class names.
    listed: boxes of the split list by name.
    list_path: the list.
    background: see `BoxSource`.
  """

  def __init__(
    self,
    title: str,
    pairs: Sequence[PairFiles],
    classes: Iterable[str],
    listed: dict[str, Annotation] | None = None,
    list_path: Path | None = None,
    *,
    background: bool = False,
  ):
    super().__init__(title, pairs, classes, background=background)
    self.listed = listed or {}
    self.list_path = list_path

  def read_boxes(self, pair: PairFiles, size: tuple[int, int]) -> tuple[Annotation, Path] | None:
    """Of the XML file, or the list's."""
    del size
    if pair.label is not None:
      return read_voc(pair.label, self.classes), pair.label
    if pair.name in self.listed:
      return self.listed[pair.name], Path(f"{self.list_path} ({pair.name})")
    return None


def voc_source(
  title: str,
  layout: Layout,
  files: tuple[dict[str, Path], dict[str, Path], dict[str, Path]],
  classes: tuple[str, ...],
  *,
  names: Sequence[str] | None = None,
  split_file: str | Path | None = None,
  labelled_only: bool = True,
) -> VocSource:
  """Joins images, XML files and an optional split list.

  Args:
    title: for `describe`.
    layout: for messages.
    files: infrared, visible and XML files by stem.
    classes: class names.
    names: the stems to use, in order; None for all.
    split_file: one of the paper's lists; replaces `names`, and supplies boxes where there is no
      XML.
    labelled_only: skip pairs without labels (they are unlabelled, not empty); an error if none is
      left.
  """
  infrared, visible, labels = files
  listed: dict[str, Annotation] = {}
  if split_file is not None:
    listed = read_split_file(Path(split_file), len(classes))
    names = list(listed)
    missing = [name for name in names if name not in infrared]
    if missing:
      raise DatasetError(
        f"{layout.title}: {len(missing)} of the {len(names)} images in {split_file} are not in "
        f"{next(iter(infrared.values())).parent}: {shorten(missing)}"
      )
  chosen = list(infrared) if names is None else list(names)
  pairs = [PairFiles(name, infrared[name], visible[name], labels.get(name)) for name in chosen]
  if labelled_only:
    kept = [pair for pair in pairs if pair.label is not None or pair.name in listed]
    if not kept:
      raise DatasetError(f"{title}: none of the {len(pairs)} pairs has a label. {layout.help()}")
    if len(kept) < len(pairs):
      log.info(
        "%s: %d of %d pairs have no label file and are left out",
        title,
        len(pairs) - len(kept),
        len(pairs),
      )
    pairs = kept
  path = None if split_file is None else Path(split_file)
  return VocSource(title, pairs, classes, listed, path)
