"""FMB (Liu et al., SegMiF, ICCV 2023): streets, 600x800, fourteen labelled classes."""

from pathlib import Path

from tdfusion_jax.data.readers.paired import (
  Layout,
  MaskSource,
  PairFiles,
  list_folder,
  require_partners,
  require_root,
  require_split,
)

CLASSES = (
  "unlabelled",
  "road",
  "sidewalk",
  "building",
  "lamp",
  "sign",
  "vegetation",
  "sky",
  "person",
  "car",
  "truck",
  "bus",
  "motorcycle",
  "bicycle",
  "pole",
)
LAYOUT = Layout(
  "FMB",
  "the SegMiF repository (JinyuanLiu-CV/SegMiF on GitHub)",
  """  <root>/
    train/Infrared/00001.png ...   test/Infrared/00002.png ...
    train/Visible/00001.png ...    test/Visible/00002.png ...
    train/Label/00001.png ...      test/Label/00002.png ...""",
)


def fmb(
  root: str | Path | None, split: str = "train", *, ignore_unlabelled: bool = True
) -> MaskSource:
  """FMB in its official layout; `split` is "train" (1220 pairs) or "test" (280).

  Class ids are the file's values, 15 in all, so that networks keep 15 outputs either way.

  Args:
    root: the folder with `train` and `test`.
    split: "train" or "test".
    ignore_unlabelled: True turns value 0 into the ignore label: no loss, no score. False trains and
      scores "unlabelled" as a class of its own.
  """
  base = require_root(root, LAYOUT) / require_split(split, ("train", "test"), "FMB")
  infrared, visible = list_folder(base / "Infrared", LAYOUT), list_folder(base / "Visible", LAYOUT)
  labels = list_folder(base / "Label", LAYOUT)
  require_partners(infrared, visible, LAYOUT)
  require_partners(infrared, labels, LAYOUT)
  pairs = [PairFiles(name, path, visible[name], labels[name]) for name, path in infrared.items()]
  return MaskSource(f"FMB {split}", pairs, CLASSES, unlabelled=0 if ignore_unlabelled else None)
