"""TDFusion on MSRS, segmentation of nine classes, with the paper's hyper-parameters.

  python -m tdfusion_jax.main --config=configs/msrs_seg.py --config.data.root=MSRS
  --workdir=runs/msrs

Data: the official layout (train/ and test/ with ir/, vi/, Segmentation_labels/). Time: 50 epochs of
200 G-steps and 542 F/T-steps; made for a GPU. `:runlocal` ends in minutes on two CPU cores.
"""

from tdfusion_jax.config import base, finish, shared

RUNLOCAL = {
  **shared.REAL_RUNLOCAL,
  "data.task_size": (120, 160),
  "train.epochs": 1,
}


def get_config(options=""):
  config = base()
  config.name = "msrs_seg"
  config.data.name = "msrs"
  config.data.task_size = (240, 320)
  config.data.cache_mb = 4096
  shared.use_segformer(config)
  return finish(config, options, RUNLOCAL, full_size=(480, 640))
