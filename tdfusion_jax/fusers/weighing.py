"""G with its surroundings changed: the constant it begins at or keeps, and the size it looks at."""

import dataclasses
import math

import jax
import jax.numpy as jnp

from tdfusion_jax.fusers.kinds import Weigher

_LEAST = 1e-30
"""Of a weight: far below what G needs, so that one whose tone has run off still has a slope."""
_ROOM = 4
"""Pixels around reduced images, as deep as the network's zeros beyond the border reach visibly."""


def toned(weigher: Weigher, tone: float) -> Weigher:
  """`weigher` with its weights moved by a constant, so that an undecided one gives (c, 1 - c).

  The log-odds of c = `tone` are added to those of w_a: `w_a' = c w_a / (c w_a + (1 - c) w_b)`. G
  then begins near the best constant, if that is known, and has to learn only where to leave it.

  Args:
    weigher: a network in the place of G.
    tone: c in (0, 1); 1/2 changes nothing.
  """

  def weigh(params, ir: jax.Array, vi: jax.Array) -> jax.Array:
    weights = weigher.weigh(params, ir, vi)
    weights = weights * jnp.array([tone, 1 - tone], weights.dtype).reshape(1, 1, 1, 2)
    return weights / weights.sum(axis=-1, keepdims=True)

  return dataclasses.replace(weigher, weigh=weigh)


def held(weigher: Weigher, tone: float) -> Weigher:
  """`weigher`, asked only where an image's weights differ from its own mean, about (c, 1 - c).

  The log-odds of w_a have the mean log(c / (1 - c)) over each image, c = `tone`: whatever the
  network gives to all pixels alike is taken from it. What a constant can do is then c's part, to be
  chosen as a constant is, and what G learns is what no constant can do. Left to G, the common tone
  is the steepest direction of the task loss, and it wanders for as long as G learns.

  Args:
    weigher: a network in the place of G.
    tone: c in (0, 1).
  """
  level = math.log(tone / (1 - tone))

  def weigh(params, ir: jax.Array, vi: jax.Array) -> jax.Array:
    # A pixel whose weight has underflowed to 0 would make the mean, and with it all, not a number.
    logs = jnp.log(jnp.maximum(weigher.weigh(params, ir, vi), _LEAST))
    logits = logs[..., :1] - logs[..., 1:]
    logits = logits - logits.mean(axis=(1, 2), keepdims=True) + level
    return jnp.concatenate([jax.nn.sigmoid(logits), jax.nn.sigmoid(-logits)], axis=-1)

  return dataclasses.replace(weigher, weigh=weigh)


def strided(weigher: Weigher, stride: int) -> Weigher:
  """`weigher` on images reduced by `stride`, its weights enlarged to their size again.

  A G that looks at half the size costs a quarter, and sees twice as far around a pixel. Images are
  averaged in squares of `stride` pixels, the last row and column repeated where the size is no
  multiple; weights are interpolated bilinearly between the squares' centres. The network also sees
  the border repeated around the images: zeros beyond it would leave a frame of `stride` times their
  reach in the weights.

  Args:
    weigher: a network in the place of G.
    stride: >= 1; 1 changes nothing.
  """

  def weigh(params, ir: jax.Array, vi: jax.Array) -> jax.Array:
    height, width = ir.shape[1:3]
    weights = weigher.weigh(
      params, _with_room(_reduced(ir, stride)), _with_room(_reduced(vi, stride))
    )
    weights = weights[:, _ROOM:-_ROOM, _ROOM:-_ROOM]
    rows, columns = weights.shape[1] * stride, weights.shape[2] * stride
    enlarged = jax.image.resize(weights, (len(weights), rows, columns, 2), "linear")
    return enlarged[:, :height, :width]

  return dataclasses.replace(weigher, weigh=weigh)


def _with_room(images: jax.Array) -> jax.Array:
  """[B, H, W, 1] with the border repeated by `_ROOM` pixels on each side."""
  return jnp.pad(images, ((0, 0), (_ROOM, _ROOM), (_ROOM, _ROOM), (0, 0)), "edge")


def _reduced(images: jax.Array, stride: int) -> jax.Array:
  """Means over squares: [B, H, W, 1] -> [B, ceil(H / stride), ceil(W / stride), 1]."""
  batch, height, width, channels = images.shape
  images = jnp.pad(images, ((0, 0), (0, -height % stride), (0, -width % stride), (0, 0)), "edge")
  rows, columns = images.shape[1] // stride, images.shape[2] // stride
  return images.reshape(batch, rows, stride, columns, stride, channels).mean(axis=(2, 4))
