"""TDFusion on LLVIP, pedestrian detection by night, with the paper's hyper-parameters.

  python -m tdfusion_jax.main --config=configs/llvip_det.py --config.data.root=LLVIP
  --workdir=runs/llvip

Data: the official layout (infrared/, visible/, Annotations/), every 10th pair as in the paper.
Time: 50 epochs of 200 G-steps and 602 F/T-steps; made for a GPU. `:runlocal` ends in minutes on two
CPU cores.
"""

from tdfusion_jax.config import base, finish

RUNLOCAL = {
  "data.crop_size": (96, 96),
  "data.task_size": (128, 160),
  "data.train_options.every": 1,
  "data.val_options.every": 1,
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
  config.name = "llvip_det"
  config.data.name = "llvip"
  config.data.task_size = (256, 320)
  config.data.train_options.update({"every": 10, "split_file": ""})
  config.data.val_options.update({"every": 10, "split_file": ""})
  config.data.cache_mb = 4096
  config.task.kind, config.task.variant = "detection", "n"
  config.task.options.assigner_eps = 1e-9
  return finish(config, options, RUNLOCAL)
