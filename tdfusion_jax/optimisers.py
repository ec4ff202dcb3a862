"""Update rules by name, with their learning-rate schedules."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

RULES = ("adam", "sgd", "max_norm_sgd")


def schedule(learning_rate: float, steps_per_epoch: int, *, decay_every: int = 0, decay_rate: float = 1.0) -> Callable:
  """Step -> learning rate: constant, or times `decay_rate` after every `decay_every` epochs (0: never)."""
  if not decay_every:
    return optax.constant_schedule(learning_rate)
  return optax.exponential_decay(
    learning_rate,
    transition_steps=decay_every * max(steps_per_epoch, 1),
    decay_rate=decay_rate,
    staircase=True,
  )


def normalise_by_max() -> optax.GradientTransformation:
  """Divides the whole gradient by its largest absolute entry (upstream's G-step); a zero gradient stays zero."""

  def update(updates, state, params=None):
    del params
    largest = jnp.stack([jnp.max(jnp.abs(leaf)) for leaf in jax.tree.leaves(updates)]).max()
    scale = jnp.where(largest > 0, 1 / jnp.where(largest > 0, largest, 1), 0)
    return jax.tree.map(lambda leaf: leaf * scale, updates), state

  return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def optimiser(rule: str, learning_rate: Callable | float, *, eps: float = 1e-8) -> optax.GradientTransformation:
  """An update rule.

  Args:
    rule: "adam", "sgd", or "max_norm_sgd" (`normalise_by_max`, then SGD).
    learning_rate: constant or schedule.
    eps: of Adam. Meta-gradients at the paper's inner rate of 1e-4 have entries near 1e-8, so G wants a small one.
  """
  if rule == "adam":
    return optax.adam(learning_rate, eps=eps)
  if rule == "sgd":
    return optax.sgd(learning_rate)
  if rule == "max_norm_sgd":
    return optax.chain(normalise_by_max(), optax.sgd(learning_rate))
  raise ValueError(f"update rule {rule!r} is not one of {', '.join(RULES)}.")
