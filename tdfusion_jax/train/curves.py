"""Curves of a run's metrics."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from tdfusion_jax.files import atomic_write


def curves(path: Path, rows: Iterable[Mapping]) -> None:
  """Plots the validation's losses and mean weights over the run, and the training losses beside them."""
  import matplotlib  # slow to import, and only a run's end needs it

  matplotlib.use("Agg")
  from matplotlib import pyplot

  rows = list(rows)
  groups = [
    (
      "training",
      [k for k in ("fusion_loss", "task_loss", "task_loss_outer") if any(k in r for r in rows)],
    ),
    (
      "validation loss",
      [k for k in ("val/task_loss", "val/fusion_loss") if any(k in r for r in rows)],
    ),
    ("weight of infrared w_a", sorted({k for r in rows for k in r if k.startswith("val/w_a")})),
  ]
  groups = [(title, names) for title, names in groups if names]
  if not groups:
    return
  figure, axes = pyplot.subplots(
    1, len(groups), figsize=(4.6 * len(groups), 3.4), squeeze=False, layout="constrained"
  )
  for axis, (title, names) in zip(axes[0], groups, strict=True):
    for name in names:
      points = [(r["step"], r[name]) for r in rows if name in r]
      axis.plot(
        *zip(*points, strict=True),
        label=name.removeprefix("val/"),
        marker="." if "val" in name else None,
      )
    axis.set(title=title, xlabel="step")
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
  with atomic_write(path) as temporary:
    figure.savefig(temporary, format="png", dpi=110)
  pyplot.close(figure)
