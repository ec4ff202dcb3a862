"""MSRS (Tang et al., PIAFusion, Information Fusion 2022): streets, 480x640, nine classes."""

from pathlib import Path

from tdfusion_jax.data.readers.official import masked
from tdfusion_jax.data.readers.paired import MaskSource
from tdfusion_jax.data.source import DataSet, Folders, Layout, owners_terms

CLASSES = (
  "background",
  "car",
  "person",
  "bike",
  "curve",
  "car stop",
  "guardrail",
  "color cone",
  "bump",
)
LAYOUT = Layout(
  "MSRS",
  "its repository (Linfeng-Tang/MSRS on GitHub)",
  """  <root>/
    train/ir/00001D.png ...                    test/ir/00004N.png ...
    train/vi/00001D.png ...                    test/vi/00004N.png ...
    train/Segmentation_labels/00001D.png ...   test/Segmentation_labels/00004N.png ...""",
  Folders("{split}/ir", "{split}/vi", "{split}/Segmentation_labels", "mask"),
)


def msrs(root: str | Path | None, split: str = "train") -> MaskSource:
  """MSRS in its official layout; `split` is "train" (1083 pairs) or "test" (361)."""
  return masked(root, split, LAYOUT, CLASSES)


DATASET = DataSet(
  reader=msrs,
  about="MSRS: streets by day and night, masks of nine classes.",
  layout=LAYOUT,
  classes=CLASSES,
  kind="segmentation",
  expected={"train": 1083, "test": 361},
  licence=owners_terms("the MSRS repository"),
  citation="""@article{tang2022piafusion,
  title={PIAFusion: A progressive infrared and visible image fusion network
    based on illumination aware},
  author={Tang, Linfeng and Yuan, Jiteng and Zhang, Hao and Jiang, Xingyu and Ma, Jiayi},
  journal={Information Fusion},
  year={2022}
}""",
)
