"""How a pair of files becomes a pair of images of equal size."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tdfusion_jax.images.reading import LINEAR, ImageError, Pixels, Scale, read_pixels


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
    a, b = read_pixels(ir, reading.scale), read_pixels(vi, reading.vi_scale)
    stored = a.array.dtype, b.array.dtype
    a, b = a.whole(), b.whole()
    if reading.align is not None:
      a, b = reading.align(a, b)
  except (ImageError, MemoryError) as error:
    if isinstance(error, ImageError) and ir.stem in str(error):
      raise
    raise ImageError(f"{ir} and {vi}: {error or 'out of memory'}") from error
  _require_equal(ir, vi, a.shape, b.shape)
  return Read(a, b, reading.check(a, b) if reading.check else "", stored)


def read_as_stored(ir: Path, vi: Path, reading: Reading) -> tuple[Pixels, Pixels]:
  """Both images in their files' own types, for pairs too large to be held as floats.

  Raises:
    ImageError: a file that cannot be read, sizes that differ, or a pair to be aligned.
  """
  if reading.align is not None:
    raise ImageError(
      f"{vi} is to be computed tile by tile, and such pairs cannot be aligned; see --stream-from."
    )
  a, b = read_pixels(ir, reading.scale), read_pixels(vi, reading.vi_scale)
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
