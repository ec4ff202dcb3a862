"""Weights as `.safetensors` files, in and out, name for name."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from tdfusion_jax.files import UsageError, atomic_write


class CheckpointError(UsageError):
  """A checkpoint or weight file that cannot be used, with the reason."""


def save_weights(path: str | Path, variables: Mapping, metadata: Mapping[str, Any]) -> None:
  """Writes variables to one `.safetensors` file, atomically.

  Args:
    path: file to write.
    variables: nested mapping of arrays, {"params": ...}.
    metadata: {"arch": ..., ...}, JSON values.
  """
  path = Path(path)
  arrays = {
    "/".join(k): np.ascontiguousarray(v) for k, v in flatten_dict(jax.device_get(variables)).items()
  }
  try:
    with atomic_write(path) as temporary:
      temporary.write_bytes(
        save(arrays, {key: json.dumps(value) for key, value in metadata.items()})
      )
  except (OSError, SafetensorError) as error:
    raise CheckpointError(f"could not write {path}: {error}") from error


def load_weights(path: str | Path) -> tuple[dict, dict[str, Any]]:
  """Reads what `save_weights` wrote: (variables of NumPy arrays, metadata).

  Raises:
    CheckpointError: missing, truncated or another kind of file.
  """
  path = Path(path)
  if not path.is_file():
    raise CheckpointError(f"weights file {path} does not exist.")
  try:
    with safe_open(path, framework="numpy") as file:
      metadata = {key: json.loads(value) for key, value in (file.metadata() or {}).items()}
      arrays = {tuple(key.split("/")): file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
  except (OSError, SafetensorError, json.JSONDecodeError) as error:
    if path.suffix in (".pth", ".pt", ".bin"):
      message = f"{path} is a PyTorch file; `tdfusion convert {path} --out FILE` makes one that can be used here."
      raise CheckpointError(message) from error
    raise CheckpointError(f"{path} is not a readable .safetensors file: {error}") from error
  return unflatten_dict(arrays), metadata


def match(loaded: dict, like: dict, origin: str) -> dict:
  """`loaded` in the structure and dtypes of `like`, name for name.

  Raises:
    CheckpointError: names or shapes differ, all of them listed.
  """
  have: Any = flatten_dict(loaded)
  want: Any = flatten_dict(like)
  problems = [f"missing: {'/'.join(k)}" for k in sorted(want.keys() - have.keys())]
  problems += [f"left over: {'/'.join(k)}" for k in sorted(have.keys() - want.keys())]
  problems += [
    f"shape: {'/'.join(k)} is {have[k].shape}, not {want[k].shape}"
    for k in sorted(have.keys() & want.keys())
    if have[k].shape != want[k].shape
  ]
  problems += [
    f"not finite: {'/'.join(k)}" for k in sorted(have) if not np.isfinite(np.asarray(have[k])).all()
  ]
  if problems:
    raise CheckpointError(f"{origin} does not fit the network:\n  " + "\n  ".join(problems))
  return unflatten_dict({k: np.asarray(have[k], want[k].dtype) for k in want})
