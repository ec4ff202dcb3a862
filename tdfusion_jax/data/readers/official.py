"""Data sets in their authors' layouts: the files of a split, found where `Layout.folders` says."""

from pathlib import Path

from tdfusion_jax.data.readers.paired import (
  MaskSource,
  PairFiles,
  list_folder,
  require_partners,
  require_root,
  require_split,
)
from tdfusion_jax.data.source import Layout

Files = tuple[dict[str, Path], dict[str, Path], dict[str, Path]]
"""Infrared, visible and label files by stem."""


def split_files_of(root: Path, split: str, layout: Layout, *, labelled: bool = True) -> Files:
  """The files of a split; infrared and visible are partners.

  Args:
    root: the data set's folder.
    split: a split's name.
    layout: with `folders`.
    labelled: False takes labels only if their folder is there.

  Raises:
    DatasetError: a folder is missing or empty, or a file has no partner.
  """
  assert layout.folders is not None
  ir, vi, labels = layout.folders.of(root, split)
  infrared, visible = list_folder(ir, layout), list_folder(vi, layout)
  require_partners(infrared, visible, layout)
  extensions = (".xml",) if layout.folders.form == "voc" else None
  found = list_folder(labels, layout, extensions) if labelled or labels.is_dir() else {}
  return infrared, visible, found


def masked(
  root: str | Path | None,
  split: str,
  layout: Layout,
  classes: tuple[str, ...],
  unlabelled: int | None = None,
) -> MaskSource:
  """A split of a set in which every pair has a mask.

  Args:
    root: the data set's folder.
    split: "train" or "test".
    layout: with `folders`.
    classes: names, index = class id.
    unlabelled: a value of the masks that means unknown.
  """
  base = require_root(root, layout)
  require_split(split, ("train", "test"), layout.title)
  infrared, visible, labels = split_files_of(base, split, layout)
  require_partners(infrared, labels, layout)
  pairs = [PairFiles(name, path, visible[name], labels[name]) for name, path in infrared.items()]
  return MaskSource(f"{layout.title} {split}", pairs, classes, unlabelled)
