"""The one fuse function, for arrays and for folders."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tdfusion_jax import compiling
from tdfusion_jax.imageio import ImageError, list_pairs, read_image, write_image
from tdfusion_jax.ops.image import fuse_chroma, luminance, min_max_stretch, rgb_to_ycbcr, ycbcr_to_rgb

_AHEAD = 4  # pairs decoded ahead of the one being fused


class Report(NamedTuple):
  """What became of a folder."""

  written: list[Path]
  skipped: list[Path]
  """Outputs that existed already."""
  failed: list[str]
  """One line per pair that could not be fused, naming the file."""


def make_fuse_fn(fuse_fn: Callable, params: Any, *, stretch: bool = False) -> Callable:
  """Jit-compiled fusion of gray or colour images.

  F sees luminances (BT.601). Colour in, colour out: chroma comes from the one colour input; of two, each pixel's
  chroma is weighed by its distance from gray. Two gray images give a gray one.

  Args:
    fuse_fn: (params, ir, vi) -> fused, on [B, H, W, 1].
    params: of `fuse_fn`.
    stretch: stretch each fused luminance to [0, 1], as the published numbers are made; it flickers in video.

  Returns:
    (ir, vi) -> fused in [0, 1]: [B, H, W, 1 or 3] each, equal B, H, W; any size, never padded, since F's
    attention sums over all pixels.
  """

  @compiling.jit
  def fuse(params, ir, vi):
    fused = fuse_fn(params, luminance(ir), luminance(vi))
    if stretch:
      fused = min_max_stretch(fused)
    colours = [rgb_to_ycbcr(image)[..., 1:] for image in (ir, vi) if image.shape[-1] == 3]
    if not colours:
      return fused
    chroma = colours[0] if len(colours) == 1 else fuse_chroma(*colours)
    return jnp.clip(ycbcr_to_rgb(jnp.concatenate([fused, chroma], axis=-1)), 0, 1)

  def checked(ir, vi):
    if ir.ndim != 4 or vi.ndim != 4 or ir.shape[:3] != vi.shape[:3]:
      raise ValueError(f"pairs are [B, H, W, 1 or 3] of equal size, not {ir.shape} and {vi.shape}.")
    if ir.shape[-1] not in (1, 3) or vi.shape[-1] not in (1, 3):
      raise ValueError(f"images have 1 or 3 channels, not {ir.shape[-1]} and {vi.shape[-1]}.")
    return fuse(params, jnp.asarray(ir), jnp.asarray(vi))

  params = jax.tree.map(jnp.asarray, params)
  return checked


def fuse_folder(
  fuse: Callable,
  ir_dir: str | Path,
  vi_dir: str | Path,
  out_dir: str | Path,
  *,
  skip_existing: bool = False,
  track: Callable[[Iterable, int], Iterable] = lambda pairs, total: pairs,
) -> Report:
  """Fuses all pairs of two folders into PNG files of the same names.

  Images are decoded ahead; each size compiles once. A broken or unequal pair is reported and does not stop
  the rest.

  Args:
    fuse: from `make_fuse_fn`.
    ir_dir, vi_dir: folders with equal file names.
    out_dir: made if needed.
    skip_existing: leave outputs that are there.
    track: wraps the pairs for a progress display.

  Raises:
    ImageError: folders that cannot be paired, or `out_dir` is one of them.
  """
  if Path(out_dir).resolve() in (Path(ir_dir).resolve(), Path(vi_dir).resolve()):
    raise ImageError(f"{out_dir} holds inputs, which the results would replace; name another folder.")
  report = Report([], [], [])
  todo = []
  for name, ir, vi in list_pairs(ir_dir, vi_dir):
    out = Path(out_dir) / f"{name}.png"
    if skip_existing and out.is_file():
      report.skipped.append(out)
    else:
      todo.append((ir, vi, out))
  for out, pair in track(_decoded(todo), len(todo)):
    try:
      if isinstance(pair, ImageError):
        raise pair
      fused = np.asarray(fuse(*(image[None] for image in pair)))[0]
      if not np.isfinite(fused).all():
        raise ImageError(f"{out.name}: the fused image is not finite.")
      write_image(out, fused)
      report.written.append(out)
    except ImageError as error:
      report.failed.append(str(error))
  return report


def _read_pair(ir_path: Path, vi_path: Path) -> tuple[np.ndarray, np.ndarray] | ImageError:
  try:
    ir, vi = read_image(ir_path), read_image(vi_path)
  except ImageError as error:
    return error
  if ir.shape[:2] != vi.shape[:2]:
    sizes = " and ".join(f"{image.shape[1]}x{image.shape[0]}" for image in (ir, vi))
    return ImageError(f"{ir_path} and {vi_path} differ in size ({sizes}); register them first.")
  return ir, vi


def _decoded(todo: list[tuple[Path, Path, Path]]) -> Iterator[tuple[Path, Any]]:
  """(output, pair or error) in order, decoding a few pairs ahead."""
  with ThreadPoolExecutor(2) as pool:
    waiting = iter(todo)
    running = [(out, pool.submit(_read_pair, ir, vi)) for ir, vi, out in islice(waiting, _AHEAD)]
    while running:
      out, future = running.pop(0)
      running += [(o, pool.submit(_read_pair, ir, vi)) for ir, vi, o in islice(waiting, 1)]
      yield out, future.result()
