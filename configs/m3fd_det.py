"""TDFusion on M3FD, detection of six classes, with the paper's hyper-parameters.

  python -m tdfusion_jax.main --config=configs/m3fd_det.py --config.data.root=M3FD
  --workdir=runs/m3fd

Data: the official layout (Ir/, Vis/, Annotation/). M3FD has no official split: give the paper's
lists as `--config.data.train_options.split_file=...` and
`--config.data.val_options.split_file=...`; without them every fourth pair is held out. Time: 50
epochs of 200 G-steps and 1575 F/T-steps; made for a GPU. `:runlocal` ends in minutes on two CPU
cores.
"""

from tdfusion_jax.config import base, finish, shared

RUNLOCAL = {
  **shared.REAL_RUNLOCAL,
  "data.task_size": (96, 128),
  "train.epochs": 2,
}


def get_config(options=""):
  config = base()
  config.name = "m3fd_det"
  config.data.name = "m3fd"
  config.data.task_size = (192, 256)
  config.data.max_boxes = 96
  config.data.train_options.split_file = ""
  config.data.val_options.split_file = ""
  config.data.cache_mb = 8192
  # The median object is 10 pixels at this size: under the reference's 1e-9 it teaches nothing.
  shared.use_yolo(config, shared.SMALL_OBJECTS)
  return finish(config, options, RUNLOCAL)
