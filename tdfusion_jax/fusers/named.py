"""Weights of F by name: those that come with the package."""

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]


def shipped_weights() -> Path:
  """The weights of F that come with the package."""
  return _PACKAGE / "weights" / "f.safetensors"
