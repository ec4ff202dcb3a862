"""Detection sets with a Pascal VOC file per image, all pairs or those of the paper's lists."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tdfusion_jax.data.labels.annotations import Annotation, clip_boxes
from tdfusion_jax.data.labels.splitlist import read_split_file
from tdfusion_jax.data.labels.voc import read_voc
from tdfusion_jax.data.readers.paired import Layout, PairedSource, PairFiles, shorten
from tdfusion_jax.data.source import DatasetError

log = logging.getLogger(__name__)


class VocSource(PairedSource):
  """Pairs with boxes from `PairFiles.label` (VOC) or, where there is no XML, from a split list."""

  def __init__(
    self,
    title: str,
    pairs: Sequence[PairFiles],
    classes: Iterable[str],
    listed: dict[str, Annotation] | None = None,
    list_path: Path | None = None,
  ):
    super().__init__(title, pairs, "detection", classes)
    self.listed = listed or {}
    self.list_path = list_path

  def read_target(self, pair: PairFiles, size: tuple[int, int]) -> Any:
    """`Boxes`, or None for an unlabelled pair."""
    if pair.label is not None:
      return clip_boxes(read_voc(pair.label, self.classes), size, pair.label)
    if pair.name in self.listed:
      return clip_boxes(self.listed[pair.name], size, Path(f"{self.list_path} ({pair.name})"))
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
