"""MSRS (Tang et al., PIAFusion, Information Fusion 2022): streets, 480x640, nine classes."""

from pathlib import Path

from tdfusion_jax.data.readers.paired import (
  MaskSource,
  PairFiles,
  list_folder,
  require_partners,
  require_root,
  require_split,
)
from tdfusion_jax.data.source import DataSet, Layout, owners_terms

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
)


def msrs(root: str | Path | None, split: str = "train") -> MaskSource:
  """MSRS in its official layout; `split` is "train" (1083 pairs) or "test" (361)."""
  base = require_root(root, LAYOUT) / require_split(split, ("train", "test"), "MSRS")
  infrared, visible = list_folder(base / "ir", LAYOUT), list_folder(base / "vi", LAYOUT)
  labels = list_folder(base / "Segmentation_labels", LAYOUT)
  require_partners(infrared, visible, LAYOUT)
  require_partners(infrared, labels, LAYOUT)
  pairs = [PairFiles(name, path, visible[name], labels[name]) for name, path in infrared.items()]
  return MaskSource(f"MSRS {split}", pairs, CLASSES)


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
