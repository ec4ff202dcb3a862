"""Layouts of PyTorch's arrays against ours, and the strict matching of one naming with the other."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Path = tuple[str, ...]

# kind -> (PyTorch layout to ours, ours to PyTorch's)
LAYOUTS: dict[str, tuple[Callable, Callable]] = {
  "same": (lambda a: a, lambda a: a),
  "conv": (lambda a: a.transpose(2, 3, 1, 0), lambda a: a.transpose(3, 2, 0, 1)),  # OIHW <-> HWIO
  "pointwise": (lambda a: a[:, :, 0, 0].T, lambda a: a.T[:, :, None, None]),  # OI11 <-> IO
  "depthwise": (
    lambda a: a[:, 0].transpose(1, 2, 0),
    lambda a: a.transpose(2, 0, 1)[:, None],
  ),  # C1HW <-> HWC
  "dense": (lambda a: a.T, lambda a: a.T),  # OI <-> IO
  "heads": (lambda a: a[:, 0, 0], lambda a: a[:, None, None]),  # [heads, 1, 1] <-> [heads]
}


def to_ours(
  state_dict: Mapping[str, np.ndarray],
  shapes: Mapping[Path, tuple[int, ...]],
  torch_key: Callable[[Path], tuple[str, str]],
) -> dict[Path, np.ndarray]:
  """Takes every array of `shapes` out of `state_dict`.

  Raises:
    ValueError: keys missing, keys left over or shapes that differ, all of them listed.
  """
  names = {path: torch_key(path) for path in shapes}
  wanted = {key for key, _ in names.values()}
  problems = [f"missing: {key}" for key in sorted(wanted - set(state_dict))]
  problems += [f"left over: {key}" for key in sorted(set(state_dict) - wanted)]
  flat = {}
  for path, (key, kind) in names.items():
    if key not in state_dict:
      continue
    array = np.asarray(state_dict[key])
    if array.ndim != LAYOUTS[kind][1](np.zeros(shapes[path], bool)).ndim:
      problems.append(f"shape: {key} is {array.shape}, which does not fit {shapes[path]}")
      continue
    flat[path] = np.ascontiguousarray(LAYOUTS[kind][0](array))
    if flat[path].shape != shapes[path]:
      problems.append(
        f"shape: {key} is {array.shape}, here {flat[path].shape} instead of {shapes[path]}"
      )
  if problems:
    raise ValueError("these weights do not fit the network:\n  " + "\n  ".join(problems))
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
