"""Progress of a long run: a bar with losses and time left in a terminal, plain lines elsewhere."""

import time
from collections.abc import Mapping

from rich import progress as bars
from rich.console import Console

_SHOWN = ("fusion_loss", "task_loss", "task_loss_outer")
_LINE_EVERY = 15.0  # seconds between plain lines


class Progress:
  """Context manager around a training loop."""

  def __init__(self, total: int, start: int = 0, console: Console | None = None):
    self._console = console or Console(stderr=True)
    self._total, self._start = total, start
    self._began = self._last_line = time.monotonic()
    self._bar = None
    if self._console.is_terminal:
      columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TimeElapsedColumn(),
        bars.TextColumn("left"),
        bars.TimeRemainingColumn(),
        bars.TextColumn("{task.fields[losses]}"),
      )
      self._bar = bars.Progress(*columns, console=self._console)
      self._task = self._bar.add_task("starting", total=total, completed=start, losses="")

  def __enter__(self) -> "Progress":
    if self._bar:
      self._bar.start()
    return self

  def __exit__(self, *_) -> None:
    if self._bar:
      self._bar.stop()

  def advance(self, done: int) -> None:
    """Moves to `done` steps."""
    if self._bar:
      self._bar.update(self._task, completed=done)

  def show(self, done: int, phase: str, epoch: int, values: Mapping[str, float]) -> None:
    """Moves to `done` steps and shows the losses."""
    losses = " ".join(f"{name} {values[name]:.4g}" for name in _SHOWN if name in values)
    label = {
      "pretrain": "pre-training",
      "g": f"epoch {epoch + 1} G",
      "ft": f"epoch {epoch + 1} F/T",
    }[phase]
    if self._bar:
      self._bar.update(self._task, completed=done, description=label, losses=losses)
      return
    now = time.monotonic()
    if now - self._last_line >= _LINE_EVERY or done == self._total:
      self._last_line = now
      left = (now - self._began) / max(done - self._start, 1) * (self._total - done)
      self._console.print(
        f"{label}  step {done}/{self._total}  {losses}  left {left / 60:.1f} min", highlight=False
      )
