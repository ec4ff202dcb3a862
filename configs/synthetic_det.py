"""TDFusion on the built-in road scenes: detection of people, cars and signs. No download.

  python -m tdfusion_jax.main --config=configs/synthetic_det.py:runlocal --workdir=runs/det

People in the dark show in infrared only and signs in the visible image only, so what G learns can
be seen: `val/w_a_ir_only` and `val/w_a_vi_only` in metrics.jsonl and curves.png are its infrared
weight inside both. Both cameras are noisy, so that a plain mean of the two costs the detector
something. At the paper's alpha of 1 the gradient term leaves the weights nearly without effect in
such a world; a small alpha, short pre-training and faster rates let them move. `:runlocal` ends
within ten minutes on two CPU cores, the whole within half an hour. More than four epochs are too
many at this rate: G then ends at infrared everywhere.
"""

from tdfusion_jax.config import base, finish, shared

RUNLOCAL = {
  **shared.SYNTHETIC_RUNLOCAL,
  "data.batch_size": 2,
}


def get_config(options=""):
  config = base()
  config.name = "synthetic_det"
  config.data.name = "synthetic_det"
  config.data.train_options.update(
    {"size": (96, 128), "count": 400, "seed": 0, "night": 0.6, "noise": 4.0}
  )
  config.data.val_options.update(
    {"size": (96, 128), "count": 32, "seed": 0, "night": 0.6, "noise": 4.0}
  )
  config.data.crop_size = (64, 64)
  config.data.task_size = (96, 128)
  config.data.batch_size = 4
  config.data.max_boxes = 24
  config.data.flip = True
  config.data.swap = "half"  # not in the paper, but in what was measured with this file
  config.data.cache_mb = 512
  shared.use_yolo(config, shared.SMALL_OBJECTS)
  config.loss.alpha = 0.02
  config.meta.pairs, config.meta.steps = 200, 50
  config.meta.eta_f = config.meta.eta_t = 0.1
  config.optim.f.learning_rate = config.optim.t.learning_rate = config.optim.g.learning_rate = 1e-3
  config.train.pretrain_steps = 300
  config.train.epochs = 4
  config.log.validate_pairs = 32
  config.log.checkpoint_every = 50
  return finish(config, options, RUNLOCAL, recipe="simple")
