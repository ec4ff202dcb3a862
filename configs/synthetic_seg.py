"""TDFusion on the built-in road scenes: segmentation of people, cars, signs and lane marks.

  python -m tdfusion_jax.main --config=configs/synthetic_seg.py:runlocal --workdir=runs/seg

No download. People in the dark show in infrared only, signs and lane marks in the visible image
only, so what G learns can be seen: `val/w_a_ir_only` and `val/w_a_vi_only` in metrics.jsonl and
curves.png are its infrared weight inside both. At the paper's alpha of 1 the gradient term
leaves the weights nearly without effect in such a world; a small alpha, short pre-training and
faster rates let them move. `:runlocal` ends within ten minutes on two CPU cores.
"""

from tdfusion_jax.config import base, finish, shared


def get_config(options=""):
  config = base()
  config.name = "synthetic_seg"
  config.data.name = "synthetic_seg"
  config.data.train_options.update({"size": (96, 128), "count": 160, "seed": 0, "night": 0.6})
  config.data.val_options.update({"size": (96, 128), "count": 32, "seed": 0, "night": 0.6})
  config.data.crop_size = (64, 64)
  config.data.task_size = (96, 128)
  config.data.batch_size = 2
  config.data.flip = True
  config.data.swap = "half"  # not in the paper, but in what was measured with this file
  config.data.cache_mb = 512
  shared.use_segformer(config)
  config.loss.alpha = 0.02
  config.meta.pairs, config.meta.steps = 80, 40
  config.meta.eta_f = config.meta.eta_t = 0.1
  config.optim.f.learning_rate = config.optim.t.learning_rate = config.optim.g.learning_rate = 1e-3
  config.train.pretrain_steps = 300
  config.train.epochs = 8
  config.log.validate_pairs = 32
  config.log.checkpoint_every = 50
  return finish(config, options, shared.SYNTHETIC_RUNLOCAL, recipe="simple")
