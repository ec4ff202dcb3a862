"""The work on one tile between two of F's sums over all pixels, for images too large for memory (`streaming.py`).

F looks at a whole image at seven places only. What lies between two of them is a stage:
`(mixed, tile, place) -> (features of the tile's own pixels or None, sums over them for the next
stage or None)`, with

  mixed   attention as matrices, from the sums of the stage before
  tile    [1, rows + 2 BORDER, columns + 2 BORDER, C], zero outside the image
  place   int32 (first row, first column, height, width): of the tile's own pixels, and of the image

Stages run machine code where that is to be had (`HostStages`), and otherwise XLA (`JaxStages`), for
which all tiles have one shape; what lies outside the image is masked to zero, which is the zero
padding of the convolutions.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tdfusion_jax.engines import host
from tdfusion_jax.networks.fusion import cross_strip, gate_strip
from tdfusion_jax.networks.restormer import channel_attention
from tdfusion_jax.ops import compiling, native
from tdfusion_jax.ops.parts import attend_strip, feed_strip, gram, qkv_of_strip
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
    w = self._weights
    self._blocks = {f"encoder{i + 1}_{j}": w.encoders[i][j] for i in range(2) for j in range(2)}
    self._blocks |= {"decoder_0": w.decoders[0], "decoder_1": w.decoders[1]}

  def start(self, mixed, tile, place):
    """Of the images [..., 2]: the sums for the first blocks."""
    x, own = self._inside(tile, place)
    return None, [
      host.sums(self._blocks[f"encoder{i}_0"], side, own)
      for i, side in enumerate(self._begin(x), 1)
    ]

  def first_encoders(self, mixed, tile, place):
    """Of the images: the first blocks."""
    x, own = self._inside(tile, place)
    sides = self._encoders(mixed, self._begin(x), "0")
    sums = [host.sums(self._blocks[f"encoder{i}_1"], side, own) for i, side in enumerate(sides, 1)]
    return self._kept(np.concatenate(sides, axis=-1), own), sums

  def second_encoders(self, mixed, tile, place):
    """The second blocks, and the sums of the fusion module."""
    x, own = self._inside(tile, place)
    x = np.concatenate(self._encoders(mixed, (x[..., :WIDTH], x[..., WIDTH:]), "1"), axis=-1)
    return self._kept(x, own), [host.sums(self._weights.fusion, x, own)]

  def fusion(self, mixed, tile, place):
    """The fusion module."""
    x, own = self._inside(tile, place)
    x = host.apply(self._weights.fusion, mixed[0], x)
    return self._kept(x, own), [host.sums(self._blocks["decoder_0"], x, own)]

  def first_decoder(self, mixed, tile, place):
    """The decoder's first block."""
    x, own = self._inside(tile, place)
    x = host.apply(self._blocks["decoder_0"], mixed[0], x)
    return self._kept(x, own), [host.sums(self._blocks["decoder_1"], x, own)]

  def end(self, mixed, tile, place):
    """The decoder's second block and the fused pixels."""
    x, own = self._inside(tile, place)
    x = host.apply(self._blocks["decoder_1"], mixed[0], x)
    return self._kept(host.finish(self._weights, x), own), None

  def mixtures(self, sums: list, *names: str) -> list[np.ndarray]:
    """Attention and the projection behind it as one matrix [C, C], for each block."""
    return [
      host.mixture(self._blocks[name], found) for name, found in zip(names, sums, strict=True)
    ]

  def cross_mixtures(self, sums: list) -> list[np.ndarray]:
    """The same for the fusion module."""
    return [host.mixture(self._weights.fusion, sums[0])]

  def _inside(self, tile, place):
    """What of the tile lies in the image, and where its own pixels are in that."""
    cut, own = [], []
    for start, whole, length in zip(
      place[:2].tolist(), place[2:].tolist(), self._size, strict=True
    ):
      first, last = max(0, BORDER - start), min(length + 2 * BORDER, whole - start + BORDER)
      cut.append(slice(first, last))
      own.append(slice(BORDER - first, min(BORDER + length, last) - first))
    return np.ascontiguousarray(tile[0, cut[0], cut[1]]), tuple(own)

  def _begin(self, x):
    return host.begin(self._weights, x[..., :1], x[..., 1:])

  def _kept(self, x, own):
    return x[own][None]

  def _encoders(self, mixed, sides, block):
    return [
      host.apply(self._blocks[f"encoder{i}_{block}"], m, np.ascontiguousarray(side))
      for i, m, side in zip((1, 2), mixed, sides, strict=True)
    ]


class JaxStages:
  """By XLA, one program a stage."""

  def __init__(self, params: Mapping[str, Any], size: tuple[int, int]):
    self._params = jax.tree.map(jnp.asarray, params)
    stage = lambda function: partial(compiling.jit(partial(function, size)), self._params)  # noqa: E731
    self.start, self.first_encoders, self.second_encoders = map(
      stage, (_start, _first_encoders, _second_encoders)
    )
    self.fusion, self.first_decoder, self.end = map(stage, (_fusion, _first_decoder, _end))

  def mixtures(self, sums: list, *names: str) -> list[np.ndarray]:
    """Attention and the projection behind it as one matrix [C, C], for each block."""
    found = zip(sums, (self._params[name]["attn"] for name in names), strict=True)
    return [_mixture(s, attn["temperature"], attn["project_out"]) for s, attn in found]

  def cross_mixtures(self, sums: list) -> list[np.ndarray]:
    """The same for both sides of the fusion module."""
    p = self._params["FM"]
    return [_mixture(s, p[f"temperature{i}"], p[f"project_mid{i}"]) for i, s in enumerate(sums, 1)]


def _mixture(sums, temperature, project) -> np.ndarray:
  sums = tuple(jnp.asarray(x, jnp.float32) for x in sums)
  return np.einsum(
    "cd,co->do", np.asarray(channel_attention(sums, temperature))[0], np.asarray(project)
  )  # pyright: ignore


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

  rows, columns = along(size[0], place[0], place[2]), along(size[1], place[1], place[3])
  return _Masks(
    *(
      (r[:, None] & c[None, :])[None, :, :, None].astype(jnp.float32) for r, c in zip(rows, columns)
    )
  )  # noqa: B905


def _kept(x: jax.Array) -> jax.Array:
  return x[:, BORDER:-BORDER, BORDER:-BORDER]


# The stages, with the tile's size and F's parameters in front.


def _start(size, params, mixed, x, place):
  masks = _masks(size, place)
  a, b = _features(params, x)
  return None, [_sums(params[f"encoder{i}_0"], side, masks) for i, side in ((1, a), (2, b))]


def _first_encoders(size, params, mixed, x, place):
  return _encoders(params, mixed, _features(params, x), _masks(size, place), "0", "1")


def _second_encoders(size, params, mixed, x, place):
  masks = _masks(size, place)
  features, _ = _encoders(params, mixed, (x[..., :WIDTH], x[..., WIDTH:]), masks, "1", None)
  p, weights = params["FM"], []
  for i in (1, 2):
    qk = slice(2 * WIDTH)
    weights.append((p[f"qkv{i}"]["kernel"][:, qk], p[f"qkv{i}_dwconv"]["kernel"][..., qk]))

  def body(weights, _, strips, inside):
    *sides, mask, own = strips
    (q1, k1), (q2, k2) = (
      jnp.split(qkv_of_strip((None, *w), x * mask, inside) * own[:, 1:-1], 2, axis=-1)
      for w, x in zip(weights, sides, strict=True)
    )
    return gram(q2, k1), gram(q1, k2)  # the queries of each modality ask the keys of the other

  sums = over_strips(
    body, weights, (*features, *masks), channels=8 * WIDTH, tiling=_TILING, total=True
  )
  return _kept(jnp.concatenate(features, axis=-1)), list(sums)


def _fusion(size, params, mixed, x, place):
  masks, p, v = _masks(size, place), params["FM"], slice(2 * WIDTH, None)
  values = [(p[f"qkv{i}"]["kernel"][:, v], p[f"qkv{i}_dwconv"]["kernel"][..., v]) for i in (1, 2)]
  tiles = {"channels": 8 * WIDTH, "tiling": _TILING}
  sides = (x[..., :WIDTH], x[..., WIDTH:])  # zero outside the image
  sides = over_strips(cross_strip, values, sides, [m[None] for m in mixed], **tiles)
  gates = (p["project_E"]["kernel"], p["project_E_d"]["kernel"])
  names = ("project_E{}", "project_E{}_d", "project_out{}")
  filters = [tuple(p[name.format(i)]["kernel"] for name in names) for i in (1, 2)]
  x = over_strips(
    gate_strip, (gates, filters), tuple(side * masks.inside for side in sides), **tiles
  )
  return _kept(x), [_sums(params["decoder_0"], x, masks)]


def _first_decoder(size, params, mixed, x, place):
  masks = _masks(size, place)
  x = _block(params["decoder_0"], mixed[0], x, masks)
  return _kept(x), [_sums(params["decoder_1"], x, masks)]


def _end(size, params, mixed, x, place):
  masks = _masks(size, place)
  x = _block(params["decoder_1"], mixed[0], x, masks) * masks.inside
  x = jax.nn.leaky_relu(_conv3x3(x, params["project_out_0"]), 0.01) * masks.inside
  return _kept(jax.nn.sigmoid(_conv3x3(x, params["project_out_1"]))), None


def _encoders(params, mixed, sides, masks, block, following):
  sides = [
    _block(params[f"encoder{i}_{block}"], m, side, masks)
    for i, m, side in zip((1, 2), mixed, sides, strict=True)
  ]
  if following is None:
    return sides, None
  sums = [
    _sums(params[f"encoder{i}_{following}"], side, masks)
    for i, side in zip((1, 2), sides, strict=True)
  ]
  return _kept(jnp.concatenate(sides, axis=-1)), sums


def _features(params, x):
  return tuple(_conv3x3(x[..., i - 1 : i], params[f"project_in_{i}"]) for i in (1, 2))


def _conv3x3(x, p):
  return jax.lax.conv_general_dilated(
    x, p["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
  )


def _block(p, mixed, x, masks):
  """A Restormer block on a tile; right except at the tile's outermost two pixels."""
  c, attn, ffn = x.shape[-1], p["attn"], p["ffn"]
  v = slice(2 * c, None)
  weights = (_norm(p["norm1"]), attn["qkv"]["kernel"][:, v], attn["qkv_dwconv"]["kernel"][..., v])
  x = over_strips(
    lambda w, m, strips, inside: attend_strip(w, m, strips[:1], inside * strips[1]),
    weights,
    (x, masks.inside),
    mixed[None],
    channels=3 * c,
    tiling=_TILING,
  )
  weights = (
    _norm(p["norm2"]),
    *(ffn[name]["kernel"] for name in ("project_in", "dwconv", "project_out")),
  )
  return over_strips(
    lambda w, _, strips, inside: feed_strip(w, (), strips[:1], inside * strips[1]),
    weights,
    (x, masks.inside),
    channels=4 * c,
    tiling=_TILING,
  )


def _sums(p, x, masks):
  """What the attention of block `p` needs to know of this tile's own pixels."""
  c, qk = x.shape[-1], slice(2 * x.shape[-1])
  weights = (
    _norm(p["norm1"]),
    p["attn"]["qkv"]["kernel"][:, qk],
    p["attn"]["qkv_dwconv"]["kernel"][..., qk],
  )

  def body(weights, _, strips, inside):
    x, mask, own = strips
    q, k = jnp.split(qkv_of_strip(weights, x, inside * mask) * own[:, 1:-1], 2, axis=-1)
    return gram(q, k)

  return over_strips(body, weights, (x, *masks), channels=3 * c, tiling=_TILING, total=True)


def _norm(p):
  return p["scale"], p["bias"]
