"""Pairs that would not fit the memory whole: read as stored, fused tile by tile."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tdfusion_jax import fusers
from tdfusion_jax.engines.onnx import EngineError
from tdfusion_jax.fusing.reading import Reading, read_as_stored, remarks_of
from tdfusion_jax.images.reading import ImageError

USUAL_MEGAPIXELS = 12.0
"""From how many on a pair is usually fused tile by tile."""

Told = Callable[[str, float], None]


class HugePairs(NamedTuple):
  """Which pairs are huge, and how they are fused."""

  pixels: int
  """From how many pixels on."""
  fuse: Callable[[Path, Path, Reading, Callable[[np.dtype, np.dtype], type], list[str]], np.ndarray]
  """(infrared file, visible file, reading, types of both -> type of the result, list that gets what
  looks wrong with the files) -> [H, W, 1 or 3] of that type; raises ImageError. One pair at a
  time."""


def huge_pairs(
  fuse_fn: Callable,
  params: Any,
  *,
  megapixels: float | None = None,
  dtype: Any = None,
  scratch: str | Path | None = None,
  stretch: bool = False,
  told: Told = lambda name, done: None,
) -> HugePairs | None:
  """Huge pairs fused tile by tile, with the result of F on whole images.

  Args:
    fuse_fn: from `fusers.load_fusion`.
    params: of `fuse_fn`.
    megapixels: from how many on a pair is huge; None: the usual number, and no pair where tiles
      cannot be computed.
    dtype: as for `make_fuse_fn`; tiles are float32.
    scratch: folder for a temporary file of 128 bytes a pixel; None: the system's.
    stretch: as for `make_fuse_fn`.
    told: called with a pair's name and the finished part of its work, 0 to 1.

  Raises:
    EngineError: `megapixels` are given for a network other than F, or another dtype. Tiles need to
      know how far a pixel's influence reaches, and where a network sums over the whole image.
    ImageError: `scratch` is not a folder, or negative megapixels.
  """
  if megapixels is None and (dtype is not None or not fusers.is_f(fuse_fn)):
    return None
  megapixels = USUAL_MEGAPIXELS if megapixels is None else megapixels
  if not megapixels >= 0:
    raise ImageError(f"--stream-from {megapixels:g}: at least 0.")
  if dtype is not None:
    raise EngineError("tiles are computed in float32: drop --stream-from or --dtype.")
  if not fusers.is_f(fuse_fn):
    name = getattr(fuse_fn, "name", "a network of your own")
    raise EngineError(
      f"tiles are for F alone: how far a pixel reaches in {name} is not known. Drop "
      "--stream-from; pairs are then computed whole."
    )
  if scratch and not Path(scratch).is_dir():
    raise ImageError(f"--scratch {scratch} is not a folder.")

  def fuse(
    ir: Path, vi: Path, reading: Reading, dtype_of: Callable, remarks: list[str]
  ) -> np.ndarray:
    from tdfusion_jax.fusing.streaming import finish, fuse_streamed  # loads JAX

    a, b = read_as_stored(ir, vi, reading)
    remarks += remarks_of(ir, a, b)
    stored = dtype_of(a.array.dtype, b.array.dtype)
    try:
      fused = fuse_streamed(params, a, b, folder=scratch, told=lambda done: told(vi.stem, done))
    except ImageError as error:
      raise ImageError(f"{ir} and {vi}: {error}") from error
    return finish(fused, a, b, stretch=stretch, dtype=stored)

  return HugePairs(int(min(megapixels, 1e6) * 1e6), fuse)
