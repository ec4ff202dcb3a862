"""Which files are fused into which: two folders, or one pair of files; the form of the results."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tdfusion_jax.cluster.shards import WHOLE, Shard
from tdfusion_jax.files import reason
from tdfusion_jax.images.listing import Place, list_pairs
from tdfusion_jax.images.origin import is_placed
from tdfusion_jax.images.reading import ImageError
from tdfusion_jax.remote.addresses import Address, is_address, place_of

_ENDINGS = {"png": ".png", "png16": ".png", "tif": ".tif", "jpg": ".jpg"}
FORMATS = tuple(_ENDINGS)
_FIRST = 2000  # files whose sizes are looked up before the first is fused
_OF_FILES = {".png": "png", ".tif": "tif", ".tiff": "tif", ".jpg": "jpg", ".jpeg": "jpg"}


class Job(NamedTuple):
  """Files of a pair, and of its result."""

  ir: Any
  """`Path`, or `Address` of a file that is elsewhere; so are the others."""
  vi: Any
  out: Any
  form: str = ""
  """One of `FORMATS`; "" is PNG of as many bits as the pair has."""

  def dtype(self, ir: np.dtype, vi: np.dtype) -> type:
    """What the result is stored in, for a pair that is stored in these."""
    deep = any(side.itemsize > 1 for side in (ir, vi))
    if self.form == "tif" and vi.kind == "f":
      return np.float32
    return np.uint16 if self.form == "png16" or (deep and self.form in ("", "tif")) else np.uint8


class Listed(NamedTuple):
  """What is to be fused."""

  jobs: list[Job]
  """Of one shard."""
  first: list[Any]
  """The first visible files of all shards together: which programs are compiled shall not depend on
  the shard, so that its results do not."""


def list_jobs(ir: str | Path, vi: str | Path, out: str | Path, form: str = "") -> list[Job]:
  """The pairs of two folders, or of two files; see `list_shard`."""
  return list_shard(ir, vi, out, form).jobs


def list_shard(
  ir: str | Path, vi: str | Path, out: str | Path, form: str = "", shard: Shard = WHOLE
) -> Listed:
  """A part of the pairs of two folders, or of two files.

  Args:
    ir: infrared, a folder or a file; or a folder's address, such as s3://bucket/ir.
    vi: visible, likewise.
    out: a folder, which is made, or its address; of two files also a file, whose ending is its
      format.
    form: one of `FORMATS`. "": PNG of 8 bits, or of 16 where an image has more than 8; TIFF where
      the visible image is a GeoTIFF, whose position PNG could not hold.
    shard: which of them.

  Raises:
    ImageError: folders that cannot be paired, a folder and a file, an ending that is not written,
      or results in the place of inputs.
  """
  if any(map(is_address, (ir, vi, out))):
    return _elsewhere(place_of(ir), place_of(vi), place_of(out), form, shard)
  sides = Path(ir), Path(vi)
  for side in sides:
    if not side.exists():
      raise ImageError(f"{side} does not exist; give two folders of images, or two image files.")
  folders = [side for side in sides if side.is_dir()]
  if len(folders) == 1:
    other = sides[1 - sides.index(folders[0])]
    raise ImageError(f"{folders[0]} is a folder, {other} a file: give two folders, or two files.")
  if not folders:
    return Listed(shard.of([_single(*sides, Path(out), form)]), [sides[1]])
  if Path(out).resolve() in (sides[0].resolve(), sides[1].resolve()):
    raise ImageError(f"{out} holds inputs, which the results would replace; name another folder.")
  pairs = list_pairs(ir, vi)
  _make(Path(out))
  jobs = [_into(Path(out), name, a, b, form) for name, a, b in shard.of(pairs)]
  return Listed(jobs, [b for _, _, b in pairs[:_FIRST]])


def _elsewhere(ir: Place, vi: Place, out: Place, form: str, shard: Shard) -> Listed:
  """Pairs of folders of which one at least is an address."""
  if out in (ir, vi):
    raise ImageError(f"{out} holds inputs, which the results would replace; name another folder.")
  pairs = list_pairs(ir, vi)
  unknown = next((b for _, _, b in pairs if b.suffix.lower() in (".tif", ".tiff")), None)
  if not form and isinstance(unknown, Address):
    raise ImageError(
      f"{unknown}: whether it is a GeoTIFF is not known before it is fetched; name --format."
    )
  if isinstance(out, Path):
    _make(out)
  jobs = [_into(out, name, a, b, form) for name, a, b in shard.of(pairs)]
  return Listed(jobs, [b for _, _, b in pairs[:_FIRST]])


def _single(ir: Path, vi: Path, out: Path, form: str) -> Job:
  ending = out.suffix.lower()
  if out.is_dir() or not ending:
    _make(out)
    job = _into(out, vi.stem, ir, vi, form)
  elif ending not in _OF_FILES:
    raise ImageError(f"{out}: name a folder, or a file in {', '.join(_OF_FILES)}.")
  elif form and _OF_FILES[ending] != _OF_FILES[_ENDINGS[form]]:
    raise ImageError(f"{out} is not of the form {form}: change its ending or --format.")
  else:
    _make(out.parent)
    job = Job(ir, vi, out, form or ("" if ending == ".png" else _OF_FILES[ending]))
  if job.out.resolve() in (ir.resolve(), vi.resolve()):
    raise ImageError(f"{job.out} is an input, which the result would replace; name another file.")
  return job


def _into(folder: Place, name: str, ir: Place, vi: Place, form: str) -> Job:
  form = form or ("tif" if isinstance(vi, Path) and is_placed(vi) else "")
  return Job(ir, vi, folder / f"{name}{_ENDINGS[form or 'png']}", form)


def _make(folder: Path) -> None:
  try:
    folder.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise ImageError(f"{folder} cannot be made: {reason(error)}") from error
