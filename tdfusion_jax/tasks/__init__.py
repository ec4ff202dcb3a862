"""Downstream tasks behind one interface: whatever can judge how useful a fused image is."""

from collections.abc import Callable
from typing import Any, NamedTuple


class Task(NamedTuple):
  """A task network and its loss as pure functions, made by a factory from plain arguments.

  Write your own by filling the first four fields; training needs nothing else. `params` and `stats`
  are any pytrees (`stats` holds what training moves without a gradient, such as running statistics,
  or `{}`).
  """

  init: Callable[..., tuple[Any, Any]]
  """(key, images [B, H, W, C]) -> (params, stats)."""
  apply: Callable[..., tuple[Any, Any]]
  """(params, stats, images, *, train, key=None) -> (outputs, new_stats).

  With `train` the network uses batch statistics; dropout and the like only when a key is given.
  """
  loss: Callable[..., tuple[Any, dict]]
  """(outputs, target) -> (scalar L_t, {part: scalar})."""
  predict: Callable[..., Any]
  """(params, stats, images) -> predictions of static shapes, for people and metrics."""
  labels: str | None = None
  """What targets `loss` reads: "segmentation" (`SegTarget`) or "detection" (`DetTarget`).

  Other data is then refused before training begins. None accepts what the data source holds."""
