"""Every field of a configuration with the paper's values, and the options after the colon of `--config`."""

from typing import Any

from ml_collections import ConfigDict

Config = Any  # a ConfigDict, whose fields a type checker cannot know


class ConfigError(ValueError):
  """A setting that is unknown, contradicts another, or does not fit what is there; the message names the field."""


OPTIONS = ("runlocal", "upstream", "ablation=I..V", "weights=W", "task")
ABLATIONS = ("I", "II", "III", "IV", "V")


def base() -> Config:
  """The paper's hyper-parameters; a file in `configs/` fills in what its data set needs."""
  return ConfigDict(
    {
      "name": "",
      "seed": 0,
      "stage": "fusion",  # F, G and T together; or task: a T of its own on finished images (table 2)
      "fused": {  # what the task stage trains on
        "images": "fusion",  # of F: run, or init.f, or the shipped weights; or folder, infrared, visible, both
        "run": "",
        "stretch": False,
        "folder": "",  # train/NAME.png and test/NAME.png of any method, splits named as in data.*_split
      },
      "data": {
        "name": "",  # llvip, m3fd, msrs, fmb, folder, synthetic_det, synthetic_seg
        "root": "",  # the data set in its distributed layout
        "records_dir": "",  # or records made by `tdfusion data build --data_dir`, with the same options
        "bad_samples": "stop",  # at a training pair that cannot be read; or skip: take the next one, and say so
        "train_split": "train",
        "val_split": "test",
        "test_split": "",  # a further split that the task stage looks at once, at its end
        "train_options": {},  # further arguments of the source, see tdfusion_jax/data
        "val_options": {},
        "batch_size": 2,
        "crop_size": (256, 256),  # fusion terms: random crops at full resolution
        "task_size": (256, 320),  # task terms: the whole pair, resized
        "max_boxes": 64,
        "swap": "half",  # rows with ir and vi exchanged: half, copy (upstream), none
        "flip": False,
        "augment": "none",  # or task: random scale and place, mosaics for detection (the task stage's default)
        "workers": 0,
        "prefetch": 2,
        "cache_mb": 0,  # decoded pairs kept in memory
        "cache_dir": "",  # decoded pairs kept on disk, for further epochs and runs; delete the folder to free it
        "cache_disk_mb": 20_000,  # budget of that folder
      },
      "task": {
        "kind": "detection",  # segmentation, detection, scenic, none (L_f alone, no labels)
        "variant": "n",  # b0..b5 or n s m l x
        "options": {},  # further arguments of the task's factory, see tdfusion_jax/tasks
        "frozen": False,  # keep a pretrained T (init.t) as it is
        "dropout": True,
      },
      "loss": {
        "alpha": 1.0,
        "intensity": "paper",  # or upstream: (w (I_f - I))^2
        "weights": "learned",  # or fixed: w_a = fixed_w_a everywhere, no G; or truth: the synthetic world's
        "fixed_w_a": 0.5,
        "task_weight": 0.0,  # of L_t in F's own loss (ablation III)
        "none": False,  # no L_f, I_f = w_a a + w_b b from G itself (ablation V)
      },
      "meta": {
        "pairs": 200,  # M: size of the disjoint meta-train and meta-test draws of an epoch
        "steps": 200,  # G-steps per epoch
        "eta_f": 1e-4,  # inner learning rates (Eq. 4, 5)
        "eta_t": 1e-4,
        "inner_task": "sgd",  # or adam, upstream's
        "derivative": "forward_over_reverse",  # or reverse_over_reverse
        "fuse_in_outer": False,  # F is updated in the outer step only (ablation IV)
        "rule": "lookahead",  # what teaches G: one step of F ahead (Eq. 6), or equilibrium (docs/method/rules.md)
        "anchor": 0.0,  # of the equilibrium rule: how strongly weights are held where the task does not care,
        "anchor_to": 0.5,  # to this w_a: one half, or the best constant if it is known
      },
      "optim": {
        "f": {"rule": "adam", "learning_rate": 1e-4, "eps": 1e-8},
        "g": {"rule": "adam", "learning_rate": 1e-4, "eps": 1e-12},
        "t": {"rule": "adam", "learning_rate": 1e-4, "eps": 1e-8},
        "decay_every": 0,  # epochs; the inner rates follow the same decay
        "decay_rate": 0.1,
        "warmup_steps": 0,  # the rates rise linearly from zero
        "final_rate": 1.0,  # and fall linearly to this share at the end
      },
      "train": {
        "epochs": 50,
        "pretrain_steps": 0,
        "remat": True,  # recompute F's and G's intermediates on the way back: a third of the memory
        "compile_cache": "~/.cache/tdfusion_jax",  # compiled steps, for the next start; "" keeps none
      },
      "init": {"f": "", "g": "", "t": ""},  # .safetensors to start from
      "log": {
        "every": 10,  # steps between metric lines
        "validate_every": 1,  # epochs
        "validate_pairs": 64,
        "pictures": 4,
        "checkpoint_every": 100,  # steps
        "keep": 2,
      },
    }
  )


def finish(config: Config, options: str | None, runlocal: dict) -> Config:
  """Applies the options after the colon and locks the config, so that an unknown field is an error.

  Options are applied in the order below, however they are written.

  Args:
    config: filled in.
    options: comma separated: `upstream`; `runlocal`; `ablation=I` to `V`; `weights=W` for a fixed w_a; `task` for
      the stage that trains a T of its own on finished images (table 2), a short one beside `runlocal`.
    runlocal: {"a.b": value}, what shrinks this config to minutes on two CPU cores.

  Raises:
    ConfigError: unknown option.
  """
  config.lock()
  given: dict[str, str] = {}
  for option in filter(None, (options or "").split(",")):
    name, equals, value = option.partition("=")
    fits = {"ablation": value in ABLATIONS, "weights": bool(value)}.get(name, not equals)
    if name not in (known.partition("=")[0] for known in OPTIONS) or not fits:
      raise ConfigError(f"config option {option!r} is not known; there are: {', '.join(OPTIONS)}.")
    if given.setdefault(name, value) != value:
      raise ConfigError(f"config option {name}: {given[name]} or {value}?")
  if "upstream" in given:
    _upstream(config)
  if "runlocal" in given:
    config.update_from_flattened_dict(runlocal)
  if "ablation" in given:
    _ablation(config, given["ablation"])
  if "weights" in given:
    _fixed_weights(config, _number(given["weights"]))
  if "task" in given:
    _task_stage(config)
    if "runlocal" in given:
      config.update_from_flattened_dict(_SHORT_TASK)
  return config


_SHORT_TASK = {
  "data.batch_size": 4,
  "train.epochs": 3,
  "log.validate_every": 1,
  "optim.warmup_steps": 10,
}


def _number(text: str) -> float:
  try:
    return float(text)
  except ValueError:
    raise ConfigError(f"config option weights={text}: a number from 0 to 1 is needed.") from None


def _upstream(config: Config) -> None:
  """The public code where it departs from the paper (its swapped box axes are a defect and not reproduced)."""
  config.loss.intensity = "upstream"
  config.meta.inner_task = "adam"
  config.optim.g.rule = "max_norm_sgd"
  config.data.swap = "copy"
  config.train.epochs = 40
  config.optim.decay_every = 10
  config.optim.decay_rate = 0.1


def _fixed_weights(config: Config, w_a: float) -> None:
  config.loss.weights = "fixed"
  config.loss.fixed_w_a = w_a
  config.meta.steps = 0
  if w_a != 0.5:
    config.data.swap = "none"  # an unequal constant would follow the exchanged images


def _task_stage(config: Config) -> None:
  """Table 2 of the paper: 300 epochs of a fresh T, by the recipe usual for its architecture."""
  config.stage = "task"
  _fixed_weights(config, 0.5)
  config.data.crop_size = None
  config.data.swap = "none"
  config.data.flip, config.data.augment = True, "task"
  config.data.batch_size = 16
  config.train.pretrain_steps = 0
  config.train.epochs = 300
  config.log.validate_every = 10
  config.optim.decay_every = 0
  config.optim.warmup_steps = 300
  if config.task.kind == "detection":
    config.optim.t.rule, config.optim.t.learning_rate, config.optim.final_rate = "nesterov", 1e-2, 0.01
  else:
    config.optim.t.rule, config.optim.t.learning_rate, config.optim.final_rate = "adamw", 1e-4, 0.0


def _ablation(config: Config, number: str) -> None:
  """Table 3 of the paper."""
  if number == "I":
    _fixed_weights(config, 0.5)
  elif number == "II":
    config.loss.alpha = 0.0
  elif number == "III":
    config.loss.task_weight = 1.0
  else:
    config.meta.fuse_in_outer = True
    config.loss.none = number == "V"
