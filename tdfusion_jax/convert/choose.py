"""Which of the sets of tensors in a file is meant."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from tdfusion_jax.convert.search import Found
from tdfusion_jax.convert.values import WeightFileError
from tdfusion_jax.tensorfiles import shown

_MAX_LISTED = 12


def choose(
  sets: list[Found],
  path: str | Path,
  key: str = "",
  fits: Callable[[Found], bool] | None = None,
) -> Found:
  """The set that is meant.

  Args:
    sets: at least one, with arrays as tensors.
    path: of the file, for messages.
    key: what has to be part of `Found.key`; "" for any.
    fits: whether a set is complete, asked if several are left.

  Raises:
    WeightFileError: none has that key, or several are left, which are listed.
  """
  meant = [found for found in sets if f".{key}." in f".{found.key}."] if key else sets
  exact = [found for found in meant if found.key == key]
  if key and not meant:
    raise WeightFileError(f"{path} holds no weights under {shown(key)}; there are: {_names(sets)}.")
  left = _different(exact if key and exact else meant)
  if len(left) > 1 and all(_is_ultralytics(found) for found in left):
    # Its moving average is what Ultralytics itself goes on with.
    left = [found for found in left if found.key.partition(".")[0] == "ema"][:1] or left
  if len(left) > 1 and fits is not None:
    left = [found for found in left if fits(found)] or left
  if len(left) > 1:
    raise WeightFileError(
      f"{path} holds {len(left)} sets of weights: {_names(left)}. Choose one with --key."
    )
  return left[0]


def summary(names: tuple[str, ...]) -> str:
  """Names behind each other, not endlessly many."""
  listed = ", ".join(shown(name) for name in names[:_MAX_LISTED])
  more = len(names) - _MAX_LISTED
  return f"{listed} and {more} more" if more > 0 else listed


def _names(sets: list[Found]) -> str:
  parts = []
  for found in sets[:_MAX_LISTED]:
    archs = sorted({origin.arch for origin in found.origins}) or ["unknown"]
    where = shown(found.key) or "the top"
    parts.append(f"{where} ({' or '.join(archs)}, {len(found.tensors)} tensors)")
  return ", ".join(parts)


def _is_ultralytics(found: Found) -> bool:
  return any(origin.style == "ultralytics" for origin in found.origins)


def _different(sets: list[Found]) -> list[Found]:
  """Without those that hold the same as an earlier one."""
  kept: list[Found] = []
  for found in sets:
    if not any(_same(found.tensors, other.tensors) for other in kept):
      kept.append(found)
  return kept


def _same(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> bool:
  if one.keys() != other.keys():
    return False
  pairs = ((one[name], other[name]) for name in one)
  return all(
    a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes() for a, b in pairs
  )
