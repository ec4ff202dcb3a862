"""TDFusion on LLVIP, pedestrian detection by night, with the paper's hyper-parameters.

  python -m tdfusion_jax.main --config=configs/llvip_det.py --config.data.root=LLVIP
  --workdir=runs/llvip

Data: the official layout (infrared/, visible/, Annotations/), every 10th pair as in the paper.
Time: 50 epochs of 200 G-steps and 602 F/T-steps; made for a GPU. `:runlocal` ends in minutes on two
CPU cores.
"""

from tdfusion_jax.config import base, finish, shared

RUNLOCAL = {
  **shared.REAL_RUNLOCAL,
  "data.task_size": (128, 160),
  "data.train_options.every": 1,
  "data.val_options.every": 1,
  "task.options.assigner_eps": shared.SMALL_OBJECTS,
  "train.epochs": 2,
}


def get_config(options=""):
  config = base()
  config.name = "llvip_det"
  config.data.name = "llvip"
  config.data.task_size = (256, 320)
  config.data.train_options.update({"every": 10, "split_file": ""})
  config.data.val_options.update({"every": 10, "split_file": ""})
  config.data.cache_mb = 4096
  shared.use_yolo(config)
  return finish(config, options, RUNLOCAL)
