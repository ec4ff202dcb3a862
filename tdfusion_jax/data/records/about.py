"""What the builders state about each data set: where from, whose, what is in it."""

from tdfusion_jax.data.readers.fmb import CLASSES as FMB_CLASSES
from tdfusion_jax.data.readers.fmb import LAYOUT as FMB_LAYOUT
from tdfusion_jax.data.readers.folder import LAYOUT as FOLDER_LAYOUT
from tdfusion_jax.data.readers.llvip import CLASSES as LLVIP_CLASSES
from tdfusion_jax.data.readers.llvip import LAYOUT as LLVIP_LAYOUT
from tdfusion_jax.data.readers.m3fd import CLASSES as M3FD_CLASSES
from tdfusion_jax.data.readers.m3fd import LAYOUT as M3FD_LAYOUT
from tdfusion_jax.data.readers.msrs import CLASSES as MSRS_CLASSES
from tdfusion_jax.data.readers.msrs import LAYOUT as MSRS_LAYOUT
from tdfusion_jax.data.readers.paired import Layout
from tdfusion_jax.data.source import Kind
from tdfusion_jax.data.synthetic import DET_CLASSES, SEG_CLASSES

STATIC: dict[str, tuple[Kind, tuple[str, ...]]] = {
  "llvip": ("detection", LLVIP_CLASSES),
  "m3fd": ("detection", M3FD_CLASSES),
  "msrs": ("segmentation", MSRS_CLASSES),
  "fmb": ("segmentation", FMB_CLASSES),
  "synthetic_det": ("detection", DET_CLASSES),
  "synthetic_seg": ("segmentation", SEG_CLASSES),
}
"""Kind of labels and class names of the sets that always have the same."""

CITATIONS = {
  "llvip": """@inproceedings{jia2021llvip,
  title={LLVIP: A Visible-infrared Paired Dataset for Low-light Vision},
  author={Jia, Xinyu and Zhu, Chuang and Li, Minzhen and Tang, Wenqi and Zhou, Wenli},
  booktitle={IEEE/CVF International Conference on Computer Vision Workshops},
  year={2021}
}""",
  "m3fd": """@inproceedings{liu2022target,
  title={Target-aware Dual Adversarial Learning and a Multi-scenario Multi-Modality Benchmark to Fuse Infrared and
    Visible for Object Detection},
  author={Liu, Jinyuan and Fan, Xin and Huang, Zhanbo and Wu, Guanyao and Liu, Risheng and Zhong, Wei and Luo,
    Zhongxuan},
  booktitle={IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  year={2022}
}""",
  "msrs": """@article{tang2022piafusion,
  title={PIAFusion: A progressive infrared and visible image fusion network based on illumination aware},
  author={Tang, Linfeng and Yuan, Jiteng and Zhang, Hao and Jiang, Xingyu and Ma, Jiayi},
  journal={Information Fusion},
  year={2022}
}""",
  "fmb": """@inproceedings{liu2023multi,
  title={Multi-interactive Feature Learning and a Full-time Multi-modality Benchmark for Image Fusion and
    Segmentation},
  author={Liu, Jinyuan and Liu, Zhu and Wu, Guanyao and Ma, Long and Liu, Risheng and Zhong, Wei and Luo, Zhongxuan
    and Fan, Xin},
  booktitle={IEEE/CVF International Conference on Computer Vision},
  year={2023}
}""",
}

_TERMS = "The owners' terms apply, see {}; records may not be passed on where the images may not."
LICENCES = {
  "llvip": _TERMS.format("its project page") + " LLVIP is for non-commercial use.",
  "m3fd": _TERMS.format("the TarDAL repository"),
  "msrs": _TERMS.format("the MSRS repository"),
  "fmb": _TERMS.format("the SegMiF repository"),
  "synthetic_det": "Apache-2.0",
  "synthetic_seg": "Apache-2.0",
}


def layout_of(name: str) -> Layout:
  """How a data set lies on the disk."""
  return {
    "llvip": LLVIP_LAYOUT,
    "m3fd": M3FD_LAYOUT,
    "msrs": MSRS_LAYOUT,
    "fmb": FMB_LAYOUT,
    "folder": FOLDER_LAYOUT,
  }[name]
