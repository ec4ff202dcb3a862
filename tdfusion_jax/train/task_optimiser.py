"""How T steps by a recipe: warm-up, groups, summed gradients, clipping, and a moving average.

Written from the published settings of Ultralytics (docs.ultralytics.com/usage/cfg) and of SegFormer
(OpenMMLab); whole steps are compared with the public packages in tests/with_torch.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tdfusion_jax.meta import Average, Averaging, Params

RULES = ("adam", "adamw", "sgd", "nesterov")
NO_DECAY = ("vectors", "norms")
FALLS_BY = ("step", "epoch")
_OWN_DECAY = {"adamw": 0.01, "nesterov": 5e-4}
_BETAS = (0.9, 0.999)  # of Adam


class Recipe(NamedTuple):
  """The fields `optim.t.*` by the same names, and what they count in."""

  rule: str
  learning_rate: float
  eps: float
  weight_decay: float
  no_decay: str
  momentum: float
  head_factor: float
  poly_power: float
  falls_by: str
  warmup_epochs: float
  warmup_from: float
  warmup_bias_rate: float
  warmup_momentum: float
  nominal_batch: int
  loss_times_batch: bool
  clip_norm: float
  ema: float
  ema_ramp: float
  warmup_steps: int
  """`optim.warmup_steps`; with `warmup_epochs` the least length of the warm-up."""
  final_rate: float
  """`optim.final_rate`, the share of the rate at the end."""
  batch_size: int
  steps_per_epoch: int
  """Batches in an epoch."""
  epochs: int


class Rates(NamedTuple):
  """What holds for one batch."""

  weights: jax.Array
  """Learning rate of all but biases."""
  biases: jax.Array
  momentum: jax.Array


class TaskOptState(NamedTuple):
  """What T's optimiser remembers."""

  seen: jax.Array
  """[] int32, batches."""
  updates: jax.Array
  """[] int32, steps of T."""
  newest: jax.Array
  """[] int32, the batch of the newest step; -1 before the first."""
  gradients: Any
  """Sum since then, like T's parameters; `()` where each batch is a step."""
  moments: tuple
  """(momentum,) or Adam's (first, second), each like T's parameters; `()` of sgd."""


def warmup_length(recipe: Recipe) -> int:
  """Batches of the warm-up."""
  if recipe.warmup_epochs:
    return max(round(recipe.warmup_epochs * recipe.steps_per_epoch), recipe.warmup_steps)
  return recipe.warmup_steps


def rates(recipe: Recipe, seen: jax.Array) -> Rates:
  """Rates and momentum of the batch before which `seen` others came."""
  seen = jnp.asarray(seen, jnp.result_type(float))
  done = jnp.floor(seen / recipe.steps_per_epoch) if recipe.falls_by == "epoch" else seen
  whole = recipe.epochs * (1 if recipe.falls_by == "epoch" else recipe.steps_per_epoch)
  left = jnp.maximum(1 - done / max(whole, 1), 0) ** recipe.poly_power
  rate = recipe.learning_rate * (recipe.final_rate + (1 - recipe.final_rate) * left)
  length = warmup_length(recipe)
  share = jnp.minimum(seen / length, 1) if length else jnp.ones_like(seen)
  if recipe.warmup_from < 0:
    weights = rate * (jnp.minimum((seen + 1) / length, 1) if length else 1)
  else:
    weights = rate * (recipe.warmup_from + (1 - recipe.warmup_from) * share)
  biases, momentum = weights, jnp.full_like(seen, recipe.momentum)
  if recipe.warmup_bias_rate >= 0:
    biases = recipe.warmup_bias_rate + (rate - recipe.warmup_bias_rate) * share
  if recipe.warmup_momentum >= 0:
    momentum = recipe.warmup_momentum + (recipe.momentum - recipe.warmup_momentum) * share
  return Rates(weights, biases, momentum)


def batches_per_step(recipe: Recipe) -> np.ndarray:
  """How many batches a step sums: of each batch of the warm-up and, last, of all after it.

  In the warm-up that rises linearly from 1.
  """
  most = max(round(recipe.nominal_batch / recipe.batch_size), 1)
  length = warmup_length(recipe)
  if not length:
    return np.array([most])
  rising = np.interp(np.arange(length + 1), [0, length], [1, most])
  return np.round(rising).astype(int)


def weight_decay(recipe: Recipe) -> float:
  """Of a step; where batches are summed, for the images that are really in it."""
  decay = recipe.weight_decay
  decay = _OWN_DECAY.get(recipe.rule, 0.0) if decay < 0 else decay
  if not recipe.nominal_batch:
    return decay
  return decay * recipe.batch_size * int(batches_per_step(recipe)[-1]) / recipe.nominal_batch


def task_optimiser(recipe: Recipe) -> optax.GradientTransformation:
  """T's update rule by a recipe. Its state is a `TaskOptState`.

  One call is one batch. Where several are summed, T stays as it is until the last of them.
  """
  summing = recipe.nominal_batch > 0
  count = {"adam": 2, "adamw": 2, "nesterov": 1, "sgd": 0}[recipe.rule]
  lengths = batches_per_step(recipe)
  # As whole numbers: batches from which on a step sums two, three, ...
  longer_from = np.searchsorted(lengths, np.arange(2, lengths[-1] + 1))
  scale = float(recipe.batch_size) if recipe.loss_times_batch else 1.0

  def init(params):
    def zeros():
      return jax.tree.map(jnp.zeros_like, params)

    sums = zeros() if summing else ()
    moments = tuple(zeros() for _ in range(count))
    seen, updates, newest = (jnp.full((), value, jnp.int32) for value in (0, 0, -1))
    return TaskOptState(seen, updates, newest, sums, moments)

  def update(updates, state, params=None):
    assert params is not None
    grads: Any = updates
    if scale != 1:
      grads = jax.tree.map(lambda g: g * scale, grads)
    if summing:
      grads = jax.tree.map(jnp.add, state.gradients, grads)
    step, moments = _step(recipe, clipped(grads, recipe.clip_norm), state, params)
    ready = jnp.ones((), bool)
    if summing:
      ready = state.seen - state.newest >= 1 + jnp.sum(state.seen >= longer_from)
      step = _where(ready, step, jax.tree.map(jnp.zeros_like, step))
      moments = _where(ready, moments, state.moments)
      grads = _where(ready, jax.tree.map(jnp.zeros_like, grads), grads)
    return step, TaskOptState(
      seen=state.seen + 1,
      updates=state.updates + ready.astype(jnp.int32),
      newest=jnp.where(ready, state.seen, state.newest),
      gradients=grads if summing else (),
      moments=moments,
    )

  return optax.GradientTransformation(init, update)


def _step(recipe: Recipe, grads, state: TaskOptState, params) -> tuple[Any, tuple]:
  """(what it adds to T, the moments after it)."""
  now, decay = rates(recipe, state.seen), weight_decay(recipe)

  def decayed(path, leaf, param):
    return leaf + decay * param if decay and not _spared(recipe, path, param) else leaf

  def added(path, way):
    return -_rate(recipe, now, path).astype(way.dtype) * way

  if recipe.rule != "adamw":
    grads = jax.tree_util.tree_map_with_path(decayed, grads, params)
  way, moments = grads, ()
  if recipe.rule in ("adam", "adamw"):
    way, moments = _adam(grads, state, recipe.eps)
  elif recipe.rule == "nesterov":
    way, moments = _nesterov(grads, state, now.momentum)
  if recipe.rule == "adamw":
    way = jax.tree_util.tree_map_with_path(decayed, way, params)
  return jax.tree_util.tree_map_with_path(added, way), moments


def _nesterov(grads, state: TaskOptState, share: jax.Array) -> tuple[Any, tuple]:
  def moved(old, g):
    return share.astype(g.dtype) * old + g

  momentum = jax.tree.map(moved, state.moments[0], grads)
  return jax.tree.map(lambda g, m: moved(m, g), grads, momentum), (momentum,)


def _adam(grads, state: TaskOptState, eps: float) -> tuple[Any, tuple]:
  low, high = _BETAS
  first = jax.tree.map(lambda m, g: low * m + (1 - low) * g, state.moments[0], grads)
  second = jax.tree.map(lambda v, g: high * v + (1 - high) * g * g, state.moments[1], grads)

  def direction(m, v):
    count = (state.updates + 1).astype(m.dtype)
    return m / (1 - low**count) / (jnp.sqrt(v / (1 - high**count)) + eps)

  return jax.tree.map(direction, first, second), (first, second)


def clipped(grads: Any, most: float) -> Any:
  """`grads`, scaled down so that their norm as a whole is at most `most`; 0 leaves any.

  The small number beside the norm is PyTorch's.
  """
  if not most:
    return grads
  factor = jnp.minimum(most / (optax.tree.norm(grads) + 1e-6), 1)
  return jax.tree.map(lambda g: g * factor.astype(g.dtype), grads)


def _names(path) -> list[str]:
  return [str(getattr(part, "key", getattr(part, "name", part))) for part in path]


def _in_head(path) -> bool:
  return any("head" in name for name in _names(path))


def _spared(recipe: Recipe, path, leaf) -> bool:
  """Whether weight decay leaves this parameter out."""
  if recipe.no_decay == "vectors":
    return leaf.ndim < 2
  # Of OpenMMLab's rules for "head" and "norm" the first that fits is the only one.
  return not _in_head(path) and any("norm" in name for name in _names(path))


def _rate(recipe: Recipe, now: Rates, path) -> jax.Array:
  rate = now.biases if _names(path)[-1:] == ["bias"] else now.weights
  return rate * recipe.head_factor if _in_head(path) else rate


def _where(ready, new, old):
  return jax.tree.map(lambda a, b: jnp.where(ready, a, b), new, old)


def averaging(decay: float, ramp: float) -> Averaging:
  """Moving averages of T's parameters and running statistics; they move with each step of T.

  For the states of `task_optimiser`.

  The weight of what was is `decay * (1 - exp(-updates / ramp))`: at the start the average is nearly
  T itself.
  """

  def init(params, stats):
    # Copies: a state whose arrays are donated must not hold one twice.
    return Average(*jax.tree.map(jnp.array, (params, stats)), updates=jnp.zeros((), jnp.int32))

  def update(average: Average, params: Params, t_opt: TaskOptState) -> Average:
    count = t_opt.updates.astype(jnp.result_type(float))
    moves = t_opt.updates > average.updates
    kept = jnp.where(moves, decay * (1 - jnp.exp(-count / ramp)), 1)

    def mixed(old, new):
      return kept.astype(old.dtype) * old + (1 - kept).astype(old.dtype) * new

    return Average(
      params=jax.tree.map(mixed, average.params, params.t),
      stats=jax.tree.map(mixed, average.stats, params.t_stats),
      updates=t_opt.updates.copy(),
    )

  return Averaging(init, update)


def chosen_by_ultralytics(recipe: Recipe, num_images: int, num_classes: int) -> Recipe:
  """`recipe` with what `optimizer=auto` of Ultralytics 8.x chooses for short trainings.

  Up to 10000 steps of `nominal_batch` images: AdamW at `0.002 * 5 / (4 + classes)`; else SGD at
  0.01 with momentum 0.9. No bias begins faster than the other parameters.

  Args:
    recipe: of rule "auto".
    num_images: of an epoch.
    num_classes: of the data set.
  """
  images = max(recipe.batch_size, recipe.nominal_batch)
  steps = -(-num_images // images) * recipe.epochs
  chosen = {"rule": "nesterov", "learning_rate": 0.01, "momentum": 0.9}
  if steps <= 10_000:
    rate = round(0.002 * 5 / (4 + num_classes), 6)
    chosen = {"rule": "adamw", "learning_rate": rate}
  decay = recipe.weight_decay if recipe.weight_decay >= 0 else _OWN_DECAY["nesterov"]
  return recipe._replace(**chosen, weight_decay=decay, warmup_bias_rate=0.0)
