"""F on images too large for memory: the same result, computed tile by tile.

F looks at a whole image at seven places only: the channel attention of its six blocks and of its
fusion module needs sums over all pixels of q k^T, q^2 and k^2. So the image is swept six times.
Each sweep goes through the tiles of the image, finishes one block and adds up the sums that the
next one needs; the features between two sweeps (32 channels, both encoders side by side) lie in one
temporary file, which a sweep rewrites in place. A tile is computed with a border as wide as the
sweep has 3x3 convolutions in a row, so there are no seams.

`networks.tiles` computes the tiles. Sums over tiles are kept in float64.
"""

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from tdfusion_jax.engines.tiles import BORDER, FEATURES, make_stages
from tdfusion_jax.files import reason
from tdfusion_jax.fusing.finish import coloured
from tdfusion_jax.images.reading import ImageError, Pixels
from tdfusion_jax.images.writing import quantised
from tdfusion_jax.ops.image import luminance
from tdfusion_jax.ops.image import stretch as stretched


class Tile(NamedTuple):
  """Pixels that a tile is responsible for; it is computed with `BORDER` more on each side."""

  rows: int = 128
  columns: int = 1024


def fuse_streamed(
  params: Mapping[str, Any],
  ir: Pixels,
  vi: Pixels,
  *,
  folder: str | Path | None = None,
  tile: Tile = Tile(),  # noqa: B008
  told: Callable[[float], None] = lambda done: None,
) -> np.ndarray:
  """The fused luminance of one pair in bounded memory; equals F of the whole images to rounding.

  Memory: 4 bytes a pixel for the result, and about 600 bytes for each pixel of `tile.rows` full
  rows.

  Args:
    params: of F (`networks.fusion.FusionNet`), float32.
    ir: infrared.
    vi: visible, of equal height and width.
    folder: for the temporary file of 128 bytes a pixel, which goes when the work ends, however it
      ends; None: the system's.
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
  columns = min(
    tile.columns, -(-width // 8) * 8
  )  # an image narrower than a tile gets a tile of its own width
  grid = _Grid(height, width, min(tile.rows, height), columns)
  stages = make_stages(params, (grid.rows, grid.columns))
  bands = -(-height // grid.rows)
  steps = iter(range(1, 6 * bands + 1))

  def tell():
    told(next(steps) / (6 * bands))

  fused = np.empty((height, width, 1), np.float32)
  try:
    with tempfile.TemporaryFile(dir=folder, prefix="tdfusion-") as file:
      store = _Store(file.fileno(), grid)
      sweep = partial(_sweep, grid, tell)
      sums = sweep(stages.start, (), _Images(ir, vi), None)
      sums = sweep(
        stages.first_encoders,
        stages.mixtures(sums, "encoder1_0", "encoder2_0"),
        _Images(ir, vi),
        store,
      )
      sums = sweep(
        stages.second_encoders, stages.mixtures(sums, "encoder1_1", "encoder2_1"), store, store
      )
      sums = sweep(stages.fusion, stages.cross_mixtures(sums), store, store)
      sums = sweep(stages.first_decoder, stages.mixtures(sums, "decoder_0"), store, store)
      sweep(stages.end, stages.mixtures(sums, "decoder_1"), store, _Result(fused))
  except OSError as error:
    need = height * width * FEATURES * 4 / 1e9
    where = folder or tempfile.gettempdir()
    raise ImageError(
      f"{where}: no room for a temporary file of {need:.2g} GB ({reason(error)}) Or name another "
      "folder: --scratch."
    ) from error
  return fused


def finish(
  fused: np.ndarray,
  ir: Pixels,
  vi: Pixels,
  *,
  stretch: bool = False,
  rows: int = 64,
  dtype: type = np.uint8,
) -> np.ndarray:
  """`fusing.finish` in little memory.

  Args:
    fused: [H, W, 1] in [0, 1], of `fuse_streamed`.
    ir: what was fused.
    vi: likewise.
    stretch: stretch the image to [0, 1].
    rows: finished at a time.
    dtype: uint8, uint16 or float32.

  Returns:
    [H, W, 1 or 3] of `dtype`: whole numbers of all its bits, or [0, 1].
  """
  low, high = fused.min(), fused.max()
  channels = max(ir.array.shape[-1], vi.array.shape[-1])
  out = np.empty((*fused.shape[:2], channels), dtype)
  for start in range(0, fused.shape[0], rows):
    stop = min(start + rows, fused.shape[0])
    part = fused[start:stop]
    if stretch:
      part = stretched(part, low, high)
    finished = coloured(part, ir.rows(start, stop), vi.rows(start, stop))
    out[start:stop] = quantised(finished, dtype)
  return out


class _Grid(NamedTuple):
  height: int
  width: int
  rows: int
  columns: int

  @property
  def padded_width(self) -> int:
    return -(-self.width // self.columns) * self.columns + 2 * BORDER


class _Images:
  """Both luminances as two channels."""

  channels = 2

  def __init__(self, ir: Pixels, vi: Pixels):
    self._sides = (ir, vi)

  def read(self, start: int, stop: int) -> np.ndarray:
    grays = [luminance(side.rows(start, stop)) for side in self._sides]
    return np.concatenate(grays, axis=-1)


class _Store:
  """Features [H, W, 32] in a file, a row after another.

  Not memory-mapped, which would count as memory in use.
  """

  channels = FEATURES

  def __init__(self, file: int, grid: _Grid):
    self._file, self._width = file, grid.width
    self._row = grid.width * FEATURES * 4

  def read(self, start: int, stop: int) -> np.ndarray:
    rows = np.empty((stop - start, self._width, FEATURES), np.float32)
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


def _sweep(
  grid: _Grid, tell: Callable, stage: Callable, mixed: Any, source: Any, target: Any
) -> Any:
  """Applies `stage` to all tiles, from `source` into `target`, and returns the sums.

  A row is read once, before it is overwritten: what a band shares with the next is kept.
  """
  sums: Any = None
  with ThreadPoolExecutor(1) as disk:
    writing: Future | None = None
    for start, band in _bands(grid, source, disk):
      stop = min(start + grid.rows, grid.height)
      out = np.empty((stop - start, grid.width, target.channels), np.float32) if target else None
      for left, result in _tiles(grid, stage, mixed, band, start):
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
  """(first row, [rows + 2 borders, padded width, C]): each row is read once, one band ahead."""
  shape = (grid.rows + 2 * BORDER, grid.padded_width, source.channels)
  edges = [
    0,
    *(min(start + grid.rows + BORDER, grid.height) for start in range(0, grid.height, grid.rows)),
  ]
  kept = np.zeros((2 * BORDER, *shape[1:]), np.float32)
  reading = disk.submit(source.read, edges[0], edges[1])
  for i, start in enumerate(range(0, grid.height, grid.rows)):
    band = np.zeros(shape, np.float32)
    band[: 2 * BORDER] = kept
    if i == 0:
      band[BORDER : BORDER + edges[1], BORDER : BORDER + grid.width] = reading.result()
    else:
      band[2 * BORDER : 2 * BORDER + edges[i + 1] - edges[i], BORDER : BORDER + grid.width] = (
        reading.result()
      )
    kept = band[grid.rows :].copy()
    if i + 2 < len(edges):
      reading = disk.submit(source.read, edges[i + 1], edges[i + 2])
    yield start, band


def _tiles(grid: _Grid, stage: Callable, mixed: Any, band: np.ndarray, start: int) -> Iterator:
  """(left column, result) of the tiles of a band; the next is prepared while one is computed."""
  waiting = None
  for left in range(0, grid.width, grid.columns):
    part = np.ascontiguousarray(band[:, left : left + grid.columns + 2 * BORDER])[None]
    place = np.array([start, left, grid.height, grid.width], np.int32)
    result = stage(mixed, part, place)
    if waiting is not None:
      yield waiting
    waiting = (left, result)
  if waiting is not None:
    yield waiting
