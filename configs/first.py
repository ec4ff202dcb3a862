"""A first look, in three minutes on two idle CPU cores: what a learned loss does. No download.

  python -m tdfusion_jax.main --config=configs/first.py --workdir=runs/first

Road scenes that the package draws. People in the dark show in infrared only, signs and lane marks
in the visible image only; both cameras are noisy. F starts from the shipped weights, G from 1/2
everywhere, and T, SegFormer-B0, from nothing.

G learns by the rule `equilibrium` (docs/method/rules.md), which shows its effect in so short a
time; `:paper` is the paper's own rule, Eq. 7, on the same steps. A small alpha lets the weights act
on F, see docs/project/experiments.md, which also says how much of it lasts. `:runlocal` is a third
of it.
"""

from tdfusion_jax.config import base, finish, shared
from tdfusion_jax.fusers import shipped_weights

RUNLOCAL = {
  "train.pretrain_steps": 60,
  "train.epochs": 2,
  "data.train_options.count": 80,
  "meta.pairs": 40,
}


def get_config(options=""):
  config = base()
  config.name = "first"
  config.data.name = "synthetic_seg"
  config.data.train_options.update(
    {"size": (96, 128), "count": 160, "seed": 0, "night": 0.6, "noise": 2.0}
  )
  config.data.val_options.update(
    {"size": (96, 128), "count": 16, "seed": 0, "night": 0.6, "noise": 2.0}
  )
  config.data.crop_size = (64, 64)
  config.data.task_size = (96, 128)
  config.data.batch_size = 2
  config.data.flip = True
  config.data.cache_mb = 512
  shared.use_segformer(config)
  config.init.f = str(shipped_weights())
  config.loss.alpha = 0.02
  config.loss.tone_held, config.loss.stride = True, 2
  config.meta.rule, config.meta.anchor = "equilibrium", 0.1
  config.meta.eta_f = config.meta.eta_t = 0.1
  config.meta.pairs, config.meta.steps = 80, 24
  config.optim.f.learning_rate = 3e-4
  config.optim.t.learning_rate, config.optim.g.learning_rate = 1e-3, 3e-3
  config.train.pretrain_steps = 120
  config.train.epochs = 3
  config.log.every = 8
  config.log.validate_pairs = 16
  return finish(config, options, RUNLOCAL, recipe="simple")
