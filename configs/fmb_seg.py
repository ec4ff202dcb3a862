"""TDFusion on FMB, segmentation of fourteen classes, with the paper's hyper-parameters.

  python -m tdfusion_jax.main --config=configs/fmb_seg.py --config.data.root=FMB --workdir=runs/fmb

Data: the official layout (train/ and test/ with Infrared/, Visible/, Label/); label 0 is unlabelled
and ignored. Time: 50 epochs of 200 G-steps and 610 F/T-steps; made for a GPU. `:runlocal` ends in
minutes on two CPU cores.
"""

from tdfusion_jax.config import base, finish

RUNLOCAL = {
  "data.crop_size": (96, 96),
  "data.task_size": (120, 160),
  "meta.pairs": 8,
  "meta.steps": 8,
  # A few minutes at the paper's rates leave F gray: ten times the rate, and first some steps
  # without G.
  "optim.f.learning_rate": 1e-3,
  "optim.t.learning_rate": 1e-3,
  "train.pretrain_steps": 120,
  "train.epochs": 1,
  "log.every": 4,
  "log.validate_pairs": 6,
}


def get_config(options=""):
  config = base()
  config.name = "fmb_seg"
  config.data.name = "fmb"
  config.data.task_size = (300, 400)
  config.data.train_options.ignore_unlabelled = True
  config.data.val_options.ignore_unlabelled = True
  config.data.cache_mb = 4096
  config.task.kind, config.task.variant = "segmentation", "b0"
  config.task.options.update(
    {"gelu": "erf", "head_eps": 1e-5, "align_corners": False, "norm_eps": 1e-6}
  )
  return finish(config, options, RUNLOCAL)
