"""LLVIP (Jia et al., ICCV workshop 2021): pedestrians at night, 1024x1280, boxes of one class."""

from pathlib import Path

from tdfusion_jax.data.readers.boxed import VocSource, voc_source
from tdfusion_jax.data.readers.official import split_files_of
from tdfusion_jax.data.readers.paired import require_root, require_split
from tdfusion_jax.data.source import DataSet, DatasetError, Folders, Layout, owners_terms

CLASSES = ("person",)
LAYOUT = Layout(
  "LLVIP",
  "its project page (bupt-ai-cz/LLVIP on GitHub)",
  """  <root>/
    infrared/train/010001.jpg ...   infrared/test/190001.jpg ...
    visible/train/010001.jpg ...    visible/test/190001.jpg ...
    Annotations/010001.xml ...      (Pascal VOC, both splits together)""",
  Folders("infrared/{split}", "visible/{split}", "Annotations", "voc"),
)


def llvip(
  root: str | Path | None,
  split: str = "train",
  *,
  every: int = 1,
  split_file: str | Path | None = None,
  labelled_only: bool = True,
) -> VocSource:
  """LLVIP in its official layout.

  Pairs without an XML file are unlabelled, not empty. The paper trains and tests on every 10th
  image: either `every=10` (counted over all pairs in name order, before unlabelled ones are left
  out) or its list as `split_file`, whose boxes also serve where an XML file is missing.

  Args:
    root: the folder with `infrared`, `visible` and `Annotations`.
    split: "train" or "test".
    every: keep every n-th pair.
    split_file: a list `name x1,y1,x2,y2,class ...` a line.
    labelled_only: False also hands out unlabelled pairs (target None), for label-free use.
  """
  base = require_root(root, LAYOUT)
  require_split(split, ("train", "test"), "LLVIP")
  if every < 1:
    raise DatasetError(f"LLVIP: every must be at least 1, got {every}")
  labelled = split_file is None and labelled_only
  files = split_files_of(base, split, LAYOUT, labelled=labelled)
  return voc_source(
    f"LLVIP {split}",
    LAYOUT,
    files,
    CLASSES,
    names=list(files[0])[::every],
    split_file=split_file,
    labelled_only=labelled_only,
  )


DATASET = DataSet(
  reader=llvip,
  about="LLVIP: pedestrians at night, boxes.",
  layout=LAYOUT,
  classes=CLASSES,
  kind="detection",
  expected={"train": 12025, "test": 3463},
  licence=owners_terms("its project page") + " LLVIP is for non-commercial use.",
  citation="""@inproceedings{jia2021llvip,
  title={LLVIP: A Visible-infrared Paired Dataset for Low-light Vision},
  author={Jia, Xinyu and Zhu, Chuang and Li, Minzhen and Tang, Wenqi and Zhou, Wenli},
  booktitle={IEEE/CVF International Conference on Computer Vision Workshops},
  year={2021}
}""",
)
