"""TDFusion on FMB, segmentation of fourteen classes, with the paper's hyper-parameters.

  python -m tdfusion_jax.main --config=configs/fmb_seg.py --config.data.root=FMB --workdir=runs/fmb

Data: the official layout (train/ and test/ with Infrared/, Visible/, Label/); label 0 is unlabelled
and ignored. Time: 50 epochs of 200 G-steps and 610 F/T-steps; made for a GPU. `:runlocal` ends in
minutes on two CPU cores.
"""

from tdfusion_jax.config import base, finish, shared

RUNLOCAL = {
  **shared.REAL_RUNLOCAL,
  "data.task_size": (120, 160),
  "train.epochs": 1,
}


def get_config(options=""):
  config = base()
  config.name = "fmb_seg"
  config.data.name = "fmb"
  config.data.task_size = (300, 400)
  config.data.train_options.ignore_unlabelled = True
  config.data.val_options.ignore_unlabelled = True
  config.data.cache_mb = 4096
  shared.use_segformer(config)
  return finish(config, options, RUNLOCAL, full_size=(600, 800))
