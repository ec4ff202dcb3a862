"""A batch in several parts, and numbers of fewer bits: the same steps in less memory.

Both change how F, G and T are computed, and nothing around them: the losses see the whole batch in
float32, so a loss divides by what the whole batch counts, and so does every rule that teaches G.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from tdfusion_jax.files import UsageError
from tdfusion_jax.tasks import Task


def in_parts(function: Callable, parts: int) -> Callable:
  """`function(params, *images)`, one part of the batch after another.

  The way back computes each part anew, so that the intermediates of one part are all that is kept
  at a time, in both directions. Row r belongs to part r modulo `parts`: rows that are spread over
  devices stay where they are.

  Args:
    function: treats each image by itself; images and results are [B, ...], B a multiple of `parts`.
    parts: of the batch.
  """
  again = jax.checkpoint(function, prevent_cse=False)

  def whole(params, *images):
    split = jax.tree.map(lambda x: _split(x, parts), images)
    return jax.tree.map(_joined, jax.lax.map(lambda part: again(params, *part), split))

  return whole


def task_in_parts(task: Task, parts: int) -> Task:
  """`task` whose network sees one part of the batch after another, as `in_parts` has it.

  Its loss sees the outputs for the whole batch. Batch statistics are those of a part, and the
  running ones move with each.

  Args:
    task: its outputs are arrays [B, ...], or do not depend on the batch.
    parts: of the batch.
  """

  def apply(params, stats, images, *, train, key=None) -> tuple[Any, Any]:
    def one(stats, part, number):
      own = None if key is None else jax.random.fold_in(key, number)
      return task.apply(params, stats, part, train=train, key=own)

    split = _split(images, parts)
    whole_shapes, _ = jax.eval_shape(lambda x: one(stats, x, 0), images)

    def turn(stats, part):
      outputs, stats = jax.checkpoint(one, prevent_cse=False)(stats, *part)
      return stats, outputs

    stats, outputs = jax.lax.scan(turn, stats, (split, jnp.arange(parts)))
    rows = images.shape[0]
    return jax.tree.map(lambda x, like: _as_whole(x, like, rows), outputs, whole_shapes), stats

  return task._replace(apply=apply)


def _split(x: jax.Array, parts: int) -> jax.Array:
  """[B, ...] -> [parts, B / parts, ...]."""
  return jnp.swapaxes(x.reshape(x.shape[0] // parts, parts, *x.shape[1:]), 0, 1)


def _joined(x: jax.Array) -> jax.Array:
  """The way back from `_split`."""
  return jnp.swapaxes(x, 0, 1).reshape(-1, *x.shape[2:])


def _as_whole(x: jax.Array, like: jax.ShapeDtypeStruct, rows: int) -> jax.Array:
  """Outputs of all parts [parts, ...] as those of the whole batch, whose shape is `like`'s."""
  if x.shape[1:] == like.shape:
    return x[0]  # does not depend on the batch, as YOLO's anchor points
  if like.shape[:1] == (rows,) and (x.shape[0] * x.shape[1], *x.shape[2:]) == like.shape:
    return _joined(x)
  raise UsageError(
    "config.train.accumulate needs a task whose outputs are arrays [B, ...]; this one's are "
    f"{like.shape} for a batch of {rows}."
  )


def in_dtype(function: Callable, dtype: Any) -> Callable:
  """`function(params, *images)` computed in `dtype`; parameters, images and results are float32.

  Gradients come back to the parameters as float32, too.
  """

  def lowered(params, *images):
    return _to(jnp.float32, function(_to(dtype, params), *_to(dtype, images)))

  return lowered


def task_in_dtype(task: Task, dtype: Any) -> Task:
  """`task` whose network computes in `dtype`; its statistics and its loss are float32."""

  def apply(params, stats, images, *, train, key=None) -> tuple[Any, Any]:
    outputs, moved = task.apply(
      _to(dtype, params), stats, images.astype(dtype), train=train, key=key
    )
    return _to(jnp.float32, outputs), _to(jnp.float32, moved)

  return task._replace(apply=apply)


def _to(dtype: Any, tree: Any) -> Any:
  """The floating-point arrays of `tree` in `dtype`; what else there is stays."""

  def one(x):
    return x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x

  return jax.tree.map(one, tree)
