"""F on images too large for memory: the same result, computed tile by tile.

F looks at a whole image at seven places only: the channel attention of its six blocks and of its fusion module needs
sums over all pixels of q k^T, q^2 and k^2. So the image is swept six times. Each sweep goes through the tiles of
the image, finishes one block and adds up the sums that the next one needs; the features between two sweeps
(32 channels, both encoders side by side) lie in one temporary file, which a sweep rewrites in place. A tile is computed
with a border as wide as the sweep has 3x3 convolutions in a row, so there are no seams.

All tiles have one shape, whatever the image's; what lies outside the image is masked to zero, which is the zero
padding of the convolutions. Sums over tiles are kept in float64.
"""

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tdfusion_jax import compiling
from tdfusion_jax.fusing import LUMINANCE, coloured
from tdfusion_jax.imageio import ImageError, Pixels, to_bytes
from tdfusion_jax.networks.fusion import cross_strip, gate_strip
from tdfusion_jax.networks.restormer import attend_strip, channel_attention, feed_strip, gram, qkv_of_strip
from tdfusion_jax.ops.strips import Tiling, over_strips

_WIDTH = 16  # channels of an encoder
_FEATURES = 2 * _WIDTH
_TILING = Tiling(remat=False)
_BORDER = 4  # 3x3 convolutions in a row, at most, between what is read and what is kept

Told = Callable[[float], None]


class Tile(NamedTuple):
  """Pixels that a tile is responsible for; it is computed with `_BORDER` more on each side."""

  rows: int = 128
  columns: int = 1024


def fuse_streamed(
  params: Mapping[str, Any],
  ir: Pixels,
  vi: Pixels,
  *,
  folder: str | Path | None = None,
  tile: Tile = Tile(),  # noqa: B008
  told: Told = lambda done: None,
) -> np.ndarray:
  """The fused luminance of one pair in bounded memory; equals F of the whole images to rounding.

  Memory: 4 bytes a pixel for the result, and about 600 bytes for each pixel of `tile.rows` full rows.

  Args:
    params: of F (`networks.fusion.FusionNet`), float32.
    ir, vi: of equal height and width.
    folder: for the temporary file of 128 bytes a pixel, which goes when the work ends, however it ends; None: the
      system's.
    tile: what is computed at a time.
    told: called with the finished part of the work, 0 to 1.

  Returns:
    [H, W, 1] float32 in (0, 1), not stretched.

  Raises:
    ImageError: sizes differ, or the temporary file finds no room.
  """
  height, width = ir.array.shape[:2]
  if vi.array.shape[:2] != (height, width):
    raise ImageError(f"ir and vi differ in size ({ir.array.shape} and {vi.array.shape}).")
  columns = min(tile.columns, -(-width // 8) * 8)  # an image narrower than a tile gets a tile of its own width
  grid = _Grid(height, width, min(tile.rows, height), columns)
  params = jax.tree.map(jnp.asarray, params)
  bands = -(-height // grid.rows)
  steps = iter(range(1, 6 * bands + 1))
  tell = lambda: told(next(steps) / (6 * bands))  # noqa: E731
  fused = np.empty((height, width, 1), np.float32)
  try:
    with tempfile.TemporaryFile(dir=folder, prefix="tdfusion-") as file:
      store = _Store(file.fileno(), grid)
      sweep = partial(_sweep, grid, params, tell)
      sums = sweep(_start, (), _Images(ir, vi), None)
      sums = sweep(_first_encoders, _mixtures(params, sums, "encoder1_0", "encoder2_0"), _Images(ir, vi), store)
      sums = sweep(_second_encoders, _mixtures(params, sums, "encoder1_1", "encoder2_1"), store, store)
      sums = sweep(_fusion, _cross_mixtures(params, sums), store, store)
      sums = sweep(_first_decoder, _mixtures(params, sums, "decoder_0"), store, store)
      sweep(_end, _mixtures(params, sums, "decoder_1"), store, _Result(fused))
  except OSError as error:
    need = height * width * _FEATURES * 4 / 1e9
    raise ImageError(f"no room for {need:.1f} GB of features in {folder or tempfile.gettempdir()}: {error}") from error
  return fused


def finish(fused: np.ndarray, ir: Pixels, vi: Pixels, *, stretch: bool = False, rows: int = 64) -> np.ndarray:
  """A fused luminance [H, W, 1] with the inputs' colour, [H, W, 1 or 3] uint8; as `fusing.make_fuse_fn` has it."""
  low, high = (float(fused.min()), float(fused.max())) if stretch else (0.0, 1.0)
  if high <= low:
    low, high = 0.0, 1.0
  channels = max(ir.array.shape[-1], vi.array.shape[-1])
  out = np.empty((*fused.shape[:2], channels), np.uint8)
  paint = jax.jit(coloured)
  for start in range(0, fused.shape[0], rows):
    stop = min(start + rows, fused.shape[0])
    part = (fused[start:stop] - low) / (high - low)
    out[start:stop] = to_bytes(np.asarray(paint(part, ir.rows(start, stop), vi.rows(start, stop))))
  return out


class _Grid(NamedTuple):
  height: int
  width: int
  rows: int
  columns: int

  @property
  def padded_width(self) -> int:
    return -(-self.width // self.columns) * self.columns + 2 * _BORDER


class _Images:
  """Both luminances as two channels."""

  channels = 2

  def __init__(self, ir: Pixels, vi: Pixels):
    self._sides = (ir, vi)

  def read(self, start: int, stop: int) -> np.ndarray:
    grays = [side.rows(start, stop) for side in self._sides]
    return np.concatenate([gray if gray.shape[-1] == 1 else (gray @ LUMINANCE)[..., None] for gray in grays], axis=-1)


class _Store:
  """Features [H, W, 32] in a file, a row after another. Not memory-mapped, which would count as memory in use."""

  channels = _FEATURES

  def __init__(self, file: int, grid: _Grid):
    self._file, self._width = file, grid.width
    self._row = grid.width * _FEATURES * 4

  def read(self, start: int, stop: int) -> np.ndarray:
    rows = np.empty((stop - start, self._width, _FEATURES), np.float32)
    view, at = rows.reshape(-1).view(np.uint8).data, start * self._row
    while view:
      count = os.preadv(self._file, [view], at)
      if count == 0:
        raise OSError("the temporary file ends early")
      view, at = view[count:], at + count
    return rows

  def write(self, start: int, rows: np.ndarray) -> None:
    view, at = rows.reshape(-1).view(np.uint8).data, start * self._row
    while view:
      count = os.pwrite(self._file, view, at)
      view, at = view[count:], at + count


class _Result:
  channels = 1

  def __init__(self, fused: np.ndarray):
    self._fused = fused

  def write(self, start: int, rows: np.ndarray) -> None:
    self._fused[start : start + len(rows)] = rows


def _sweep(grid: _Grid, params: Any, tell: Callable, stage: Callable, mixed: Any, source: Any, target: Any) -> Any:
  """Applies `stage` to all tiles, from `source` into `target`, and returns the sums.

  A row is read once, before it is overwritten: what a band shares with the next is kept.
  """
  program = compiling.jit(partial(stage, (grid.rows, grid.columns)))
  sums: Any = None
  with ThreadPoolExecutor(1) as disk:
    writing: Future | None = None
    for start, band in _bands(grid, source, disk):
      stop = min(start + grid.rows, grid.height)
      out = np.empty((stop - start, grid.width, target.channels), np.float32) if target else None
      for left, result in _tiles(grid, program, params, mixed, band, start):
        features, amounts = result
        if amounts is not None:
          amounts = jax.tree.map(lambda x: np.asarray(x, np.float64), amounts)
          sums = amounts if sums is None else jax.tree.map(np.add, sums, amounts)
        if out is not None:
          right = min(left + grid.columns, grid.width)
          out[:, left:right] = np.asarray(features)[0, : stop - start, : right - left]
      if writing is not None:
        writing.result()
      writing = disk.submit(target.write, start, out) if target else None
      tell()
    if writing is not None:
      writing.result()
  return sums


def _bands(grid: _Grid, source: Any, disk: ThreadPoolExecutor) -> Iterator[tuple[int, np.ndarray]]:
  """(first row, [rows + 2 borders, padded width, C]): each row of the source is read once, one band ahead."""
  shape = (grid.rows + 2 * _BORDER, grid.padded_width, source.channels)
  edges = [0, *(min(start + grid.rows + _BORDER, grid.height) for start in range(0, grid.height, grid.rows))]
  kept = np.zeros((2 * _BORDER, *shape[1:]), np.float32)
  reading = disk.submit(source.read, edges[0], edges[1])
  for i, start in enumerate(range(0, grid.height, grid.rows)):
    band = np.zeros(shape, np.float32)
    band[: 2 * _BORDER] = kept
    if i == 0:
      band[_BORDER : _BORDER + edges[1], _BORDER : _BORDER + grid.width] = reading.result()
    else:
      band[2 * _BORDER : 2 * _BORDER + edges[i + 1] - edges[i], _BORDER : _BORDER + grid.width] = reading.result()
    kept = band[grid.rows :].copy()
    if i + 2 < len(edges):
      reading = disk.submit(source.read, edges[i + 1], edges[i + 2])
    yield start, band


def _tiles(grid: _Grid, program: Callable, params: Any, mixed: Any, band: np.ndarray, start: int) -> Iterator:
  """(left column, result) of the tiles of a band; the next is prepared while one is computed."""
  waiting = None
  for left in range(0, grid.width, grid.columns):
    part = np.ascontiguousarray(band[:, left : left + grid.columns + 2 * _BORDER])[None]
    place = np.array([start, left, grid.height, grid.width], np.int32)
    result = program(params, mixed, part, place)
    if waiting is not None:
      yield waiting
    waiting = (left, result)
  if waiting is not None:
    yield waiting


class _Masks(NamedTuple):
  inside: jax.Array
  """[1, rows, columns, 1]: 1 on the image."""
  own: jax.Array
  """1 on the pixels that this tile is responsible for."""


def _masks(size: tuple[int, int], place: jax.Array) -> _Masks:
  def along(length, start, whole):
    offset = jnp.arange(-_BORDER, length + _BORDER)
    inside = (start + offset >= 0) & (start + offset < whole)
    return inside, inside & (offset >= 0) & (offset < length)

  rows, columns = along(size[0], place[0], place[2]), along(size[1], place[1], place[3])
  return _Masks(*((r[:, None] & c[None, :])[None, :, :, None].astype(jnp.float32) for r, c in zip(rows, columns)))  # noqa: B905


def _kept(x: jax.Array) -> jax.Array:
  return x[:, _BORDER:-_BORDER, _BORDER:-_BORDER]


# The stages: (tile's size, params, mixed, pixels with borders, place) -> (features of the tile, sums for the next).


def _start(size, params, mixed, x, place):
  masks = _masks(size, place)
  a, b = _features(params, x)
  return None, [_sums(params[f"encoder{i}_0"], side, masks) for i, side in ((1, a), (2, b))]


def _first_encoders(size, params, mixed, x, place):
  return _encoders(params, mixed, _features(params, x), _masks(size, place), "0", "1")


def _second_encoders(size, params, mixed, x, place):
  masks = _masks(size, place)
  features, _ = _encoders(params, mixed, (x[..., :_WIDTH], x[..., _WIDTH:]), masks, "1", None)
  p, weights = params["FM"], []
  for i in (1, 2):
    qk = slice(2 * _WIDTH)
    weights.append((p[f"qkv{i}"]["kernel"][:, qk], p[f"qkv{i}_dwconv"]["kernel"][..., qk]))

  def body(weights, _, strips, inside):
    *sides, mask, own = strips
    (q1, k1), (q2, k2) = (
      jnp.split(qkv_of_strip((None, *w), x * mask, inside) * own[:, 1:-1], 2, axis=-1)
      for w, x in zip(weights, sides, strict=True)
    )
    return gram(q2, k1), gram(q1, k2)  # the queries of each modality ask the keys of the other

  sums = over_strips(body, weights, (*features, *masks), channels=8 * _WIDTH, tiling=_TILING, total=True)
  return _kept(jnp.concatenate(features, axis=-1)), list(sums)


def _fusion(size, params, mixed, x, place):
  masks, p, v = _masks(size, place), params["FM"], slice(2 * _WIDTH, None)
  values = [(p[f"qkv{i}"]["kernel"][:, v], p[f"qkv{i}_dwconv"]["kernel"][..., v]) for i in (1, 2)]
  tiles = {"channels": 8 * _WIDTH, "tiling": _TILING}
  sides = (x[..., :_WIDTH], x[..., _WIDTH:])  # zero outside the image
  sides = over_strips(cross_strip, values, sides, [m[None] for m in mixed], **tiles)
  gates = (p["project_E"]["kernel"], p["project_E_d"]["kernel"])
  names = ("project_E{}", "project_E{}_d", "project_out{}")
  filters = [tuple(p[name.format(i)]["kernel"] for name in names) for i in (1, 2)]
  x = over_strips(gate_strip, (gates, filters), tuple(side * masks.inside for side in sides), **tiles)
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
    _block(params[f"encoder{i}_{block}"], m, side, masks) for i, m, side in zip((1, 2), mixed, sides, strict=True)
  ]
  if following is None:
    return sides, None
  sums = [_sums(params[f"encoder{i}_{following}"], side, masks) for i, side in zip((1, 2), sides, strict=True)]
  return _kept(jnp.concatenate(sides, axis=-1)), sums


def _features(params, x):
  return tuple(_conv3x3(x[..., i - 1 : i], params[f"project_in_{i}"]) for i in (1, 2))


def _conv3x3(x, p):
  return jax.lax.conv_general_dilated(x, p["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _block(p, mixed, x, masks):
  """A Restormer block on a tile; right except at the tile's outermost two pixels."""
  c, attn, ffn = x.shape[-1], p["attn"], p["ffn"]
  v = slice(2 * c, None)
  weights = (_norm(p["norm1"]), attn["qkv"]["kernel"][:, v], attn["qkv_dwconv"]["kernel"][..., v])
  x = over_strips(
    lambda w, m, strips, inside: attend_strip(w, m, strips[:1], inside * strips[1]),
    weights, (x, masks.inside), mixed[None], channels=3 * c, tiling=_TILING,
  )  # fmt: skip
  weights = (_norm(p["norm2"]), *(ffn[name]["kernel"] for name in ("project_in", "dwconv", "project_out")))
  return over_strips(
    lambda w, _, strips, inside: feed_strip(w, (), strips[:1], inside * strips[1]),
    weights, (x, masks.inside), channels=4 * c, tiling=_TILING,
  )  # fmt: skip


def _sums(p, x, masks):
  """What the attention of block `p` needs to know of this tile's own pixels."""
  c, qk = x.shape[-1], slice(2 * x.shape[-1])
  weights = (_norm(p["norm1"]), p["attn"]["qkv"]["kernel"][:, qk], p["attn"]["qkv_dwconv"]["kernel"][..., qk])

  def body(weights, _, strips, inside):
    x, mask, own = strips
    q, k = jnp.split(qkv_of_strip(weights, x, inside * mask) * own[:, 1:-1], 2, axis=-1)
    return gram(q, k)

  return over_strips(body, weights, (x, *masks), channels=3 * c, tiling=_TILING, total=True)


def _norm(p):
  return p["scale"], p["bias"]


def _mixtures(params: Mapping[str, Any], sums: list, *names: str) -> list[np.ndarray]:
  """Attention and the projection behind it as one matrix [C, C], for each block."""
  found = zip(sums, (params[name]["attn"] for name in names), strict=True)
  return [_mixture(s, attn["temperature"], attn["project_out"]) for s, attn in found]


def _cross_mixtures(params: Mapping[str, Any], sums: list) -> list[np.ndarray]:
  p = params["FM"]
  return [_mixture(s, p[f"temperature{i}"], p[f"project_mid{i}"]) for i, s in enumerate(sums, 1)]


def _mixture(sums, temperature, project) -> np.ndarray:
  sums = tuple(jnp.asarray(x, jnp.float32) for x in sums)
  return np.einsum("cd,co->do", np.asarray(channel_attention(sums, temperature))[0], np.asarray(project))  # pyright: ignore
