"""Where fixtures lie, and how closely numbers agree."""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest

_SHARED = Path(__file__).resolve().parents[2] / "shared"


def _folder(variable: str, name: str) -> Path:
  path = Path(os.environ.get(variable, _SHARED / name))
  if not path.is_dir():
    pytest.skip(f"{name} not there; set {variable}")
  return path


def goldens() -> Path:
  """Numbers of the reference networks (`TDFUSION_GOLDENS`), or a skip."""
  return _folder("TDFUSION_GOLDENS", "goldens")


def real_data() -> Path:
  """Real image pairs (`TDFUSION_DATA`), or a skip."""
  return _folder("TDFUSION_DATA", "data")


def real_weights() -> Path:
  """Real PyTorch weights (`TDFUSION_WEIGHTS`), or a skip."""
  return _folder("TDFUSION_WEIGHTS", "weights")


def load_rule_weights(spec: Path) -> dict[str, np.ndarray]:
  """The weights that a `*.spec.json` describes, made by the rule that lies beside it."""
  rule = importlib.util.spec_from_file_location("make_weights", spec.parent / "make_weights.py")
  module = importlib.util.module_from_spec(rule)
  rule.loader.exec_module(module)
  return module.load_weights(spec)


def leaves(item):
  if isinstance(item, dict):
    return [leaf for key in sorted(item) for leaf in leaves(item[key])]
  if isinstance(item, tuple):
    return [leaf for value in item for leaf in leaves(value)]
  return [] if item is None else [item]


def assert_same(a, b):
  assert list(a) == list(b)
  for x, y in zip(leaves(a), leaves(b), strict=True):
    np.testing.assert_array_equal(x, y)
