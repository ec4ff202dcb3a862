"""Update rules by name, with their learning-rate schedules."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

RULES = ("adam", "adamw", "sgd", "nesterov", "max_norm_sgd")


def schedule(
  learning_rate: float,
  steps_per_epoch: int,
  *,
  decay_every: int = 0,
  decay_rate: float = 1.0,
  warmup_steps: int = 0,
  final_rate: float = 1.0,
  total_steps: int = 0,
) -> Callable:
  """Step -> learning rate.

  Args:
    learning_rate: the rate that the rest multiplies.
    steps_per_epoch: for `decay_every`.
    decay_every: epochs after which the rate falls by `decay_rate`; 0 is never.
    decay_rate: factor of such a fall.
    warmup_steps: rise linearly over so many steps.
    final_rate: fall linearly to this share of the rate over all steps; 1 is no fall.
    total_steps: all steps, for `final_rate`.
  """
  rate = optax.constant_schedule(learning_rate)
  if decay_every:
    transition = decay_every * max(steps_per_epoch, 1)
    rate = optax.exponential_decay(learning_rate, transition, decay_rate, staircase=True)
  if final_rate == 1 and not warmup_steps:
    return rate
  fall = optax.linear_schedule(1.0, final_rate, max(total_steps, 1))

  def rise(step):
    return jnp.minimum((step + 1) / max(warmup_steps, 1), 1)

  return lambda step: rate(step) * fall(step) * rise(step)


def normalise_by_max() -> optax.GradientTransformation:
  """Divides the whole gradient by its largest absolute entry, as the public code does for G.

  A zero gradient stays zero.
  """

  def update(updates, state, params=None):
    del params
    of_each = [jnp.max(jnp.abs(leaf)) for leaf in jax.tree.leaves(updates)]
    largest = jnp.stack(of_each).max()
    # The inner `where` keeps 1 / 0 out of the branch that is not chosen.
    scale = jnp.where(largest > 0, 1 / jnp.where(largest > 0, largest, 1), 0)
    return jax.tree.map(lambda leaf: leaf * scale, updates), state

  return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def optimiser(
  rule: str, learning_rate: Callable | float, *, eps: float = 1e-8
) -> optax.GradientTransformation:
  """An update rule.

  Args:
    rule: "adam"; "adamw" (decay 0.01, usual for SegFormer); "sgd"; "nesterov" (momentum 0.937,
      decay 5e-4, usual for YOLOv8); or "max_norm_sgd" (`normalise_by_max`, then SGD). Decay spares
      vectors: biases and norms.
    learning_rate: constant or schedule.
    eps: of Adam and AdamW. Meta-gradients at the paper's inner rate of 1e-4 have entries near 1e-8,
      so G needs a small one.
  """
  if rule == "adam":
    return optax.adam(learning_rate, eps=eps)
  if rule == "adamw":
    return optax.adamw(learning_rate, eps=eps, weight_decay=0.01, mask=_matrices)
  if rule == "nesterov":
    return optax.chain(
      optax.add_decayed_weights(5e-4, mask=_matrices),
      optax.sgd(learning_rate, momentum=0.937, nesterov=True),
    )
  if rule == "sgd":
    return optax.sgd(learning_rate)
  if rule == "max_norm_sgd":
    return optax.chain(normalise_by_max(), optax.sgd(learning_rate))
  raise ValueError(f"update rule {rule!r} is not one of {', '.join(RULES)}.")


def _matrices(params):
  """What weight decay is for: all but vectors and scalars."""
  return jax.tree.map(lambda leaf: leaf.ndim > 1, params)
