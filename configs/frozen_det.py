"""A fusion made for a detector that you already run and that stays as it is.

  python -m tdfusion_jax.main --config=configs/frozen_det.py --config.data.root=mine
  --config.init.t=detector.safetensors --workdir=runs/mine

docs/tutorials/own_detector.md goes through it. `init.t` is what `tdfusion convert --keep-classes
A,B --in-channels 1` writes; `task.options.class_width` is that of the file. `data.task_size` is the
size that the detector runs at, in multiples of 32. `loss.tone` and `meta.anchor_to` are the
constant weight of infrared that suits it best, as `tdfusion judge --constant 0.5,0.6,0.7,0.8` finds
it: G learns where to leave it, and each image's mean stays there. F is the fast network, from its
starter weights.

The settings are those that helped on real pairs, see docs/project/experiments.md. 128 pairs of
480x640 take about an hour on two CPU cores; `:runlocal` is a tenth of that, for a look.
configs/sweeps/frozen_det.toml asks whether the detector does better than with every constant.
"""

from tdfusion_jax.config import base, finish, shared

RUNLOCAL = {"train.epochs": 4, "log.validate_every": 2}


def get_config(options=""):
  config = base()
  config.name = "frozen_det"
  shared.use_folder_of_boxes(config)
  config.data.crop_size = None
  config.data.task_size = (480, 640)
  config.data.batch_size = 2
  config.data.flip = True
  config.data.cache_mb = 4096
  shared.use_yolo(config)
  config.task.frozen = True
  config.task.options.update({"class_width": 80, "class_balance": True})
  config.fusion.variant, config.init.f = "fast", "fast"
  config.loss.alpha = 0.0
  config.loss.tone, config.loss.tone_held, config.loss.stride = 0.75, True, 4
  config.meta.rule = "equilibrium"
  config.meta.anchor, config.meta.anchor_to = 0.01, 0.75
  config.meta.steps = 28
  config.optim.f.learning_rate = 1e-3
  config.optim.g.learning_rate = 2e-3
  config.optim.warmup_steps, config.optim.final_rate = 20, 0.03
  config.train.epochs = 40
  config.log.validate_every = 4
  return finish(config, options, RUNLOCAL)
