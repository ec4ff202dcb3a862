"""Reading weight files of any format that `tdfusion convert` knows."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tdfusion_jax.convert import adopt, choose, naming, search
from tdfusion_jax.convert.pth import read_sets
from tdfusion_jax.convert.search import Found
from tdfusion_jax.convert.values import WeightFileError
from tdfusion_jax.tensorfiles import read_safetensors, shown
from tdfusion_jax.weightfiles import CheckpointError, load_weights

# What a training run writes as `arch` of its files.
_OURS = {name: name for name in naming.STYLES} | {
  "average": "lossgen",
  "segmentation": "segformer",
  "detection": "yolov8",
}


class Loaded(NamedTuple):
  """What a weight file holds."""

  arrays: dict[str, np.ndarray]
  """In the names of the file; a file of this package is given upstream's names."""
  format: str
  metadata: dict[str, Any] | None
  """Of a file of this package, else None."""
  key: str = ""
  """Where in the file they are."""
  left_out: tuple[str, ...] = ()
  """What else is there."""


def load(
  path: str | Path, key: str = "", arch: str | None = None, style: str | None = None
) -> Loaded:
  """Reads a weight file of any format that `tdfusion convert` knows.

  Nothing that the file asks for is run.

  Args:
    path: the file.
    key: which set of tensors, of a file that holds several.
    arch: only weights of this architecture are looked for; None for any.
    style: only in these names; None for any.

  Raises:
    CheckpointError: missing, truncated, another kind of file, one that needs code to run, or one
      with several sets of tensors that fit.
  """
  path = Path(path)
  if path.is_dir():
    raise CheckpointError(f"{path} is a folder; name the weight file in it.")
  if not path.is_file():
    raise CheckpointError(f"weights file {path} does not exist.")
  if path.suffix.lower() != ".safetensors" and not _looks_like_safetensors(path):
    try:
      sets = read_sets(path, arch, style)
    except WeightFileError as error:
      raise CheckpointError(str(error)) from error
    return _chosen(sets, "PyTorch", path, key)
  arrays, about = read_safetensors(path)
  if "arch" not in about:
    sets = search.find(arrays, arch, style) or [Found("", {}, ())]
    return _chosen(sets, "safetensors", path, key)
  return _ours(path)


def _chosen(sets: list[Found], kind: str, path: Path, key: str) -> Loaded:
  def fits(found: Found) -> bool:
    try:
      adopt.port(found.tensors)
    except ValueError:
      return False
    return True

  try:
    found = choose.choose(sets, path, key, fits)
  except WeightFileError as error:
    raise CheckpointError(str(error)) from error
  return Loaded(found.tensors, kind, None, found.key, found.left_out)


def _ours(path: Path) -> Loaded:
  """A file of this package, in upstream's names."""
  variables, metadata = load_weights(path)
  arch = _OURS.get(metadata["arch"])
  if arch is None:
    what = shown(repr(metadata["arch"]))
    raise CheckpointError(f"{path} holds {what}, which has no other format.")
  try:
    arrays = adopt.unport(variables, arch, "upstream", {})
    if metadata.get("part") == "backbone":
      arrays = {f"backbone.{key}": value for key, value in arrays.items()}
    metadata = {**metadata, "arch": arch, "passengers": _unpack(metadata.get("passengers", {}))}
  except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
    raise CheckpointError(
      f"{path} does not hold what its metadata states ({arch}): {error}"
    ) from error
  return Loaded(arrays, "tdfusion_jax", metadata)


def _looks_like_safetensors(path: Path) -> bool:
  with path.open("rb") as file:
    start = file.read(9)
  head = int.from_bytes(start[:8], "little")  # the format: the size of its JSON, then the JSON
  return len(start) == 9 and start[8:] == b"{" and head < path.stat().st_size


def _unpack(packed: Mapping[str, list]) -> dict[str, np.ndarray]:
  return {
    key: np.frombuffer(base64.b64decode(data), np.dtype(dtype)).reshape(shape)
    for key, (dtype, shape, data) in packed.items()
  }
