"""Settings that contradict each other."""

from tdfusion_jax.config import Config, base
from tdfusion_jax.config.typed import require_types
from tdfusion_jax.data.readers.fused import IMAGES
from tdfusion_jax.files import is_plugin
from tdfusion_jax.meta import RULES
from tdfusion_jax.meta.derivative import DERIVATIVES
from tdfusion_jax.meta.gauss_newton import JUDGED_ON
from tdfusion_jax.train import data_checks, optimisers, recipe, trackers
from tdfusion_jax.train.networks import uses_g
from tdfusion_jax.train.requiring import one_of as _one_of
from tdfusion_jax.train.requiring import require as _require
from tdfusion_jax.train.requiring import value as _value

LABELS = {
  "detection": "detection",
  "segmentation": "segmentation",
  "scenic": "segmentation",
  "none": None,
}
"""What labels a kind of task needs."""

_LEAST = {
  "data.batch_size": 1,
  "data.cache_disk_mb": 0,
  "data.cache_mb": 0,
  "data.close_mosaic": -1,
  "data.max_boxes": 1,
  "data.prefetch": 0,
  "data.workers": 0,
  "log.checkpoint_every": 1,
  "log.every": 1,
  "log.keep": 1,
  "log.pictures": 0,
  "log.validate_every": 0,
  "loss.alpha": 0,
  "loss.stride": 1,
  "meta.anchor": 0,
  "meta.damping": 0,
  "meta.eta_f": 0,
  "meta.eta_t": 0,
  "log.validate_pairs": 1,
  "meta.inner_steps": 1,
  "meta.pairs": 1,
  "meta.solve_steps": 1,
  "meta.steps": 0,
  "optim.f.learning_rate": 0,
  "optim.g.learning_rate": 0,
  "optim.t.clip_norm": 0,
  "optim.t.head_factor": 0,
  "optim.t.learning_rate": 0,
  "optim.t.nominal_batch": 0,
  "optim.t.poly_power": 0,
  "optim.t.warmup_epochs": 0,
  "optim.warmup_steps": 0,
  "train.accumulate": 1,
  "train.epochs": 0,
  "seed": 0,
  "train.pretrain_steps": 0,
}
"""The least value of numbers that have one."""

_MOST = {
  "data.batch_size": 4096,
  "data.max_boxes": 100_000,
  "data.prefetch": 1024,
  "data.workers": 1024,
  "log.pictures": 1024,
  "loss.stride": 64,
  "meta.inner_steps": 1000,
  "meta.solve_steps": 1000,
  "optim.t.nominal_batch": 65_536,
  "optim.t.warmup_epochs": 1000,
  "optim.warmup_steps": 1_000_000,
}
"""The largest value of numbers that something is made of before the first step."""

_READ_BY_G = 1_000_000  # pairs that the G-steps of an epoch may read: their plan is made at once


def labels_needed(kind: str) -> str | None:
  """What labels a kind of task needs; None for any or none, as the user's own may read."""
  return LABELS.get(kind)


def check(config: Config) -> None:
  """Raises ConfigError, naming the field, for settings that contradict each other."""
  require_types(config)
  for field, least in _LEAST.items():
    # Not `value < least`: a rate that is no number at all must not pass.
    _require(config, _value(config, field) >= least, field, f"at least {least}.")
  for field, most in _MOST.items():
    _require(config, _value(config, field) <= most, field, f"at most {most}.")
  _require(
    config,
    config.meta.steps * config.data.batch_size <= _READ_BY_G,
    "meta.steps",
    f"the G-steps of an epoch read at most {_READ_BY_G} pairs.",
  )
  for letter in "fg":
    _one_of(config, f"optim.{letter}.rule", optimisers.RULES)
  recipe.check(config)
  trackers.named(config.log.trackers)
  _check_stage(config)
  data_checks.check(config)
  _check_task(config)
  _check_loss(config)
  _check_teacher(config)


def _check_stage(config: Config) -> None:
  _one_of(config, "stage", ("fusion", "task"))
  _one_of(config, "train.dtype", ("float32", "bfloat16"))
  _one_of(config, "fused.images", IMAGES)
  _require(
    config,
    (config.fused.images == "folder") == bool(config.fused.folder),
    "fused.images",
    f"and fused.folder={config.fused.folder!r} contradict each other; a folder of images needs "
    "fused.images='folder', and the other way round.",
  )
  weight = config.fused.w_a
  _require(config, 0 <= weight <= 1, "fused.w_a", "is not between 0 and 1.")
  _require(
    config,
    weight == 0.5 or config.fused.images == "average",
    "fused.w_a",
    "is the weight of an average; it needs fused.images='average'.",
  )
  given = config.data.test_split
  _require(
    config,
    not given or given != config.data.val_split,
    "data.test_split",
    "is data.val_split already, which is judged too; name another split, or none.",
  )
  if config.stage == "task":
    _require(config, config.task.kind != "none", "stage", "needs a task; set task.kind.")
    _require(
      config,
      not config.task.frozen,
      "task.frozen",
      "does not go with stage='task', which trains T; init.t alone is where it starts.",
    )


def _check_task(config: Config) -> None:
  _one_of(config, "task.kind", LABELS, own="module:function")
  _one_of(config, "task.statistics", ("batch", "frozen"))
  _require(
    config,
    bool(config.init.t) or config.task.statistics == "batch",
    "task.statistics",
    "needs a pretrained T, whose statistics are kept; give its weights as init.t.",
  )
  _require(
    config,
    bool(config.init.t) or not config.task.frozen,
    "task.frozen",
    "needs a pretrained T; give its weights as init.t.",
  )
  _check_pseudo(config)


def _check_pseudo(config: Config) -> None:
  _one_of(config, "task.labels", ("true", "pseudo"))
  sure = config.task.pseudo_threshold
  _require(config, 0 < sure < 1, "task.pseudo_threshold", "must be between 0 and 1.")
  unsure, usual = config.task.pseudo_unsure, base().task
  if config.task.labels == "true":
    for name, value in (("pseudo_threshold", sure), ("pseudo_unsure", unsure)):
      _require(config, value == usual[name], f"task.{name}", "is for task.labels='pseudo'.")
    return
  if config.task.kind == "detection":
    fits = 0 < unsure <= sure
    why = "must be above 0, and at most task.pseudo_threshold, where no box is unsure."
  else:
    fits = unsure == usual.pseudo_unsure
    why = "is for boxes; of masks all pixels below task.pseudo_threshold are unknown."
  _require(config, fits, "task.pseudo_unsure", why)
  needs = "'pseudo' needs"
  _require(config, config.stage == "fusion", "task.labels", f"{needs} stage='fusion'.")
  _require(
    config,
    config.task.kind in ("detection", "segmentation"),
    "task.labels",
    f"{needs} task.kind='detection' or 'segmentation'.",
  )
  _require(
    config, bool(config.init.t), "task.labels", f"{needs} a pretrained T; give it as init.t."
  )


def _check_loss(config: Config) -> None:
  loss, without_task = config.loss, config.task.kind == "none"
  _one_of(config, "loss.weights", ("learned", "given", "fixed", "truth"))
  _require(config, 0 <= loss.fixed_w_a <= 1, "loss.fixed_w_a", "must be in [0, 1].")
  if loss.weights == "learned":
    _require(
      config,
      not without_task,
      "loss.weights",
      "task.kind='none' leaves G without a teacher; set loss.weights='fixed', or 'given' and "
      "init.g.",
    )
  if loss.weights == "given":
    _require(config, bool(config.init.g), "loss.weights", "'given' needs G's file as init.g.")
    _require(config, not loss.none, "loss.weights", "'given' needs a fusion loss, not loss.none.")
    _require(
      config,
      not loss.tone_held or config.data.crop_size is None,
      "loss.tone_held",
      "needs data.crop_size=None with weights='given': the tone is held over what G sees, and a "
      "crop's mean is not its image's.",
    )
  if loss.weights == "fixed" and loss.fixed_w_a != 0.5:
    _require_own_order(config, "loss.fixed_w_a")
  if loss.weights == "truth":
    _require(
      config,
      not config.log.validate_every,
      "loss.weights",
      "needs log.validate_every=0: the truth is known for training pairs only.",
    )
    _require(
      config,
      config.data.augment == "none" or config.data.crop_size is not None,
      "loss.weights",
      "needs data.augment='none' or crops: the truth does not follow scaled images.",
    )
  if loss.none:
    _require(
      config,
      config.meta.fuse_in_outer,
      "loss.none",
      "needs meta.fuse_in_outer: without a fusion loss only the task can teach F.",
    )
  if loss.task_weight > 0:
    _require(config, not without_task, "loss.task_weight", "needs a task; set task.kind.")
  _check_surroundings_of_g(config)


def _check_surroundings_of_g(config: Config) -> None:
  loss = config.loss
  _require(config, 0 < loss.tone < 1, "loss.tone", "must be between 0 and 1.")
  for field in ("tone", "tone_held", "stride"):
    if loss[field] == base().loss[field]:
      continue
    has_g = uses_g(config) and not loss.none
    needs = "needs loss.weights='learned' or 'given', and a fusion loss."
    _require(config, has_g, f"loss.{field}", needs)
  if loss.tone != 0.5:
    _require_own_order(config, "loss.tone")


def _check_teacher(config: Config) -> None:
  how = config.meta
  _one_of(config, "meta.rule", RULES, own="module:factory")
  _one_of(config, "meta.inner_task", ("sgd", "adam"))
  _one_of(config, "meta.derivative", DERIVATIVES)
  _one_of(config, "meta.inner_fuse", ("sgd", "adam"))
  _one_of(config, "meta.judged_on", JUDGED_ON)
  _one_of(config, "meta.curvature", ("intensity", "both"))
  for field in ("inner_steps", "inner_fuse"):
    _only_of(config, field, "lookahead")
  for field in ("judged_on", "solve_steps", "damping", "curvature"):
    _only_of(config, field, "gauss_newton")
  if how.inner_fuse == "adam":
    adam = config.optim.f.rule in ("adam", "adamw")
    _require(config, adam, "meta.inner_fuse", "needs optim.f.rule='adam' or 'adamw'.")
  _require(
    config,
    not how.rule_options or is_plugin(how.rule),
    "meta.rule_options",
    f"{how.rule} has fields of its own; these are arguments of a rule of your own.",
  )
  if how.steps > 0:
    _require(
      config,
      config.loss.weights == "learned" and config.task.kind != "none",
      "meta.steps",
      "needs loss.weights='learned' and a task: nothing else can teach G. Set meta.steps=0.",
    )
  if how.fuse_in_outer:
    _require(
      config,
      how.rule == "lookahead" or is_plugin(how.rule),
      "meta.fuse_in_outer",
      f"needs meta.rule='lookahead', not {how.rule!r}: F steps along dL_t/dF'.",
    )
    _require(
      config,
      config.stage == "task" or how.steps > 0,
      "meta.fuse_in_outer",
      "meta.steps=0 never trains F: it learns in the G-steps only.",
    )
  _check_anchor(config)


def _only_of(config: Config, field: str, rule: str) -> None:
  """Requires the default of a field that another rule would ignore."""
  changed = config.meta[field] != base().meta[field]
  _require(
    config,
    config.meta.rule == rule or not changed,
    f"meta.{field}",
    f"is for meta.rule={rule!r}, and it is {config.meta.rule!r}.",
  )


def _check_anchor(config: Config) -> None:
  how = config.meta
  _require(config, 0 < how.anchor_to < 1, "meta.anchor_to", "must be between 0 and 1.")
  if how.anchor_to != 0.5:
    _require(config, how.anchor > 0, "meta.anchor_to", "needs meta.anchor > 0.")
    _require_own_order(config, "meta.anchor_to")


def _require_own_order(config: Config, field: str) -> None:
  """Of a constant that is infrared's."""
  swapped = "needs data.swap='none': a constant would follow the exchanged images."
  _require(config, config.data.swap == "none", field, swapped)
