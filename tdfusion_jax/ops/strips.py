"""Works through images in strips of rows that stay in the processor's cache.

A chain such as normalise, 1x1, depthwise 3x3, gate, 1x1 does little arithmetic on much memory:
whole-image intermediates, several times as wide as the image, would be written and read back from
main memory at every link. Strip by strip they never leave the cache, and with recomputation in the
backward pass they are never stored at all. Plain scans over slices of the leading axis, so every
derivative (forward, reverse, nested) works in strips too.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tdfusion_jax.ops import native
from tdfusion_jax.ops.platform import platform


class Tiling(NamedTuple):
  """How images are cut, and what the backward pass keeps."""

  strip_bytes: int | None = None
  """Aim for the widest intermediate of a strip. None: 4 MiB on CPU; whole images elsewhere."""
  remat: bool = True
  """Recompute a strip's intermediates in the backward pass: less memory, and on CPU less time."""
  native: bool = True
  """Let machine code do the work where it can (`ops.blocks`), which always recomputes."""


_CPU_STRIP_BYTES = 4 << 20


def machine_code(x: jax.Array, tiling: Tiling) -> bool:
  """Whether machine code can take an image here: on CPU, float32 or float64, sizes known."""
  if not tiling.native or platform() != "cpu":
    return False
  if x.dtype not in (jnp.float32, jnp.float64):
    return False
  return all(isinstance(n, int) and n > 0 for n in x.shape) and native.ready()


class Cut(NamedTuple):
  """How a batch of images becomes strips."""

  rows: int
  """Of a strip; may exceed what the last strip of an image has left."""
  at_once: int
  """Strips per turn."""
  per_image: int
  """Strips of an image."""


def cut(
  batch: Any, height: Any, width: Any, *, channels: int, itemsize: int, strip_bytes: int | None
) -> Cut:
  """Chooses the strips.

  Args:
    batch: images. Sizes may be symbols, in a program that is exported for all of them; such images
      stay whole.
    height: of an image, pixels.
    width: of an image, pixels.
    channels: of the widest intermediate.
    itemsize: bytes of a number.
    strip_bytes: the intermediate's size to aim for; None: whole images.
  """
  if strip_bytes is None or not all(isinstance(n, int) for n in (batch, height, width)):
    return Cut(height, batch, 1)
  row = width * channels * itemsize
  if row * height <= strip_bytes:
    divisors = [n for n in range(1, batch + 1) if batch % n == 0]
    fitting = [n for n in divisors if n == 1 or n * row * height <= strip_bytes]
    return Cut(height, max(fitting), 1)
  most = max(4, strip_bytes // row)
  # A divisor of the height spares the copy that padding it costs.
  even = [rows for rows in range(most, most // 2, -1) if height % rows == 0]
  rows = even[0] if even else math.ceil(height / math.ceil(height / most))
  return Cut(rows, 1, math.ceil(height / rows))


def over_strips(
  body: Callable,
  weights: Any,
  images: tuple[jax.Array, ...],
  per_image: Any = (),
  *,
  channels: int,
  tiling: Tiling,
  total: bool = False,
) -> Any:
  """Applies `body` to strips of rows and puts the results together.

  Args:
    body: `(weights, per_image, strips, inside) -> out`. `strips` are [P, R + 2, W, C], one per
      image array: the strip's R rows and one more above and below, zeros outside the image.
      `inside` [P, R + 2, 1, 1] is 1 on rows of the image and 0 elsewhere. `out` is a tree of [P, R,
      W, ...], rows of images; with `total`, of [P, ...], amounts to be summed over an image.
    weights: tree that every strip sees.
    images: [B, H, W, C] each, channels may differ.
    per_image: tree of [B, ...].
    channels: of the widest intermediate in `body`.
    tiling: sizes and recomputation.
    total: whether `body` gives amounts to be summed over an image, in place of rows.

  Returns:
    Tree of [B, H, W, ...], or [B, ...] with `total`.
  """
  batch, height, width = images[0].shape[:3]
  plan = cut(
    batch,
    height,
    width,
    channels=channels,
    itemsize=images[0].dtype.itemsize,
    strip_bytes=_strip_bytes(tiling),
  )
  if tiling.remat:
    # In a scan nothing can be merged with what is recomputed; XLA may then be left free.
    body = jax.checkpoint(body, prevent_cse=plan.at_once == batch)
  inside = _inside(height, plan).astype(images[0].dtype)
  if plan.rows == height and plan.at_once == batch:  # one turn: no scan
    strips = tuple(jnp.pad(image, ((0, 0), (1, 1), (0, 0), (0, 0))) for image in images)
    return body(weights, per_image, strips, jnp.broadcast_to(inside, (batch, *inside.shape[1:])))
  turns = batch * plan.per_image // plan.at_once

  def to_turns(x):
    return x.reshape(turns, plan.at_once, *x.shape[1:])

  def of_each_strip(x):
    return to_turns(jnp.repeat(x, plan.per_image, axis=0))

  xs = (
    jax.tree.map(of_each_strip, per_image),
    [jax.tree.map(to_turns, _strips(image, plan)) for image in images],
    to_turns(jnp.tile(inside, (batch, 1, 1, 1))),
  )

  def turn(_, xs):
    own, parts, inside = xs
    strips = tuple(jnp.concatenate(part, axis=1) for part in parts)
    return None, body(weights, own, strips, inside)

  _, outs = jax.lax.scan(turn, None, xs)
  if total:
    return jax.tree.map(lambda y: y.reshape(batch, plan.per_image, *y.shape[2:]).sum(1), outs)
  rows = plan.per_image * plan.rows
  return jax.tree.map(lambda y: y.reshape(batch, rows, *y.shape[3:])[:, :height], outs)


def _strip_bytes(tiling: Tiling) -> int | None:
  if tiling.strip_bytes is None and platform() == "cpu":
    return _CPU_STRIP_BYTES
  return tiling.strip_bytes


def _inside(height, plan: Cut) -> jax.Array:
  """[strips of an image, R + 2, 1, 1]: 1 where a strip's row is a row of the image."""
  if plan.per_image == 1:
    return jnp.pad(jnp.ones((1, height, 1, 1), bool), ((0, 0), (1, 1), (0, 0), (0, 0)))
  rows = np.arange(plan.per_image)[:, None] * plan.rows + np.arange(-1, plan.rows + 1)
  return jnp.asarray(((rows >= 0) & (rows < height))[:, :, None, None])


def _strips(image: jax.Array, plan: Cut) -> tuple[jax.Array, jax.Array, jax.Array]:
  """(row above, rows, row below) of all strips, [strips, 1 or R, W, C].

  Handed over apart, so that the rows themselves are a view of the image and only two rows a strip
  are copied.
  """
  batch, height, width, channels = image.shape
  missing = plan.rows * plan.per_image - height
  if missing:
    image = jnp.pad(image, ((0, 0), (0, missing), (0, 0), (0, 0)))
  rows = image.reshape(batch, plan.per_image, plan.rows, width, channels)
  nothing = jnp.zeros((batch, 1, 1, width, channels), image.dtype)
  above = jnp.concatenate([nothing, rows[:, :-1, -1:]], axis=1)
  below = jnp.concatenate([rows[:, 1:, :1], nothing], axis=1)
  above, rows, below = (
    x.reshape(batch * plan.per_image, *x.shape[2:]) for x in (above, rows, below)
  )
  return above, rows, below
