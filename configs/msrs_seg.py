"""TDFusion on MSRS, segmentation of nine classes by day and night, with the paper's hyper-parameters.

  python -m tdfusion_jax.main --config=configs/msrs_seg.py --config.data.root=MSRS
  --workdir=runs/msrs

Data: the official layout (train/ and test/ with ir/, vi/, Segmentation_labels/). Time: 50 epochs of
200 G-steps and 542 F/T-steps; made for a GPU. `:runlocal` ends in minutes on two CPU cores.
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
  config.name = "msrs_seg"
  config.data.name = "msrs"
  config.data.task_size = (240, 320)
  config.data.cache_mb = 4096
  config.task.kind, config.task.variant = "segmentation", "b0"
  config.task.options.update(
    {"gelu": "erf", "head_eps": 1e-5, "align_corners": False, "norm_eps": 1e-6}
  )
  return finish(config, options, RUNLOCAL)
