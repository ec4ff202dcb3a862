"""The weights of G that come with the package: built-in scenes, segmentation. No download.

  python -m tdfusion_jax.main --config=configs/starter_g.py --workdir=runs/starter_g

Takes about ten minutes on two idle CPU cores; `runs/starter_g/weights/g.safetensors` is the file. F
starts from the weights of `starter.py` and stays nearly as it is; T learns to segment its images,
and G learns what would serve T (`meta.rule=equilibrium`, see docs/method/rules.md).
"""

from tdfusion_jax.config import base, finish
from tdfusion_jax.fusers import shipped_weights

RUNLOCAL = {
  "data.train_options.count": 64,
  "train.pretrain_steps": 8,
  "meta.pairs": 32,
  "meta.steps": 4,
  "log.every": 4,
}


def get_config(options=""):
  config = base()
  config.name = "starter_g"
  config.data.name = "synthetic_seg"
  config.data.train_options.update(
    {"size": (96, 128), "count": 240, "seed": 0, "night": 0.6, "noise": 2.0}
  )
  config.data.val_options.update(
    {"size": (96, 128), "count": 32, "seed": 0, "night": 0.6, "noise": 2.0}
  )
  config.data.crop_size = (64, 64)
  config.data.task_size = (96, 128)
  config.data.batch_size = 4
  config.data.flip = True
  config.data.swap = "half"  # not in the paper, but in what was measured with this file
  config.data.cache_mb = 512
  config.task.kind, config.task.variant = "segmentation", "b0"
  config.init.f = str(shipped_weights())
  config.meta.rule = "equilibrium"
  config.meta.pairs, config.meta.steps = 120, 60
  config.optim.f.learning_rate = 1e-5
  config.optim.t.learning_rate = config.optim.g.learning_rate = 1e-3
  config.train.pretrain_steps = 240
  config.train.epochs = 3
  config.log.validate_pairs = 32
  config.log.checkpoint_every = 60
  return finish(config, options, RUNLOCAL)
