"""One pair in one call: arrays, PIL images or paths in, the same kind out."""

import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tdfusion_jax import fusers
from tdfusion_jax.fusing.pairs import PairFuser, make_pair_fuser
from tdfusion_jax.images.opening import ImageError
from tdfusion_jax.images.reading import from_pil, read_image
from tdfusion_jax.images.scaling import LINEAR, Scale, parse_scale, to_unit


def fuse(
  ir: Any,
  vi: Any,
  *,
  weights: str | Path | None = None,
  run: str | Path | None = None,
  checkpoint: str | Path | None = None,
  scale: str = "linear",
  stretch: bool = False,
) -> Any:
  """`tdfusion_jax.fuse`, which describes it."""
  if weights is not None and (run is not None or checkpoint is not None):
    raise ImageError("give weights or run, not both.")

  def fuser() -> PairFuser:
    folder = fusers.run_folder(run, checkpoint)
    file = fusers.fusion_file(run=folder, weights=weights)
    changed = file.stat().st_mtime if file.exists() else 0.0
    return _fuser(file, folder, changed, stretch)

  return fuse_by(fuser, ir, vi, scale)


def fuse_by(fuser: Callable[[], PairFuser], ir: Any, vi: Any, scale: str) -> Any:
  """One pair by a fuser, which is asked for once both images are known to be good.

  Args:
    fuser: makes it, or gives one that is there.
    ir: infrared, as for `tdfusion_jax.fuse`.
    vi: visible.
    scale: of infrared values.

  Raises:
    ImageError: an image that cannot be used, and why.
  """
  a, b = _unit(ir, "ir", parse_scale(scale)), _unit(vi, "vi")
  if a.shape[:2] != b.shape[:2]:
    sizes = " and ".join(f"{x.shape[1]}x{x.shape[0]}" for x in (a, b))
    raise ImageError(f"ir and vi differ in size ({sizes}); register them first.")
  fused = fuser().start(a, b)()
  if not np.isfinite(fused).all():
    raise ImageError("the fused image is not finite; are the weights damaged?")
  return _like(fused, vi)


@lru_cache(maxsize=4)
def _fuser(file: Path, run: Path | None, changed: float, stretch: bool) -> PairFuser:
  del changed  # part of the key: a file may be replaced, and a run exports anew
  loaded = fusers.load_fusion(run=run) if run else fusers.load_fusion(weights=file)
  return make_pair_fuser(*loaded, stretch=stretch)


def _unit(image: Any, name: str, scale: Scale = LINEAR) -> np.ndarray:
  """[H, W, 1 or 3] float32 in [0, 1]."""
  if isinstance(image, str | os.PathLike):
    return read_image(Path(image), scale)
  if isinstance(image, Image.Image):
    return from_pil(image, name, scale)
  array = np.asarray(image)
  if (
    array.ndim not in (2, 3)
    or (array.ndim == 3 and array.shape[-1] not in (1, 3, 4))
    or 0 in array.shape
  ):
    raise ImageError(f"{name} is [H, W] or [H, W, 1, 3 or 4], not {list(array.shape)}.")
  if array.dtype not in (np.uint8, np.uint16) and not np.issubdtype(array.dtype, np.floating):
    raise ImageError(f"{name} is uint8, uint16 or float, not {array.dtype}.")
  return to_unit(array[..., :3] if array.ndim == 3 else array, name, scale)


def _like(fused: np.ndarray, vi: Any) -> Any:
  """`fused` [H, W, C] in [0, 1] as the kind of image that `vi` is."""
  if isinstance(vi, str | os.PathLike | Image.Image):
    byte = np.round(fused * 255).astype(np.uint8)
    return Image.fromarray(byte[..., 0] if byte.shape[-1] == 1 else byte)
  array = np.asarray(vi)
  if fused.shape[-1] == 1 and array.ndim == 2:
    fused = fused[..., 0]
  if array.dtype in (np.uint8, np.uint16):
    return np.round(fused * np.iinfo(array.dtype).max).astype(array.dtype)
  return fused.astype(array.dtype)
