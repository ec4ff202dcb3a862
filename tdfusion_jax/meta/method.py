"""What is trained and how: the functions and switches that the learning steps are made of."""

from collections.abc import Callable
from typing import Any, NamedTuple

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
  inner_task: str = "sgd"
  """T's look-ahead: "sgd" (Eq. 5), or "adam", upstream's, which also moves T's Adam state."""
  task_weight: float = 0.0
  """Adds this much of L_t to F's own loss (ablation III)."""
  fuse_in_outer: bool = False
  """F takes dL_t/dF' in the outer step and has no phase of its own (ablations IV and V)."""
  f_weighs: bool = False
  """F is G's network and averages the images by its own weights, `weigh(f_params, ...)` (ablation V)."""
  rule: str = "lookahead"
  """What teaches G: "lookahead", one step of F (Eq. 6), or "equilibrium", see `equilibrium.py`."""
  anchor: float = 0.0
  """Holds the weights of the equilibrium rule to `anchor_to` where T does not care; 0 does not."""
  anchor_to: float = 0.5
  dropout: bool = True
  derivative: str = "forward_over_reverse"
  """How Eq. 7 is derived: the cheap exact form, or plain reverse mode through the inner gradient.
  """


def task_loss(method: Method, t_params, t_stats, fused, target, key):
  """L_t of fused images: (loss, (new running statistics, parts)). Batch statistics unless T is frozen."""
  assert method.task is not None
  key = key if method.dropout and method.train_task else None
  outputs, t_stats = method.task.apply(t_params, t_stats, fused, train=method.train_task, key=key)
  loss, parts = method.task.loss(outputs, target)
  return loss, (t_stats, parts)
