"""From a config to functions: the one place where numbers and names become networks, losses and optimisers."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from tdfusion_jax import checkpoint, compiling, meta, optimisers
from tdfusion_jax.batch import Views
from tdfusion_jax.config import Config, ConfigError
from tdfusion_jax.data import DiskCachedSource, RecordSource, SkippingSource, get_source
from tdfusion_jax.data.fused import IMAGES
from tdfusion_jax.data.loader import AUGMENTS, StepSource
from tdfusion_jax.data.records import plain_options
from tdfusion_jax.data.skipping import BAD_SAMPLES
from tdfusion_jax.data.source import CachedSource, Source
from tdfusion_jax.data.truth import TruthStepSource
from tdfusion_jax.integrations import scenic
from tdfusion_jax.losses.fusion import fusion_loss
from tdfusion_jax.method import Method
from tdfusion_jax.networks.fusion import FusionNet
from tdfusion_jax.networks.lossgen import LossNet
from tdfusion_jax.ops.strips import Tiling
from tdfusion_jax.state import TrainState
from tdfusion_jax.tasks import Task
from tdfusion_jax.tasks.detection import detection
from tdfusion_jax.tasks.segmentation import segmentation

_TILING = Tiling()
TASKS = {"detection": detection, "segmentation": segmentation, "scenic": scenic.task_from_names}
# Kinds of labels that a data set holds, where they are not named like the task.
_LABELS = {"scenic": "segmentation"}


class Experiment(NamedTuple):
  """A config made real: what `train` needs, and nothing that needs training."""

  method: Method
  g_step: Any
  """(state, {"mtr", "mts"}) -> (state, {name: scalar}), jitted, state donated."""
  ft_step: Any
  """(state, {"ftr"}) -> (state, {name: scalar}), jitted, state donated."""
  steps: StepSource
  val: Source
  init: Any
  """() -> TrainState."""


def fuse_net(f_params, ir: jax.Array, vi: jax.Array, *, tiling: Tiling = _TILING) -> Any:
  """F: [B, H, W, 1] twice -> fused [B, H, W, 1]."""
  return FusionNet(tiling).apply({"params": f_params}, ir, vi)


def weigh_net(g_params, ir: jax.Array, vi: jax.Array, *, tiling: Tiling = _TILING) -> Any:
  """G: [B, H, W, 1] twice -> (w_a, w_b) [B, H, W, 2]."""
  return LossNet(tiling).apply({"params": g_params}, ir, vi)


def fuse_average(g_params, ir: jax.Array, vi: jax.Array, *, tiling: Tiling = _TILING) -> jax.Array:
  """Ablation V: `I_f = w_a a + w_b b` with G's own weights."""
  weights = weigh_net(g_params, ir, vi, tiling=tiling)
  return jnp.sum(weights * jnp.concatenate([ir, vi], axis=-1), axis=-1, keepdims=True)


def weigh_constant(g_params, ir: jax.Array, vi: jax.Array, *, w_a: float) -> jax.Array:
  """The same (w_a, 1 - w_a) everywhere; `g_params` is empty."""
  del g_params, vi
  return jnp.concatenate([jnp.full_like(ir, w_a), jnp.full_like(ir, 1 - w_a)], axis=-1)


def weigh_truth(g_params, ir: jax.Array, vi: jax.Array) -> jax.Array:
  """The true weights that `TruthStepSource` puts beside `ir`, [B, H, W, 2]."""
  del g_params, vi
  return jnp.concatenate([ir[..., 1:], 1 - ir[..., 1:]], axis=-1)


def _first_of_ir(function):
  """`function(first, ir, ...)` with ir's first channel: what is an image where `TruthStepSource` made it."""
  return function and (lambda first, ir, *rest: function(first, ir[..., :1], *rest))


def finished(f_params, ir: jax.Array, vi: jax.Array) -> jax.Array:
  """The task stage: images that are fused already come as `ir`."""
  del f_params, vi
  return ir


def two_channels(f_params, ir: jax.Array, vi: jax.Array) -> jax.Array:
  """The task stage without fusion: both images as channels, [B, H, W, 2]."""
  del f_params
  return jnp.concatenate([ir, vi], axis=-1)


FUSERS = {"fusion": (FusionNet, fuse_net), "average": (LossNet, fuse_average)}


def check(config: Config) -> None:
  """Raises ConfigError, naming the field, for settings that contradict each other."""
  rules = [
    (config.stage not in ("fusion", "task"), f"stage={config.stage!r}: fusion or task."),
    (config.fused.images not in IMAGES, f"fused.images={config.fused.images!r}: one of {', '.join(IMAGES)}."),
    (
      (config.fused.images == "folder") != bool(config.fused.folder),
      f"fused.images={config.fused.images!r} with fused.folder={config.fused.folder!r}: give both or neither.",
    ),
    (config.stage == "task" and config.task.kind == "none", "stage='task' needs a task."),
    (config.data.augment not in AUGMENTS, f"data.augment={config.data.augment!r}: one of {', '.join(AUGMENTS)}."),
    (config.meta.rule not in meta.RULES, f"meta.rule={config.meta.rule!r}: one of {', '.join(meta.RULES)}."),
    (
      config.task.kind not in (*TASKS, "none"),
      f"task.kind={config.task.kind!r}: one of {', '.join(TASKS)}, none.",
    ),
    (
      config.loss.weights not in ("learned", "fixed", "truth"),
      f"loss.weights={config.loss.weights!r}: learned, fixed or truth.",
    ),
    (
      config.loss.weights == "truth" and bool(config.log.validate_every),
      "loss.weights='truth' needs log.validate_every=0: it is known for training pairs only.",
    ),
    (not 0 <= config.loss.fixed_w_a <= 1, f"loss.fixed_w_a={config.loss.fixed_w_a}: must be in [0, 1]."),
    (
      config.loss.weights == "fixed" and config.loss.fixed_w_a != 0.5 and config.data.swap != "none",
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
      config.loss.none and not config.meta.fuse_in_outer,
      "loss.none needs meta.fuse_in_outer: without a fusion loss only the task can teach.",
    ),
    (
      config.meta.inner_task not in ("sgd", "adam"),
      f"meta.inner_task={config.meta.inner_task!r}: sgd or adam.",
    ),
    (
      config.task.kind == "detection" and any(s % 32 for s in config.data.task_size),
      f"data.task_size={tuple(config.data.task_size)}: detection needs multiples of 32.",
    ),
    (
      config.data.bad_samples not in BAD_SAMPLES,
      f"data.bad_samples={config.data.bad_samples!r}: one of {', '.join(BAD_SAMPLES)}.",
    ),
    (config.data.cache_disk_mb < 0, f"data.cache_disk_mb={config.data.cache_disk_mb}: at least 0."),
    (config.data.batch_size < 1, f"data.batch_size={config.data.batch_size}: at least 1."),
  ]
  for broken, message in rules:
    if broken:
      raise ConfigError("config." + message)


def task(config: Config, num_classes: int) -> Task | None:
  """The downstream task, or None."""
  if config.task.kind == "none":
    return None
  options = dict(config.task.options)
  if config.stage == "task" and config.fused.images == "both":
    options["in_channels"] = 2
  try:
    return TASKS[config.task.kind](num_classes, variant=config.task.variant, **options)
  except scenic.ScenicError as error:
    raise ConfigError(f"config.task: {error}") from error


def method(config: Config, judge: Task | None) -> Method:
  """The functions and switches of the learning steps."""
  tiling = Tiling(remat=config.train.remat)
  loss = None
  if config.stage == "task":
    fuse = two_channels if config.fused.images == "both" else finished
    return Method(fuse, partial(weigh_constant, w_a=0.5), None, judge, fuse_in_outer=True, dropout=config.task.dropout)
  if not config.loss.none:
    loss = partial(fusion_loss, alpha=config.loss.alpha, intensity=config.loss.intensity)
  fuse = partial(fuse_average if config.loss.none else fuse_net, tiling=tiling)
  weigh = partial(weigh_constant, w_a=config.loss.fixed_w_a)
  if config.loss.weights == "learned":
    weigh = partial(weigh_net, tiling=tiling)
  elif config.loss.weights == "truth":
    weigh = weigh_truth
    fuse, loss = _first_of_ir(fuse), _first_of_ir(loss)
  return Method(
    fuse=fuse,
    weigh=weigh,
    fusion_loss=loss,
    task=judge,
    train_task=not config.task.frozen,
    inner_task=config.meta.inner_task,
    task_weight=config.loss.task_weight,
    fuse_in_outer=config.meta.fuse_in_outer,
    dropout=config.task.dropout,
    derivative=config.meta.derivative,
    rule=config.meta.rule,
  )


def source(config: Config, split: str, *, own_task: bool = False) -> Source:
  """The pairs of `split`, "train", "val" or "test" (with val's options).

  Their labels must fit `config.task` unless the task is the user's own.
  """
  data = config.data
  chosen = data.train_options if split == "train" else data.val_options
  options = {k: v for k, v in chosen.items() if v not in ("", None)}
  if data.records_dir:
    found: Source = RecordSource(data.records_dir, data.name, data[f"{split}_split"], **options)
  else:
    found = get_source(data.name, root=data.root or None, split=data[f"{split}_split"], **options)
  kind = None if config.task.kind == "none" else _LABELS.get(config.task.kind, config.task.kind)
  if kind is not None and found.kind != kind and not own_task:
    raise ConfigError(f"config.task.kind={kind!r} does not fit {data.name}, which holds labels for: {found.kind}.")
  if data.bad_samples == "skip" and split == "train":
    found = SkippingSource(found)
  if data.cache_dir:
    where = str(Path(data.records_dir or data.root or "").expanduser().absolute())
    about = {"name": data.name, "where": where, "split": data[f"{split}_split"], "options": plain_options(options)}
    found = DiskCachedSource(found, data.cache_dir, data.cache_disk_mb << 20, about)
  return CachedSource(found, data.cache_mb << 20) if data.cache_mb else found


def optimiser(config: Config, letter: str, steps_per_epoch: int) -> optax.GradientTransformation:
  """The update rule of "f", "g" or "t"."""
  rule = config.optim[letter]
  return optimisers.optimiser(rule.rule, _schedule(config, rule.learning_rate, steps_per_epoch), eps=rule.eps)


def _schedule(config: Config, rate: float, steps_per_epoch: int):
  optim = config.optim
  return optimisers.schedule(
    rate,
    steps_per_epoch,
    decay_every=optim.decay_every,
    decay_rate=optim.decay_rate,
    warmup_steps=optim.warmup_steps,
    final_rate=optim.final_rate,
    total_steps=steps_per_epoch * config.train.epochs,
  )


def _step_source(config: Config, pairs: Source) -> StepSource:
  data = config.data
  kind = TruthStepSource if config.loss.weights == "truth" else StepSource
  return kind(
    pairs,
    epochs=config.train.epochs,
    g_steps=config.meta.steps,
    batch_size=data.batch_size,
    meta_pairs=config.meta.pairs,
    crop_size=tuple(data.crop_size) if data.crop_size else None,
    task_size=tuple(data.task_size),
    max_boxes=data.max_boxes,
    swap=data.swap,
    flip=data.flip,
    seed=config.seed,
    num_classes=len(pairs.classes) if config.task.kind != "none" else None,
    pretrain_steps=config.train.pretrain_steps,
    augment=config.data.augment,
  )


def experiment(config: Config, judge: Task | None = None, pairs: tuple[Source, Source] | None = None) -> Experiment:
  """Everything a training run needs.

  Args:
    config: from a file in `configs/`.
    judge: a task of your own in place of `config.task`; it gets the targets that the data source hands out.
    pairs: sources for training and validation in place of those that `config.data` names.

  Raises:
    ConfigError, DatasetError: contradicting fields, missing or unfitting data, naming the field or file.
  """
  check(config)
  train, val = pairs or (source(config, split, own_task=judge is not None) for split in ("train", "val"))
  if pairs is None and judge is None and list(train.classes) != list(val.classes):
    raise ConfigError(
      f"config.data: training and validation name their classes differently, {list(train.classes)} and "
      f"{list(val.classes)}; a class would be taken for another."
    )
  steps = _step_source(config, train)
  how = method(config, judge or task(config, len(train.classes)))
  # Each optimiser counts its own steps; pre-training moves the clocks of F and T on a little.
  rules = {k: optimiser(config, k, steps.g_steps if k == "g" else steps.ft_steps) for k in "fgt"}
  rates = [_schedule(config, rate, steps.g_steps + steps.ft_steps) for rate in (config.meta.eta_f, config.meta.eta_t)]
  eta = lambda step: tuple(rate(jnp.maximum(step - steps.pretrain_steps, 0)) for rate in rates)  # noqa: E731
  g_step, ft_step = meta.make_steps(how, rules["f"], rules["g"], rules["t"], eta)
  return Experiment(
    method=how,
    g_step=compiling.jit(g_step, donate_argnums=0),
    ft_step=compiling.jit(ft_step, donate_argnums=0),
    steps=steps,
    val=val,
    init=partial(init_state, config, how, rules, steps.task_size),
  )


def init_state(config: Config, how: Method, rules: dict, task_size: tuple[int, int]) -> TrainState:
  """Where training starts: fresh or given weights, optimisers `rules` ("f", "g", "t") at rest."""
  key, f_key, g_key, t_key = jax.random.split(jax.random.key(config.seed), 4)
  fuser, _ = FUSERS[fuser_name(config)]
  image = jnp.zeros((1, *task_size, 1))
  if config.stage == "task":
    f_params, image = {}, how.fuse({}, image, image)
  else:
    f_params = _start(config, "f", partial(_init, fuser(), f_key))["params"]
  g_params: Any = {}
  if config.loss.weights == "learned":
    g_params = _start(config, "g", partial(_init, LossNet(), g_key))["params"]
  t_params, t_stats = {}, {}
  if how.task:
    judge, names = how.task, ("params", "batch_stats")
    started = _start(config, "t", lambda: dict(zip(names, judge.init(t_key, image), strict=True)))
    t_params, t_stats = (started.get(name, {}) for name in names)
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    key=key,
    f_params=f_params,
    g_params=g_params,
    t_params=t_params,
    t_stats=t_stats,
    f_opt=rules["f"].init(f_params),
    g_opt=rules["g"].init(g_params) if g_params else {},
    t_opt=rules["t"].init(t_params) if how.task else {},
  )


def _init(network: nn.Module, key) -> dict:
  image = jnp.zeros((1, 16, 16, 1))
  return {"params": jax.jit(network.init)(key, image, image)["params"]}


def _start(config: Config, letter: str, make: Callable[[], dict]) -> dict:
  """What `make` makes, {"params": ...} and the like, or what the file in `init.<letter>` holds in its place."""
  path = config.init[letter]
  if not path:
    return make()
  loaded, _ = checkpoint.load_weights(path)
  return jax.tree.map(jnp.asarray, checkpoint.match(loaded, jax.eval_shape(make), f"{path} (init.{letter})"))


def fuser_name(config: Config) -> str:
  """Which of `FUSERS` this config trains."""
  return "average" if config.loss.none else "fusion"


def shipped_weights() -> Path:
  """The weights of F that come with the package."""
  return Path(__file__).with_name("weights") / "f.safetensors"


def fusion_file(*, checkpoint_dir: str | Path | None = None, weights: str | Path | None = None) -> Path:
  """The weight file that `load_fusion` reads.

  Raises:
    CheckpointError: no such run.
  """
  if checkpoint_dir is None:
    return shipped_weights() if weights is None else Path(weights)
  inside = Path("weights") / "f.safetensors"
  if not (Path(checkpoint_dir) / inside).is_file():
    raise checkpoint.CheckpointError(f"{checkpoint_dir} is not a run folder with {inside}.")
  return Path(checkpoint_dir) / inside


def load_fusion(*, checkpoint_dir: str | Path | None = None, weights: str | Path | None = None):
  """The fusion function of a run folder, of a weight file, or of the weights that ship with the package.

  Args:
    checkpoint_dir: a run's workdir; its newest exported weights are taken.
    weights: a `.safetensors` file of F.

  Returns:
    (fuse_fn, params) with `fuse_fn(params, ir, vi)` on [B, H, W, 1] in [0, 1].

  Raises:
    CheckpointError: no such run or file, or it holds something else.
  """
  weights = fusion_file(checkpoint_dir=checkpoint_dir, weights=weights)
  loaded, metadata = checkpoint.load_weights(weights)
  name = metadata.get("arch", "fusion")
  if name not in FUSERS:
    raise checkpoint.CheckpointError(f"{weights} holds {name!r}, not a fusion network.")
  network, fuse_fn = FUSERS[name]
  shapes = jax.eval_shape(lambda: _init(network(), jax.random.key(0)))
  return fuse_fn, checkpoint.match(loaded, shapes, str(weights))["params"]


def config_to_json(config: Config) -> dict:
  """The config as plain JSON values."""
  return json.loads(config.to_json())


def to_device(views: dict[str, Views]) -> dict[str, Views]:
  """A NumPy batch on the default device."""
  return jax.tree.map(jnp.asarray, views)
