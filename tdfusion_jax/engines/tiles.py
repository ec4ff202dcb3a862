"""F's work on one tile between two of its sums over all pixels, for images too large for memory.

F looks at a whole image at seven places only. What lies between two of them is a stage:
`(mixed, tile, place) -> (features of the tile's own pixels or None, sums over them for the next
stage or None)`, with

  mixed   attention as matrices, from the sums of the stage before
  tile    [1, rows + 2 BORDER, columns + 2 BORDER, C], zero outside the image
  place   int32 (first row, first column, height, width): of the tile's own pixels, and of the image

Stages run machine code where that is to be had (`HostStages`), and otherwise XLA (`JaxStages`), for
which all tiles have one shape; what lies outside the image is masked to zero, which is the zero
padding of the convolutions. `fusing.streaming` goes through the tiles.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tdfusion_jax.engines import host
from tdfusion_jax.engines.weights import weights_of
from tdfusion_jax.networks.fusion import cross_strip, cross_sums, gate_strip
from tdfusion_jax.networks.restormer import channel_attention
from tdfusion_jax.ops import compiling, native
from tdfusion_jax.ops.parts import attend_strip, feed_strip, gram, widened
from tdfusion_jax.ops.strips import Tiling, over_strips

WIDTH = 16  # channels of an encoder
FEATURES = 2 * WIDTH
BORDER = 4  # 3x3 convolutions in a row, at most, between what is read and what is kept
_TILING = Tiling(remat=False)


def make_stages(params: Mapping[str, Any], size: tuple[int, int]) -> "HostStages | JaxStages":
  """The stages of F for tiles of `size` own rows and columns; `params` of F, float32."""
  if native.ready() and jax.default_backend() == "cpu":
    return HostStages(params, size)
  return JaxStages(params, size)


class HostStages:
  """By machine code, on the part of a tile that lies in the image."""

  def __init__(self, params: Mapping[str, Any], size: tuple[int, int]):
    self._weights, self._size = host.weights_of(params), size

  def start(self, mixed, tile, place):
    """Of the images [..., 2]: the sums for the first blocks."""
    x, own = self._inside(tile, place)
    return None, self._encoder_sums(0, self._begin(x), own)

  def first_encoders(self, mixed, tile, place):
    """Of the images: the first blocks."""
    x, own = self._inside(tile, place)
    sides = self._encoders(0, mixed, self._begin(x))
    sums = self._encoder_sums(1, sides, own)
    return self._kept(np.concatenate(sides, axis=-1), own), sums

  def second_encoders(self, mixed, tile, place):
    """The second blocks, and the sums of the fusion module."""
    x, own = self._inside(tile, place)
    sides = self._encoders(1, mixed, (x[..., :WIDTH], x[..., WIDTH:]))
    x = np.concatenate(sides, axis=-1)
    return self._kept(x, own), [host.sums(self._weights.fusion, x, own)]

  def fusion(self, mixed, tile, place):
    """The fusion module."""
    x, own = self._inside(tile, place)
    x = host.apply(self._weights.fusion, mixed[0], x)
    return self._kept(x, own), [host.sums(self._weights.decoders[0], x, own)]

  def first_decoder(self, mixed, tile, place):
    """The decoder's first block."""
    x, own = self._inside(tile, place)
    x = host.apply(self._weights.decoders[0], mixed[0], x)
    return self._kept(x, own), [host.sums(self._weights.decoders[1], x, own)]

  def end(self, mixed, tile, place):
    """The decoder's second block and the fused pixels."""
    x, own = self._inside(tile, place)
    x = host.apply(self._weights.decoders[1], mixed[0], x)
    return self._kept(host.finish(self._weights, x), own), None

  def mixtures(self, sums: list, *names: str) -> list[np.ndarray]:
    """Attention and the projection behind it as one matrix [C, C], for each block."""
    blocks = (self._weights.block(name) for name in names)
    return [host.mixture(block, amounts) for block, amounts in zip(blocks, sums, strict=True)]

  def cross_mixtures(self, sums: list) -> list[np.ndarray]:
    """The same for the fusion module."""
    return [host.mixture(self._weights.fusion, sums[0])]

  def _inside(self, tile, place):
    """What of the tile lies in the image, and where its own pixels are in that."""
    cut, own = [], []
    starts, image = place[:2].tolist(), place[2:].tolist()
    for start, whole, length in zip(starts, image, self._size, strict=True):
      first, last = max(0, BORDER - start), min(length + 2 * BORDER, whole - start + BORDER)
      cut.append(slice(first, last))
      own.append(slice(BORDER - first, min(BORDER + length, last) - first))
    return np.ascontiguousarray(tile[0, cut[0], cut[1]]), tuple(own)

  def _begin(self, x):
    return host.begin(self._weights, x[..., :1], x[..., 1:])

  def _kept(self, x, own):
    return x[own][None]

  def _encoders(self, index, mixed, sides):
    return [
      host.apply(encoder[index], m, np.ascontiguousarray(side))
      for encoder, m, side in zip(self._weights.encoders, mixed, sides, strict=True)
    ]

  def _encoder_sums(self, index, sides, own):
    encoders = zip(self._weights.encoders, sides, strict=True)
    return [host.sums(encoder[index], side, own) for encoder, side in encoders]


class JaxStages:
  """By XLA, one program a stage."""

  def __init__(self, params: Mapping[str, Any], size: tuple[int, int]):
    self._weights = weights_of(jax.tree.map(jnp.asarray, params))

    def stage(function):
      return partial(compiling.jit(partial(function, size)), self._weights)

    self.start = stage(_start)
    self.first_encoders = stage(_first_encoders)
    self.second_encoders = stage(_second_encoders)
    self.fusion = stage(_fusion)
    self.first_decoder = stage(_first_decoder)
    self.end = stage(_end)

  def mixtures(self, sums: list, *names: str) -> list[np.ndarray]:
    """Attention and the projection behind it as one matrix [C, C], for each block."""
    blocks = (self._weights.block(name) for name in names)
    return [
      _mixture(amounts, block.temperature, block.project)
      for amounts, block in zip(sums, blocks, strict=True)
    ]

  def cross_mixtures(self, sums: list) -> list[np.ndarray]:
    """The same for both sides of the fusion module."""
    cross = self._weights.fusion
    sides = zip(sums, cross.temperature, cross.project, strict=True)
    return [_mixture(amounts, temperature, project) for amounts, temperature, project in sides]


def _mixture(sums: Any, temperature: jax.Array, project: jax.Array) -> np.ndarray:
  products, q_squares, k_squares = (jnp.asarray(x, jnp.float32) for x in sums)
  attention = channel_attention((products, q_squares, k_squares), temperature)
  return np.einsum("cd,co->do", np.asarray(attention)[0], np.asarray(project))


class _Masks(NamedTuple):
  inside: jax.Array
  """[1, rows, columns, 1]: 1 on the image."""
  own: jax.Array
  """1 on the pixels that this tile is responsible for."""


def _masks(size: tuple[int, int], place: jax.Array) -> _Masks:
  def along(length, start, whole):
    offset = jnp.arange(-BORDER, length + BORDER)
    inside = (start + offset >= 0) & (start + offset < whole)
    return inside, inside & (offset >= 0) & (offset < length)

  def mask(of_rows, of_columns):
    both = of_rows[:, None] & of_columns[None, :]
    return both[None, :, :, None].astype(jnp.float32)

  inside_rows, own_rows = along(size[0], place[0], place[2])
  inside_columns, own_columns = along(size[1], place[1], place[3])
  return _Masks(mask(inside_rows, inside_columns), mask(own_rows, own_columns))


def _kept(x: jax.Array) -> jax.Array:
  return x[:, BORDER:-BORDER, BORDER:-BORDER]


# The stages, with the tile's size and F's weights in front.


def _start(size, weights, mixed, x, place):
  masks = _masks(size, place)
  return None, _encoder_sums(0, weights, _features(weights, x), masks)


def _first_encoders(size, weights, mixed, x, place):
  sides, masks = _features(weights, x), _masks(size, place)
  sides = _encoders(0, weights, mixed, sides, masks)
  sums = _encoder_sums(1, weights, sides, masks)
  return _kept(jnp.concatenate(sides, axis=-1)), sums


def _second_encoders(size, weights, mixed, x, place):
  masks = _masks(size, place)
  sides = _encoders(1, weights, mixed, (x[..., :WIDTH], x[..., WIDTH:]), masks)

  def body(qk, _, strips, inside):
    *sides, mask, own = strips
    return cross_sums(qk, [side * mask for side in sides], inside, own)

  sums = over_strips(
    body, weights.fusion.qk, (*sides, *masks), channels=8 * WIDTH, tiling=_TILING, total=True
  )
  return _kept(jnp.concatenate(sides, axis=-1)), list(sums)


def _fusion(size, weights, mixed, x, place):
  masks, cross = _masks(size, place), weights.fusion
  tiles = {"channels": 8 * WIDTH, "tiling": _TILING}
  sides = (x[..., :WIDTH], x[..., WIDTH:])  # zero outside the image
  sides = over_strips(cross_strip, cross.v, sides, [m[None] for m in mixed], **tiles)
  sides = tuple(side * masks.inside for side in sides)
  x = over_strips(gate_strip, (cross.gates, cross.filtered, cross.out), sides, **tiles)
  return _kept(x), [_sums(weights.decoders[0], x, masks)]


def _first_decoder(size, weights, mixed, x, place):
  masks = _masks(size, place)
  x = _block(weights.decoders[0], mixed[0], x, masks)
  return _kept(x), [_sums(weights.decoders[1], x, masks)]


def _end(size, weights, mixed, x, place):
  masks = _masks(size, place)
  x = _block(weights.decoders[1], mixed[0], x, masks) * masks.inside
  x = jax.nn.leaky_relu(_conv3x3(x, weights.end[0]), 0.01) * masks.inside
  return _kept(jax.nn.sigmoid(_conv3x3(x, weights.end[1]))), None


def _features(weights, x):
  return tuple(_conv3x3(x[..., i : i + 1], weights.start[i]) for i in (0, 1))


def _encoders(index, weights, mixed, sides, masks):
  return [
    _block(encoder[index], m, side, masks)
    for encoder, m, side in zip(weights.encoders, mixed, sides, strict=True)
  ]


def _encoder_sums(index, weights, sides, masks):
  encoders = zip(weights.encoders, sides, strict=True)
  return [_sums(encoder[index], side, masks) for encoder, side in encoders]


def _conv3x3(x, kernel):
  return jax.lax.conv_general_dilated(
    x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
  )


def _block(block, mixed, x, masks):
  """A Restormer block on a tile; right except at the tile's outermost two pixels."""
  c = x.shape[-1]

  def attend(weights, mixed, strips, inside):
    x, mask = strips
    return attend_strip(weights, mixed, (x,), inside * mask)

  def feed(weights, _, strips, inside):
    x, mask = strips
    return feed_strip(weights, (), (x,), inside * mask)

  images = (x, masks.inside)
  x = over_strips(attend, block.v, images, mixed[None], channels=3 * c, tiling=_TILING)
  images = (x, masks.inside)
  return over_strips(feed, (*block.feed, block.out), images, channels=4 * c, tiling=_TILING)


def _sums(block, x, masks):
  """What the attention of a block needs to know of this tile's own pixels."""

  def body(weights, _, strips, inside):
    x, mask, own = strips
    q, k = jnp.split(widened(weights, x, inside * mask) * own[:, 1:-1], 2, axis=-1)
    return gram(q, k)

  channels = 3 * x.shape[-1]
  return over_strips(body, block.qk, (x, *masks), channels=channels, tiling=_TILING, total=True)
