"""M3FD (Liu et al., TarDAL, CVPR 2022): streets, day and night, 768x1024, boxes of six classes."""

from pathlib import Path

from tdfusion_jax.data.readers.boxed import VocSource, voc_source
from tdfusion_jax.data.readers.official import split_files_of
from tdfusion_jax.data.readers.paired import require_root, require_split
from tdfusion_jax.data.source import DataSet, Folders, Layout, owners_terms

CLASSES = ("People", "Car", "Bus", "Motorcycle", "Truck", "Lamp")
LAYOUT = Layout(
  "M3FD",
  "the TarDAL repository (JinyuanLiu-CV/TarDAL on GitHub, M3FD_Detection)",
  """  <root>/
    Ir/00000.png ...
    Vis/00000.png ...
    Annotation/00000.xml ...   (Pascal VOC)""",
  Folders("Ir", "Vis", "Annotation", "voc"),
)


def m3fd(
  root: str | Path | None,
  split: str = "train",
  *,
  split_file: str | Path | None = None,
  labelled_only: bool = True,
) -> VocSource:
  """M3FD's detection set in its official layout.

  M3FD has no official split. `split_file` takes one of the paper's lists (3150 training, 1050 test
  pairs) and is needed to compare with the paper; without it, every fourth pair in name order is
  test, the rest train, and split "all" gives everything. Infrared files may have three channels:
  their luminance is used.

  Args:
    root: the folder with `Ir`, `Vis` and `Annotation`.
    split: "train", "test" or "all"; with `split_file` only a name for logs.
    split_file: a list `name x1,y1,x2,y2,class ...` a line; boxes come from the XML where there is
      one.
    labelled_only: False also hands out unlabelled pairs (target None).
  """
  base = require_root(root, LAYOUT)
  require_split(split, ("train", "test", "all"), "M3FD")
  labelled = split_file is None and labelled_only
  files = split_files_of(base, split, LAYOUT, labelled=labelled)
  names = [n for i, n in enumerate(files[0]) if split == "all" or (i % 4 == 3) == (split == "test")]
  return voc_source(
    f"M3FD {split}",
    LAYOUT,
    files,
    CLASSES,
    names=names,
    split_file=split_file,
    labelled_only=labelled_only,
  )


DATASET = DataSet(
  reader=m3fd,
  about="M3FD: streets by day and night, boxes of six classes.",
  layout=LAYOUT,
  classes=CLASSES,
  kind="detection",
  expected={"all": 4200},
  licence=owners_terms("the TarDAL repository"),
  citation="""@inproceedings{liu2022target,
  title={Target-aware Dual Adversarial Learning and a Multi-scenario Multi-Modality Benchmark
    to Fuse Infrared and Visible for Object Detection},
  author={Liu, Jinyuan and Fan, Xin and Huang, Zhanbo and Wu, Guanyao and Liu, Risheng
    and Zhong, Wei and Luo, Zhongxuan},
  booktitle={IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  year={2022}
}""",
)
