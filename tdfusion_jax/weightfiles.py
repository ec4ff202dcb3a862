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

from tdfusion_jax.files import UsageError, atomic_write, in_words


class CheckpointError(UsageError):
  """A checkpoint or weight file that cannot be used, with the reason."""


def save_weights(path: str | Path, variables: Mapping, metadata: Mapping[str, Any]) -> None:
  """Writes variables to one `.safetensors` file, atomically; equal ones give equal files.

  Args:
    path: file to write.
    variables: nested mapping of arrays, {"params": ...}.
    metadata: {"arch": ..., ...}, JSON values.

  Raises:
    CheckpointError: the file cannot be written.
  """
  path = Path(path)
  flat = flatten_dict(jax.device_get(variables), sep="/")
  arrays = {name: np.ascontiguousarray(value) for name, value in flat.items()}
  texts = {key: json.dumps(value) for key, value in metadata.items()}
  try:
    data = _in_order(save(arrays, texts))
    with atomic_write(path) as temporary:
      temporary.write_bytes(data)
  except OSError as error:
    raise CheckpointError(f"could not write {in_words(error)}") from error
  except SafetensorError as error:
    raise CheckpointError(f"could not write {path}: {error}") from error


def _in_order(data: bytes) -> bytes:
  """A `.safetensors` file with its metadata in order of names.

  The library writes them in an order that differs from call to call, and equal weights are to be
  equal files, which can be compared by their hash.
  """
  size = int.from_bytes(data[:8], "little")  # the format: size of the head, head, arrays
  head = json.loads(data[8 : 8 + size])
  metadata = head.pop("__metadata__", {})
  head = {"__metadata__": dict(sorted(metadata.items())), **head}
  text = json.dumps(head, separators=(",", ":")).encode()
  text += b" " * (-len(text) % 8)  # arrays begin at a multiple of 8
  return len(text).to_bytes(8, "little") + text + data[8 + size :]


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
      names = list(file.keys())
      arrays = {name: file.get_tensor(name) for name in names}
  except (OSError, SafetensorError, json.JSONDecodeError) as error:
    if path.suffix in (".pth", ".pt", ".bin"):
      raise CheckpointError(
        f"{path} is a PyTorch file; `tdfusion convert {path} --out FILE` makes one that can be "
        "used here."
      ) from error
    raise CheckpointError(f"{path} is not a readable .safetensors file: {error}") from error
  return unflatten_dict(arrays, sep="/"), metadata


def match(loaded: dict, like: dict, origin: str) -> dict:
  """`loaded` in the structure and dtypes of `like`, name for name.

  Raises:
    CheckpointError: names or shapes differ, all of them listed.
  """
  have: Any = flatten_dict(loaded, sep="/")
  want: Any = flatten_dict(like, sep="/")
  problems = [f"missing: {name}" for name in sorted(want.keys() - have.keys())]
  problems += [f"left over: {name}" for name in sorted(have.keys() - want.keys())]
  for name in sorted(have.keys() & want.keys()):
    if have[name].shape != want[name].shape:
      problems.append(f"shape: {name} is {have[name].shape}, not {want[name].shape}")
  for name in sorted(have):
    if not np.isfinite(np.asarray(have[name])).all():
      problems.append(f"not finite: {name}")
  if problems:
    raise CheckpointError(f"{origin} does not fit the network:\n  " + "\n  ".join(problems))
  fitting = {name: np.asarray(have[name], leaf.dtype) for name, leaf in want.items()}
  return unflatten_dict(fitting, sep="/")
