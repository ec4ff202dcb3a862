"""Curves over the steps of one run, or of several."""

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tdfusion_jax.files import atomic_write

Rows = Sequence[Mapping]
"""Metric lines of a run, as `runfolder.read_metrics` gives them."""

# Panels of one run: a line for each metric. The losses differ by orders of magnitude: on common
# axes the smaller one would be a flat line.
_OF_A_RUN = (
  ("T's score: should rise", ("val/AP50", "val/mAP", "val/mIoU")),
  ("task loss: should fall", ("task_loss", "task_loss_outer", "val/task_loss")),
  ("fusion loss, by weights that move", ("fusion_loss", "val/fusion_loss")),
)
# Panels of several runs: a line for each run.
_OF_SEVERAL = (
  ("validation: AP50", "val/AP50"),
  ("validation: mIoU", "val/mIoU"),
  ("validation: task loss", "val/task_loss"),
  ("validation: fusion loss", "val/fusion_loss"),
  ("validation: mean w_a (infrared)", "val/w_a"),
  ("training: task loss", "task_loss"),
)


class Line(NamedTuple):
  """A curve."""

  label: str
  points: list[tuple[int, float]]
  """(step, value)."""
  color: int
  """Which of ten; equal numbers have equal colours in all panels."""
  marked: bool
  """Whether each point is shown: a validation is rare."""


class Panel(NamedTuple):
  """Axes with their curves."""

  title: str
  lines: list[Line]


def panels_of_run(rows: Rows) -> list[Panel]:
  """Scores, losses and mean weights, as far as the run has them; no weights that never move."""
  weights = sorted({name for row in rows for name in row if name.startswith("val/w_a")})
  if not any(_moves(rows, name) for name in weights):
    weights = []
  panels = []
  for title, names in (*_OF_A_RUN, ("weight of infrared w_a", weights)):
    there = [name for name in names if any(name in row for row in rows)]
    lines = [_line(name, rows, name, color) for color, name in enumerate(there)]
    panels.append(Panel(title, lines))
  return [panel for panel in panels if panel.lines]


def _moves(rows: Rows, name: str) -> bool:
  """Whether it has more than one value, or too few to tell."""
  values = [row[name] for row in rows if name in row]
  return len(values) < 2 or len(set(values)) > 1


def panels_of_several(runs: Mapping[str, Rows]) -> list[Panel]:
  """A panel for each of the main metrics that any of `runs` ({name: rows}) has."""
  panels = []
  for title, name in _OF_SEVERAL:
    lines = [_line(run, rows, name, color) for color, (run, rows) in enumerate(runs.items())]
    panels.append(Panel(title, [line for line in lines if line.points]))
  return [panel for panel in panels if panel.lines]


def _line(label: str, rows: Rows, name: str, color: int) -> Line:
  points = [(row["step"], row[name]) for row in rows if name in row]
  return Line(label, points, color, marked=name.startswith("val/"))


def png(panels: Sequence[Panel]) -> bytes:
  """`panels` side by side, as a PNG file."""
  import matplotlib  # slow to import, and only a run's end needs it

  matplotlib.use("Agg")
  from matplotlib import pyplot

  figure, axes = pyplot.subplots(
    1, len(panels), figsize=(4.4 * len(panels), 3.4), squeeze=False, layout="constrained"
  )
  for axis, panel in zip(axes[0], panels, strict=True):
    for line in panel.lines:
      steps, values = zip(*line.points, strict=True)
      marker = "." if line.marked else None
      axis.plot(steps, values, label=line.label, marker=marker, color=f"C{line.color % 10}")
    axis.set(title=panel.title, xlabel="step")
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
  file = io.BytesIO()
  figure.savefig(file, format="png", dpi=110)
  pyplot.close(figure)
  return file.getvalue()


def curves(path: Path, rows: Iterable[Mapping]) -> None:
  """Draws one run's curves into the PNG file `path`; nothing if there is nothing to draw."""
  panels = panels_of_run(list(rows))
  if not panels:
    return
  with atomic_write(path) as temporary:
    temporary.write_bytes(png(panels))
