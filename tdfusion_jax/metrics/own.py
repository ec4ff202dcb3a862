"""A fusion metric of the user's own, `package.module:function`."""

from typing import Any

import numpy as np

from tdfusion_jax.files import UsageError, plugin
from tdfusion_jax.metrics.fusion import Metric


def own_metric(name: str, field: str) -> Metric:
  """The metric that `name` stands for, called like its function.

  Args:
    name: `package.module:function`. The function is called with NumPy arrays (fused, ir, vi), [H,
      W] float32 in [0, 255], and returns a number. Larger is better, unless it has an attribute
      `higher_is_better = False`.
    field: what named it, for messages.

  Raises:
    UsageError: there is no such function; or, when it is called, it returns no number.
  """
  function = plugin(name, field)

  def measure(a: Any, b: Any, f: Any) -> float:
    value = np.asarray(function(np.asarray(f), np.asarray(a), np.asarray(b)))
    if value.size != 1 or value.dtype.kind not in "biuf":
      raise UsageError(
        f"{field}={name!r}: a number is needed, not {value.dtype} of shape {value.shape}."
      )
    return float(value.reshape(()))

  title = name.rpartition(":")[2]
  return Metric(title, measure, bool(getattr(function, "higher_is_better", True)), "its own", name)
