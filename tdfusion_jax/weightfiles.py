"""Weights as `.safetensors` files, in and out, name for name."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tdfusion_jax.tensorfiles import (
  CheckpointError,
  listed,
  not_finite,
  read_safetensors,
  shown,
  write_safetensors,
)

__all__ = ["CheckpointError", "load_weights", "match", "save_weights"]

# What is read of our own metadata, and what it has to be.
_FIELDS: dict[str, type] = {
  "arch": str,
  "kind": str,
  "variant": str,
  "part": str,
  "network": str,
  "network_options": dict,
  "options": dict,
  "passengers": dict,
  "changes": list,
  "classes": list,
  "licence": str,
  "source_file": str,
  "source_format": str,
  "source_sha256": str,
}


def save_weights(path: str | Path, variables: Mapping, metadata: Mapping[str, Any]) -> None:
  """Writes variables to one `.safetensors` file, atomically; equal ones give equal files.

  Args:
    path: file to write.
    variables: nested mapping of arrays, {"params": ...}.
    metadata: {"arch": ..., ...}, JSON values.

  Raises:
    CheckpointError: the file cannot be written.
  """
  import jax

  write_safetensors(
    path,
    _flat(jax.device_get(variables)),
    {key: json.dumps(value) for key, value in metadata.items()},
  )


def load_weights(path: str | Path) -> tuple[dict, dict[str, Any]]:
  """Reads what `save_weights` wrote: (variables of NumPy arrays, metadata).

  Metadata of other programs, which may be any text, are given as text.

  Raises:
    CheckpointError: missing, damaged or another kind of file; metadata of the wrong types.
  """
  path = Path(path)
  arrays, texts = read_safetensors(path)
  metadata = {key: _value(path, key, text) for key, text in texts.items()}
  for key, kind in _FIELDS.items():
    if key in metadata and not isinstance(metadata[key], kind):
      words = {str: "text", list: "a list", dict: "a mapping"}
      raise CheckpointError(f"{path}: its metadata {key!r} has to be {words[kind]}.")
  for name in arrays:
    parts = name.split("/")
    above = ("/".join(parts[:count]) for count in range(1, len(parts)))
    if clash := next((part for part in above if part in arrays), None):
      raise CheckpointError(
        f"{path}: {shown(clash)} is a tensor and the group of {shown(name)} as well."
      )
  return _nested(arrays), metadata


def _value(path: Path, key: str, text: str) -> Any:
  try:
    return json.loads(text)
  except ValueError:
    return text
  except RecursionError as error:
    raise CheckpointError(f"{path}: its metadata {shown(key)} is nested too deeply.") from error


def match(loaded: dict, like: dict, origin: str) -> dict:
  """`loaded` in the structure and dtypes of `like`, name for name.

  Raises:
    CheckpointError: names or shapes differ or values are not finite, all of them listed.
  """
  have, want = _flat(loaded), _flat(like)
  problems = [f"missing: {name}" for name in sorted(want.keys() - have.keys())]
  problems += [f"left over: {shown(name)}" for name in sorted(have.keys() - want.keys())]
  for name in sorted(have.keys() & want.keys()):
    if have[name].shape != want[name].shape:
      problems.append(f"shape: {name} is {have[name].shape}, not {want[name].shape}")
  problems += [f"not finite: {shown(name)}" for name in sorted(not_finite(have))]
  if problems:
    raise CheckpointError(f"{origin} does not fit the network:{listed(problems)}")
  fitting = {name: np.asarray(have[name], leaf.dtype) for name, leaf in want.items()}
  return _nested(fitting)


# Flax has both as `flatten_dict` and `unflatten_dict`; loading it takes longer than fusing a pair.
def _flat(tree: Mapping, above: str = "") -> dict[str, Any]:
  flat: dict[str, Any] = {}
  for key, value in tree.items():
    name = f"{above}{key}"
    flat |= _flat(value, f"{name}/") if isinstance(value, Mapping) else {name: value}
  return flat


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
  tree: dict[str, Any] = {}
  for name, value in flat.items():
    *above, last = name.split("/")
    folder = tree
    for part in above:
      folder = folder.setdefault(part, {})
    folder[last] = value
  return tree
