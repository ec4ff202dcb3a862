"""FMB (Liu et al., SegMiF, ICCV 2023): streets, 600x800, fourteen labelled classes."""

from pathlib import Path

from tdfusion_jax.data.readers.official import masked
from tdfusion_jax.data.readers.paired import MaskSource
from tdfusion_jax.data.source import DataSet, Folders, Layout, owners_terms

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
  Folders("{split}/Infrared", "{split}/Visible", "{split}/Label", "mask"),
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
  return masked(root, split, LAYOUT, CLASSES, unlabelled=0 if ignore_unlabelled else None)


DATASET = DataSet(
  reader=fmb,
  about="FMB: streets, masks of fourteen classes.",
  layout=LAYOUT,
  classes=CLASSES,
  kind="segmentation",
  expected={"train": 1220, "test": 280},
  unlabelled=0,
  licence=owners_terms("the SegMiF repository"),
  citation="""@inproceedings{liu2023multi,
  title={Multi-interactive Feature Learning and a Full-time Multi-modality Benchmark
    for Image Fusion and Segmentation},
  author={Liu, Jinyuan and Liu, Zhu and Wu, Guanyao and Ma, Long and Liu, Risheng
    and Zhong, Wei and Luo, Zhongxuan and Fan, Xin},
  booktitle={IEEE/CVF International Conference on Computer Vision},
  year={2023}
}""",
)
