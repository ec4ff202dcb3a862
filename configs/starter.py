"""The weights of F that come with the package: built-in scenes, no task. No download.

  python -m tdfusion_jax.main --config=configs/starter.py --workdir=runs/starter

Takes about 15 minutes on two idle CPU cores; `runs/starter/weights/f.safetensors` is the file. The
loss's weights are one half everywhere. Scenes are larger than those of the other synthetic configs,
so that edges are as sharp beside the crops as in photographs.
"""

from tdfusion_jax.config import base, finish

RUNLOCAL = {
  "data.train_options.count": 64,
  "data.val_options.count": 8,
  "train.epochs": 2,
  "log.every": 4,
}


def get_config(options=""):
  config = base()
  config.name = "starter"
  config.data.name = "synthetic_det"
  config.data.train_options.update(
    {"size": (192, 256), "count": 600, "seed": 0, "night": 0.6, "noise": 0.5}
  )
  config.data.val_options.update(
    {"size": (192, 256), "count": 16, "seed": 0, "night": 0.6, "noise": 0.5}
  )
  config.data.crop_size = (96, 96)
  config.data.task_size = (192, 256)
  config.data.batch_size = 4
  config.data.max_boxes = 24
  config.data.flip = True
  config.data.swap = "half"  # not in the paper, but in what was measured with this file
  config.data.cache_mb = 512
  config.task.kind = "none"
  config.loss.alpha = 3.0  # sharper than 1, for the metrics of edges
  config.loss.weights, config.loss.fixed_w_a = "fixed", 0.5
  config.meta.steps = 0
  config.optim.f.learning_rate = 2e-3
  config.optim.warmup_steps, config.optim.final_rate = 50, 0.01
  config.train.epochs = 40
  config.log.validate_every, config.log.validate_pairs = 10, 16
  return finish(config, options, RUNLOCAL)
