"""Settings that contradict each other."""

from functools import reduce

from tdfusion_jax.config import Config, ConfigError
from tdfusion_jax.data.loader import AUGMENTS
from tdfusion_jax.data.readers.fused import IMAGES
from tdfusion_jax.data.skipping import BAD_SAMPLES
from tdfusion_jax.files import is_plugin
from tdfusion_jax.meta import RULES

# What labels a kind of task needs.
LABELS = {
  "detection": "detection",
  "segmentation": "segmentation",
  "scenic": "segmentation",
  "none": None,
}

_LEAST = {
  "data.batch_size": 1,
  "data.cache_disk_mb": 0,
  "data.cache_mb": 0,
  "data.max_boxes": 1,
  "data.prefetch": 0,
  "data.workers": 0,
  "log.checkpoint_every": 1,
  "log.every": 1,
  "log.keep": 1,
  "log.pictures": 0,
  "log.validate_every": 0,
  "loss.alpha": 0,
  "meta.anchor": 0,
  "meta.eta_f": 0,
  "meta.eta_t": 0,
  "meta.steps": 0,
  "optim.f.learning_rate": 0,
  "optim.g.learning_rate": 0,
  "optim.t.learning_rate": 0,
  "train.epochs": 0,
  "train.pretrain_steps": 0,
}


def labels_needed(kind: str) -> str | None:
  """What labels a kind of task needs; None for any or none, as the user's own may read."""
  return None if is_plugin(kind) else LABELS[kind]


def check(config: Config) -> None:
  """Raises ConfigError, naming the field, for settings that contradict each other."""
  rules = [
    (config.stage not in ("fusion", "task"), f"stage={config.stage!r}: fusion or task."),
    (
      config.fused.images not in IMAGES,
      f"fused.images={config.fused.images!r}: one of {', '.join(IMAGES)}.",
    ),
    (
      (config.fused.images == "folder") != bool(config.fused.folder),
      f"fused.images={config.fused.images!r} with fused.folder={config.fused.folder!r}: give both or neither.",
    ),
    (config.stage == "task" and config.task.kind == "none", "stage='task' needs a task."),
    (
      config.data.augment not in AUGMENTS,
      f"data.augment={config.data.augment!r}: one of {', '.join(AUGMENTS)}.",
    ),
    (
      config.meta.rule not in RULES and not is_plugin(config.meta.rule),
      f"meta.rule={config.meta.rule!r}: one of {', '.join(RULES)}, or your own as module:factory.",
    ),
    (
      config.meta.anchor > 0 and config.meta.rule != "equilibrium",
      f"meta.anchor={config.meta.anchor} needs meta.rule='equilibrium'.",
    ),
    (
      not 0 < config.meta.anchor_to < 1,
      f"meta.anchor_to={config.meta.anchor_to}: must be between 0 and 1.",
    ),
    (
      config.meta.anchor_to != 0.5 and not config.meta.anchor > 0,
      f"meta.anchor_to={config.meta.anchor_to} needs meta.anchor > 0.",
    ),
    (
      config.meta.anchor_to != 0.5 and config.data.swap != "none",
      "meta.anchor_to other than 0.5 needs data.swap='none': it would follow the exchanged images.",
    ),
    (
      config.task.kind not in LABELS and not is_plugin(config.task.kind),
      f"task.kind={config.task.kind!r}: one of {', '.join(LABELS)}, or your own as module:function.",
    ),
    (
      config.loss.weights not in ("learned", "fixed", "truth"),
      f"loss.weights={config.loss.weights!r}: learned, fixed or truth.",
    ),
    (
      config.loss.weights == "truth" and bool(config.log.validate_every),
      "loss.weights='truth' needs log.validate_every=0: it is known for training pairs only.",
    ),
    (
      not 0 <= config.loss.fixed_w_a <= 1,
      f"loss.fixed_w_a={config.loss.fixed_w_a}: must be in [0, 1].",
    ),
    (
      config.loss.weights == "fixed"
      and config.loss.fixed_w_a != 0.5
      and config.data.swap != "none",
      "loss.fixed_w_a other than 0.5 needs data.swap='none': a constant would follow the exchanged images.",
    ),
    (
      config.meta.steps > 0 and (config.loss.weights != "learned" or config.task.kind == "none"),
      "meta.steps > 0 needs loss.weights='learned' and a task: nothing else can teach G. Set meta.steps=0.",
    ),
    (
      config.loss.weights == "learned" and config.task.kind == "none",
      "task.kind='none' leaves G without a teacher: set loss.weights='fixed'.",
    ),
    (
      config.task.frozen and not config.init.t,
      "task.frozen needs a pretrained T: give its weights as init.t.",
    ),
    (
      config.stage == "task" and config.task.frozen,
      "task.frozen does not go with stage='task', which trains T; init.t alone is where it starts.",
    ),
    (
      config.loss.none and not config.meta.fuse_in_outer,
      "loss.none needs meta.fuse_in_outer: without a fusion loss only the task can teach.",
    ),
    (
      config.stage == "fusion" and config.meta.fuse_in_outer and not config.meta.steps > 0,
      "meta.fuse_in_outer with meta.steps=0 never trains F: it learns in the G-steps only.",
    ),
    (
      config.meta.fuse_in_outer and config.meta.rule != "lookahead",
      f"meta.fuse_in_outer needs meta.rule='lookahead', not {config.meta.rule!r}: F steps along dL_t/dF'.",
    ),
    (
      config.loss.task_weight > 0 and config.task.kind == "none",
      f"loss.task_weight={config.loss.task_weight} needs a task.",
    ),
    (
      config.meta.inner_task not in ("sgd", "adam"),
      f"meta.inner_task={config.meta.inner_task!r}: sgd or adam.",
    ),
    (
      config.data.bad_samples not in BAD_SAMPLES,
      f"data.bad_samples={config.data.bad_samples!r}: one of {', '.join(BAD_SAMPLES)}.",
    ),
  ]
  for field, least in _LEAST.items():
    *above, name = field.split(".")
    value = reduce(getattr, above, config)[name]
    rules.append((not value >= least, f"{field}={value}: at least {least}."))
  for field in ("crop_size", "task_size"):
    size = config.data[field]
    fits = (size is None and field == "crop_size") or (
      isinstance(size, (tuple, list))
      and len(size) == 2
      and all(isinstance(s, int) and s >= 1 for s in size)
    )
    rules.append(
      (not fits, f"data.{field}={size!r}: (height, width) is needed, such as '(256, 320)'.")
    )
  for broken, message in rules:
    if broken:
      raise ConfigError("config." + message)
  if config.task.kind == "detection" and any(s % 32 for s in config.data.task_size):
    raise ConfigError(
      f"config.data.task_size={tuple(config.data.task_size)}: detection needs multiples of 32."
    )
