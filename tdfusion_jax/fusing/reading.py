"""How a pair of files becomes a pair of images of equal size."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tdfusion_jax.images.colour import false_colours, spread_of
from tdfusion_jax.images.listing import Place
from tdfusion_jax.images.opening import ImageError
from tdfusion_jax.images.reading import read_pixels
from tdfusion_jax.images.scaling import LINEAR, Pixels, Scale


class Reading(NamedTuple):
  """Scaling, aligning, checking."""

  scale: Scale = LINEAR
  """Of the infrared file."""
  vi_scale: Scale = LINEAR
  align: Callable | None = None
  """(ir, vi) -> the same in equal size, for pairs that differ; None makes that an error."""
  check: Callable | None = None
  """(ir, vi) -> what looks wrong with the pair, or an empty string."""


class Read(NamedTuple):
  """A pair that was read."""

  ir: np.ndarray
  """[H, W, 1 or 3] float32 in [0, 1]."""
  vi: np.ndarray
  warning: str
  """What looks wrong with the pair, or nothing."""
  stored: tuple[np.dtype, np.dtype]
  """The types of the numbers in both files."""


def read_whole(ir: Path, vi: Path, reading: Reading) -> Read:
  """Both images, and what looks wrong with them.

  Raises:
    ImageError: a file that cannot be read, sizes that differ, or not enough memory; it names the
      files.
  """
  try:
    ir_pixels, vi_pixels = _both(ir, vi, reading)
    stored = ir_pixels.array.dtype, vi_pixels.array.dtype
    a, b = ir_pixels.whole(), vi_pixels.whole()
    if reading.align is not None:
      a, b = reading.align(a, b)
  except (ImageError, MemoryError) as error:
    if isinstance(error, ImageError) and ir.stem in str(error):
      raise
    reason = (
      error if str(error) else "not enough memory; --stream-from computes large pairs tile by tile."
    )
    raise ImageError(f"{ir} and {vi}: {reason}") from error
  _require_equal(ir, vi, a.shape, b.shape)
  seen = [reading.check(a, b)] if reading.check else []
  warning = "; ".join(filter(None, [*remarks_of(ir, ir_pixels, vi_pixels), *seen]))
  return Read(a, b, warning, stored)


def _both(ir: Path, vi: Path, reading: Reading) -> tuple[Pixels, Pixels]:
  return read_pixels(ir, reading.scale), read_pixels(vi, reading.vi_scale)


def remarks_of(ir: Place, ir_pixels: Pixels, vi_pixels: Pixels) -> list[str]:
  """What was left out of the files of a pair, and false colours of its thermal image."""
  remarks = dict.fromkeys((*ir_pixels.remarks, *vi_pixels.remarks))
  wrong = false_colours(spread_of(ir_pixels), str(ir))
  return [*remarks, *filter(None, [wrong])]


def read_as_stored(ir: Path, vi: Path, reading: Reading) -> tuple[Pixels, Pixels]:
  """Both images in their files' own types, for pairs too large to be held as floats.

  Raises:
    ImageError: a file that cannot be read, sizes that differ, or a pair to be aligned.
  """
  if reading.align is not None:
    raise ImageError(
      f"{vi} is to be computed tile by tile, and such pairs cannot be aligned; see --stream-from."
    )
  a, b = _both(ir, vi, reading)
  _require_equal(ir, vi, a.array.shape, b.array.shape)
  return a, b


def _require_equal(
  ir: Path, vi: Path, ir_shape: tuple[int, ...], vi_shape: tuple[int, ...]
) -> None:
  if ir_shape[:2] != vi_shape[:2]:
    sizes = " and ".join(f"{shape[1]}x{shape[0]}" for shape in (ir_shape, vi_shape))
    raise ImageError(
      f"{ir} and {vi} differ in size ({sizes}); register them first, or see --align."
    )
