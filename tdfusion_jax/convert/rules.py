"""Layouts of PyTorch's arrays and ours, and the strict matching of one naming with the other."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tdfusion_jax.tensorfiles import listed, shown

Path = tuple[str, ...]
"""Where an array is among the variables, such as ("params", "encoder1_0", "attn", "kernel")."""

DTYPES = ("float32", "float16", "float64", "source")
"""Of converted weights; "source" keeps the file's."""

# kind -> (PyTorch layout to ours, ours to PyTorch's)
LAYOUTS: dict[str, tuple[Callable, Callable]] = {
  "same": (lambda a: a, lambda a: a),
  # OIHW <-> HWIO
  "conv": (lambda a: a.transpose(2, 3, 1, 0), lambda a: a.transpose(3, 2, 0, 1)),
  # OI11 <-> IO
  "pointwise": (lambda a: a[:, :, 0, 0].T, lambda a: a.T[:, :, None, None]),
  # C1HW <-> HWC
  "depthwise": (lambda a: a[:, 0].transpose(1, 2, 0), lambda a: a.transpose(2, 0, 1)[:, None]),
  # OI <-> IO
  "dense": (lambda a: a.T, lambda a: a.T),
  # [heads, 1, 1] <-> [heads]
  "heads": (lambda a: a[:, 0, 0], lambda a: a[:, None, None]),
}


def to_ours(
  state_dict: Mapping[str, np.ndarray],
  shapes: Mapping[Path, tuple[int, ...]],
  torch_key: Callable[[Path], tuple[str, str]],
) -> dict[Path, np.ndarray]:
  """Every array of `shapes`, out of `state_dict`.

  Args:
    state_dict: PyTorch's names and arrays.
    shapes: {path: shape} of our variables.
    torch_key: path -> (PyTorch's name, a kind in `LAYOUTS`).

  Returns:
    {path: array}.

  Raises:
    ValueError: keys missing, keys left over or shapes that differ, all of them listed.
  """
  names = {path: torch_key(path) for path in shapes}
  wanted = {key for key, _ in names.values()}
  problems = [f"missing: {key}" for key in sorted(wanted - set(state_dict))]
  problems += [f"left over: {shown(key)}" for key in sorted(set(state_dict) - wanted)]
  flat = {}
  for path, (key, kind) in names.items():
    if key not in state_dict:
      continue
    array = np.asarray(state_dict[key])
    to_our_layout, to_their_layout = LAYOUTS[kind]
    # Looked at first: of a 3x3 kernel in place of a 1x1 the layout would take a corner.
    theirs = to_their_layout(np.broadcast_to(np.zeros((), bool), shapes[path])).shape
    if array.shape != theirs:
      problems.append(f"shape: {key} is {array.shape}, not {theirs}")
    else:
      flat[path] = np.ascontiguousarray(to_our_layout(array))
  if problems:
    raise ValueError(f"these weights do not fit the network:{listed(problems)}")
  return flat


def to_theirs(
  flat: Mapping[Path, Any], torch_key: Callable[[Path], tuple[str, str]]
) -> dict[str, np.ndarray]:
  """The inverse of `to_ours`, bit for bit."""
  out = {}
  for path, value in flat.items():
    key, kind = torch_key(path)
    out[key] = np.ascontiguousarray(LAYOUTS[kind][1](np.asarray(value)))
  return out
