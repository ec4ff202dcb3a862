"""From a config to functions.

The one place where numbers and names become networks, losses and optimisers.
"""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from tdfusion_jax import fusers, meta
from tdfusion_jax.batch import Views
from tdfusion_jax.config import Config, ConfigError
from tdfusion_jax.data import DiskCachedSource, RecordSource, SkippingSource, get_source
from tdfusion_jax.data.caches import CachedSource
from tdfusion_jax.data.loader import StepSource
from tdfusion_jax.data.records.source import plain_options
from tdfusion_jax.data.source import Source
from tdfusion_jax.files import is_plugin, made_by
from tdfusion_jax.integrations import scenic
from tdfusion_jax.losses.fusion import fusion_loss
from tdfusion_jax.meta import Method, Optimisers, Rates, Solve, Teacher, anchored
from tdfusion_jax.meta.gauss_newton import gauss_newton
from tdfusion_jax.meta.lookahead import lookahead
from tdfusion_jax.tasks import Task
from tdfusion_jax.tasks.detection import WHOLE_CURVE, detection
from tdfusion_jax.tasks.own import own_task
from tdfusion_jax.tasks.segmentation import segmentation
from tdfusion_jax.train import computing, controls, devices, optimisers, recipe, task_optimiser
from tdfusion_jax.train.checks import check, labels_needed
from tdfusion_jax.train.initial import init_state, require_classes
from tdfusion_jax.train.networks import Networks, networks, uses_g
from tdfusion_jax.train.views import step_source

TASKS = {"detection": detection, "segmentation": segmentation, "scenic": scenic.task_from_names}


_DRAWN = 0.25  # least score of a box in pictures, as YOLOv8's predictions have it


class Experiment(NamedTuple):
  """A config made real: what `train` needs, and nothing that needs training."""

  networks: Networks
  method: Method
  g_step: Any
  """(state, {"mtr", "mts"}) -> (state, {name: scalar}), jitted, state donated."""
  ft_step: Any
  """(state, {"ftr"}) -> (state, {name: scalar}), jitted, state donated."""
  steps: StepSource
  val: Source
  init: Any
  """() -> TrainState."""
  mesh: Mesh | None = None
  """The devices that share each batch; None is one device."""
  drawn: float = 0.0
  """Least score of a box in pictures; T's scores count all."""


def scored(config: Config) -> Config:
  """`config` with a T of ours that gives all that its scores count, down to unlikely boxes."""
  config = config.copy_and_resolve_references()
  if config.task.kind == "detection":
    with config.unlocked():
      config.task.options.update(WHOLE_CURVE)
  return config


def task(config: Config, num_classes: int) -> Task | None:
  """The downstream task, or None."""
  if config.task.kind == "none":
    return None
  options = dict(config.task.options)
  if config.stage == "task" and config.fused.images == "both":
    options["in_channels"] = 2
  if is_plugin(config.task.kind):
    return own_task(config.task.kind, num_classes, config.task.variant, options)
  try:
    return TASKS[config.task.kind](num_classes, variant=config.task.variant, **options)
  except scenic.ScenicError as error:
    raise ConfigError(f"config.task: {error}") from error


def method(config: Config, judge: Task | None, used: Networks | None = None) -> Method:
  """The functions and switches of the learning steps.

  Args:
    config: checked.
    judge: T, or None.
    used: networks in the places of F and G; None makes those that `config` names.
  """
  loss = None
  if config.stage == "task":
    fuse = controls.two_channels if config.fused.images == "both" else controls.finished
    halves = partial(controls.weigh_constant, w_a=0.5)
    return Method(
      fuse,
      halves,
      None,
      judge,
      fuse_in_outer=True,
      dropout=config.task.dropout,
      batch_statistics=config.task.statistics == "batch",
    )
  if not config.loss.none:
    loss = partial(fusion_loss, alpha=config.loss.alpha, intensity=config.loss.intensity)
  used = networks(config) if used is None else used
  fuse = used.fuser.fuse
  weigh = partial(controls.weigh_constant, w_a=config.loss.fixed_w_a)
  if uses_g(config):
    weigh = used.weigher.weigh
  return Method(
    fuse=fuse,
    weigh=weigh,
    fusion_loss=loss,
    task=judge,
    train_task=not config.task.frozen,
    task_weight=config.loss.task_weight,
    fuse_in_outer=config.meta.fuse_in_outer,
    f_weighs=config.loss.none,
    dropout=config.task.dropout,
    batch_statistics=config.task.statistics == "batch",
  )


def teacher(
  config: Config, rates: Callable[[Any], Rates], t_optimiser: optax.GradientTransformation
) -> Teacher:
  """What G lowers.

  Args:
    config: checked.
    rates: step -> the inner learning rates, for the paper's rule.
    t_optimiser: T's optimiser, for the look-ahead of the public code (`meta.inner_task="adam"`).

  Raises:
    ConfigError, UsageError: a rule of the user's own that cannot be made.
  """
  how = config.meta
  return anchored(_rule(config, rates, t_optimiser), how.anchor, how.anchor_to)


def _rule(config: Config, rates, t_optimiser) -> Teacher:
  """`teacher` before its anchor."""
  how = config.meta
  if how.rule == "lookahead":
    return lookahead(
      rates,
      t_optimiser if how.inner_task == "adam" else None,
      how.derivative,
      f_steps=how.inner_steps,
      f_preconditioned=how.inner_fuse == "adam",
    )
  if how.rule == "gauss_newton":
    of_gradient = config.loss.alpha if how.curvature == "both" else 0.0
    return gauss_newton(Solve(how.solve_steps, how.damping, of_gradient), how.judged_on)
  if how.rule in meta.RULES:
    return meta.RULES[how.rule]()
  return made_by(how.rule, "config.meta.rule", **how.rule_options)


def source(config: Config, split: str, *, own_task: bool = False) -> Source:
  """The pairs of `split`, "train", "val" or "test" (with val's options).

  Their labels must fit `config.task` unless the task is the user's own.
  """
  pairs, options = _read(config, split)
  kind = labels_needed(config.task.kind)
  if kind is not None and pairs.kind != kind and not own_task:
    raise ConfigError(
      f"config.task.kind={kind!r} does not fit {config.data.name}, which holds labels for: "
      f"{pairs.kind}."
    )
  # A validation score over other pairs would be another score, so only training skips.
  if config.data.bad_samples == "skip" and split == "train":
    pairs = SkippingSource(pairs)
  return _cached(config, pairs, split, options)


def _read(config: Config, split: str) -> tuple[Source, dict[str, Any]]:
  """The pairs as they are on disk, and the options they were read with."""
  data = config.data
  chosen = data.train_options if split == "train" else data.val_options
  options = {k: v for k, v in chosen.items() if v not in ("", None)}
  name_of_split = data[f"{split}_split"]
  if data.records_dir:
    return RecordSource(data.records_dir, data.name, name_of_split, **options), options
  root = data.root or None
  return get_source(data.name, root=root, split=name_of_split, **options), options


def _cached(config: Config, pairs: Source, split: str, options: dict[str, Any]) -> Source:
  """`pairs` behind the caches that are asked for: memory above disk."""
  data = config.data
  if data.cache_dir:
    where = Path(data.records_dir or data.root or "").expanduser().absolute()
    about = {
      "name": data.name,
      "where": str(where),
      "split": data[f"{split}_split"],
      "options": plain_options(options),
    }
    pairs = DiskCachedSource(pairs, data.cache_dir, data.cache_disk_mb << 20, about)
  return CachedSource(pairs, data.cache_mb << 20) if data.cache_mb else pairs


def optimiser(config: Config, letter: str, steps_per_epoch: int) -> optax.GradientTransformation:
  """The update rule of "f", "g" or "t"."""
  rule = config.optim[letter]
  return optimisers.optimiser(
    rule.rule, _schedule(config, rule.learning_rate, steps_per_epoch), eps=rule.eps
  )


def _optimisers(config: Config, steps: StepSource) -> Optimisers:
  """Each counts its own steps; pre-training moves the clocks of F and T on a little."""
  if recipe.has_recipe(config):
    pairs = steps.source
    how = recipe.recipe_of(config, steps.ft_steps, len(pairs), len(pairs.classes))
    of_t = task_optimiser.task_optimiser(how)
  else:
    of_t = optimiser(config, "t", steps.ft_steps)
  return Optimisers(
    f=optimiser(config, "f", steps.ft_steps),
    g=optimiser(config, "g", steps.g_steps),
    t=of_t,
    t_average=recipe.averaging_of(config),
  )


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


def experiment(
  config: Config,
  judge: Task | None = None,
  pairs: tuple[Source, Source] | None = None,
  *,
  fuser: fusers.Fuser | None = None,
  weigher: fusers.Weigher | None = None,
) -> Experiment:
  """Everything a training run needs.

  Args:
    config: from a file in `configs/`.
    judge: a task of your own in place of `config.task`; it gets the targets that the data source
      hands out.
    pairs: sources for training and validation in place of those that `config.data` names.
    fuser: a network of your own in place of `config.fusion.network`.
    weigher: likewise of `config.loss.network`.

  Raises:
    ConfigError, DatasetError: contradicting fields, missing or unfitting data, naming the field or
      file.
  """
  check(config)
  used = networks(config, fuser, weigher)
  train, val = pairs or (
    source(config, split, own_task=judge is not None) for split in ("train", "val")
  )
  if pairs is None and judge is None and list(train.classes) != list(val.classes):
    raise ConfigError(
      "config.data: training and validation name their classes differently, "
      f"{list(train.classes)} and {list(val.classes)}; a class would be taken for another."
    )
  require_classes(config, train.classes)
  mesh = devices.mesh_of(config)
  steps = step_source(config, train, devices.rows_of_process(config, mesh))
  drawn = 0.0
  if judge is None:
    judge = task(scored(config), len(train.classes))
    if config.task.kind == "detection":
      drawn = config.task.options.get("score_threshold", _DRAWN)
  for of_split in (train, val):
    _require_labels(judge, of_split)
  how = method(config, judge, used)
  rules = _optimisers(config, steps)
  taught_by = teacher(config, _inner_rates(config, steps), rules.t)
  g_step, ft_step = meta.make_steps(computing.as_computed(config, how, mesh), taught_by, rules)
  return Experiment(
    networks=used,
    method=how,
    g_step=computing.compiled(g_step, mesh),
    ft_step=computing.compiled(ft_step, mesh),
    steps=steps,
    val=val,
    init=partial(init_state, config, how, rules, steps.task_size, used),
    mesh=mesh,
    drawn=drawn,
  )


def _require_labels(judge: Task | None, pairs: Source) -> None:
  if judge is not None and judge.labels not in (None, pairs.kind):
    raise ConfigError(
      f"config.task: this task reads labels for {judge.labels}, and they are for {pairs.kind} in "
      f"{pairs.describe()}; choose other data, or another task."
    )


def _inner_rates(config: Config, steps: StepSource) -> Callable[[Any], Rates]:
  """Step -> inner learning rates, which fall like the outer ones, counted in steps of all kinds."""
  steps_per_epoch = steps.g_steps + steps.ft_steps
  of_f = _schedule(config, config.meta.eta_f, steps_per_epoch)
  of_t = _schedule(config, config.meta.eta_t, steps_per_epoch)

  def rates(step):
    since_pretraining = jnp.maximum(step - steps.pretrain_steps, 0)
    return Rates(of_f(since_pretraining), of_t(since_pretraining))

  return rates


def config_to_json(config: Config) -> dict:
  """The config as plain JSON values."""
  return json.loads(config.to_json())


def to_device(views: dict[str, Views]) -> dict[str, Views]:
  """A NumPy batch on the default device."""
  return jax.tree.map(jnp.asarray, views)
