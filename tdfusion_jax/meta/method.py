"""What is trained and how: the functions and switches that the learning steps are made of."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from tdfusion_jax.batch import Pair
from tdfusion_jax.tasks import Task


class Method(NamedTuple):
  """What is trained and how, as pure functions and plain switches."""

  fuse: Callable[[Any, Any, Any], Any]
  """(f_params, ir, vi) -> fused [B, H, W, 1]."""
  weigh: Callable[[Any, Any, Any], Any]
  """(g_params, ir, vi) -> weights [B, H, W, 2]."""
  fusion_loss: Callable[..., tuple[Any, dict]] | None
  """(fused, ir, vi, weights) -> (L_f, parts); None for no fusion loss at all (ablation V)."""
  task: Task | None
  """None trains F by L_f alone, without labels."""
  train_task: bool = True
  """False keeps a pretrained T as it is, with its running statistics."""
  task_weight: float = 0.0
  """Adds this much of L_t to F's own loss (ablation III)."""
  fuse_in_outer: bool = False
  """F follows dL_t/dF' in the outer step and has no phase of its own (ablations IV and V)."""
  f_weighs: bool = False
  """F is G's network and averages the images by its own weights (ablation V)."""
  dropout: bool = True
  """Whether T drops out while it is trained."""
  batch_statistics: bool = True
  """False trains T with its running statistics, which stay as they are; nothing is dropped out."""


class Judged(NamedTuple):
  """What comes with a value of L_t."""

  t_stats: Any
  """T's new running statistics."""
  parts: dict[str, Any]
  """{name: scalar}, the terms of L_t."""


def loss_weights(method: Method, g_params, pair: Pair) -> jax.Array:
  """The weights [B, H, W, 2] of L_f: those that are known for `pair`, or else G's."""
  if pair.weights is not None:
    return pair.weights
  return method.weigh(g_params, pair.ir, pair.vi)


def task_loss(
  method: Method, t_params, t_stats, fused: jax.Array, target, key
) -> tuple[jax.Array, Judged]:
  """L_t of fused images. T uses batch statistics, unless it or they are kept as they are.

  Args:
    method: functions and switches; its task must not be None.
    t_params: of T.
    t_stats: T's running statistics.
    fused: what T sees, [B, H, W, C].
    target: what the task's loss compares with.
    key: PRNG key of T's dropout.
  """
  assert method.task is not None
  train = method.train_task and method.batch_statistics
  key = key if method.dropout and train else None
  outputs, t_stats = method.task.apply(t_params, t_stats, fused, train=train, key=key)
  loss, parts = method.task.loss(outputs, target)
  return loss, Judged(t_stats, parts)
