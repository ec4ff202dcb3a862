"""TDFusion on M3FD, detection of six classes, with the paper's hyper-parameters.

  python -m tdfusion_jax.main --config=configs/m3fd_det.py --config.data.root=M3FD
  --workdir=runs/m3fd

Data: the official layout (Ir/, Vis/, Annotation/). M3FD has no official split: give the paper's
lists as `--config.data.train_options.split_file=...` and
`--config.data.val_options.split_file=...`; without them every fourth pair is held out. Time: 50
epochs of 200 G-steps and 1575 F/T-steps; made for a GPU. `:runlocal` ends in minutes on two CPU
cores.
"""

from tdfusion_jax.config import base, finish

RUNLOCAL = {
  "data.crop_size": (96, 96),
  "data.task_size": (96, 128),
  "meta.pairs": 8,
  "meta.steps": 8,
  # A few minutes at the paper's rates leave F gray: ten times the rate, and first some steps
  # without G.
  "optim.f.learning_rate": 1e-3,
  "optim.t.learning_rate": 1e-3,
  "task.options.assigner_eps": 1e-30,  # objects are small at this size and T is fresh
  "train.pretrain_steps": 120,
  "train.epochs": 2,
  "log.every": 4,
  "log.validate_pairs": 6,
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
  config.task.kind, config.task.variant = "detection", "n"
  config.task.options.assigner_eps = 1e-9
  return finish(config, options, RUNLOCAL)
