"""Progress of a long run: a bar with the time left in a terminal, plain lines elsewhere."""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from tdfusion_jax import printing

if TYPE_CHECKING:
  from rich.console import Console

LINE_EVERY = 15.0
"""Seconds between plain lines."""

WAIT_EVERY = 10.0
"""Seconds between plain lines while nothing can be counted."""

_SETTINGS = ("FORCE_COLOR", "JUPYTER_COLUMNS", "TTY_COMPATIBLE", "TTY_INTERACTIVE")
"""By which Rich can be told that it writes to a terminal."""

_Item = TypeVar("_Item")


class Progress:
  """Context manager around the work of one verb, the same display for all of them.

  In a terminal it is a bar that stays at the bottom; elsewhere, in a log file for example, a line
  such as `fusing 120/300, 8.31 images/s, 0.4 min left` every `LINE_EVERY` seconds. Both go to
  standard error.

  Args:
    total: items of the whole work, None if unknown.
    label: what is being done, such as "fusing".
    unit: what one item is, in the plural: shows the speed as `8.31 images/s`. "" shows none.
    start: items that an earlier run has done; they count for the bar and not for the speed.
    end: a plain line at the end too, however soon it comes.
    console: where to write; None is standard error.
    shown: False displays nothing, where another process does.
  """

  def __init__(
    self,
    total: int | None,
    label: str,
    *,
    unit: str = "",
    start: int = 0,
    end: bool = False,
    console: "Console | None" = None,
    shown: bool = True,
  ):
    self._console = console or _console(quiet=not shown)
    self._total, self._unit, self._text = total, unit, ""
    self._label = printing.plain(label)
    self._start = self._done = start
    self._end = end
    self._began = self._last_line = time.monotonic()
    self._bar: Any = None
    if self._console is not None and self._console.is_terminal:
      from rich import progress as bars

      self._bar = bars.Progress(*_columns(unit), console=self._console)
      self._task = self._bar.add_task(self._label, total=total, completed=start, text="")

  def __enter__(self) -> "Progress":
    if self._bar:
      guarded = isinstance(sys.stderr, printing.Guarded)
      self._bar.start()
      if guarded:  # it has put its own streams, which print above the bar, in place of ours
        printing.guard()
    return self

  def __exit__(self, *_) -> None:
    if self._bar:
      self._bar.stop()

  def update(self, done: int, *, label: str | None = None, text: str | None = None) -> None:
    """Moves to `done` items.

    Args:
      done: items done, counted from the start of the whole work.
      label: what is being done from now on; None keeps the last one.
      text: what else to show, such as losses; None keeps the last one.
    """
    self._done = done
    self._label = self._label if label is None else printing.plain(label)
    self._text = self._text if text is None else printing.plain(text)
    if self._bar:
      self._bar.update(self._task, completed=done, description=self._label, text=self._text)
      return
    now = time.monotonic()
    ends = self._end and done == self._total
    if ends or now - self._last_line >= LINE_EVERY:
      self._last_line = now
      self._print(self._line(now - self._began))

  def advance(self, count: int = 1) -> None:
    """Moves on by `count` items."""
    self.update(self._done + count)

  @contextlib.contextmanager
  def waiting(self, label: str, *, items: int = 0) -> Iterator[None]:
    """Says that `label` is waited for, such as a compilation, and leaves it out of the time left.

    Args:
      label: what is waited for.
      items: those that are done within, beside it.
    """
    began, label = time.monotonic(), printing.plain(label)
    if self._bar:
      self._bar.update(self._task, description=label)
      yield
    else:
      with _repeated(label, self._print):
        yield
    now = time.monotonic()
    self._began += now - began
    self._last_line = now
    self._start += items

  def track(self, items: Iterable[_Item]) -> Iterator[_Item]:
    """Yields `items` and counts each as done when the next one is asked for."""
    for item in items:
      yield item
      self.advance()

  def _print(self, line: str) -> None:
    if self._console is None:
      print(line, file=printing.unguarded(sys.stderr), flush=True)
      return
    from rich.text import Text

    self._console.print(Text(line), soft_wrap=True)

  def _line(self, seconds: float) -> str:
    done = self._done - self._start
    count = f"{self._done}" if self._total is None else f"{self._done}/{self._total}"
    parts = [f"{self._label} {count}"]
    if self._text:
      parts.append(self._text)
    if self._unit:
      parts.append(f"{done / max(seconds, 1e-9):.2f} {self._unit}/s")
    if self._total is not None and done > 0:
      left = seconds / done * (self._total - self._done)
      parts.append(f"{left / 60:.1f} min left")
    return ", ".join(parts)


@contextlib.contextmanager
def _repeated(label: str, show: Callable[[str], None]) -> Iterator[None]:
  """Shows `label` now and, with the seconds that have passed, every `WAIT_EVERY` seconds."""
  ended, seconds = threading.Event(), 0.0
  show(label)

  def repeat() -> None:
    nonlocal seconds
    while not ended.wait(WAIT_EVERY):
      seconds += WAIT_EVERY
      show(f"{label}, {seconds:.0f} s so far")

  thread = threading.Thread(target=repeat, daemon=True)
  thread.start()
  try:
    yield
  finally:
    ended.set()
    thread.join()


class Lines:
  """Prints a line to standard error, every `LINE_EVERY` seconds at most; those between are lost."""

  def __init__(self):
    self._last = time.monotonic()

  def __call__(self, line: str) -> None:
    """Prints `line`, or not."""
    now = time.monotonic()
    if now - self._last >= LINE_EVERY:
      self._last = now
      print(line, file=sys.stderr)

  def part(self, name: str, done: float) -> None:
    """Prints how much of `name` is done, 0 to 1, or not."""
    self(f"{name}: {done:.0%}")


def _console(*, quiet: bool) -> "Console | None":
  """Standard error; None for plain lines of a file or a pipe, which Rich need not be loaded for."""
  stream = printing.unguarded(sys.stderr)
  wished = any(name in os.environ for name in _SETTINGS)
  plain = stream is not None and not getattr(stream, "isatty", lambda: True)()
  if plain and not (quiet or wished):
    return None
  from rich.console import Console

  return Console(file=stream, quiet=quiet)


def _columns(unit: str) -> list[Any]:
  from rich import progress as bars
  from rich.text import Text

  class Speed(bars.ProgressColumn):
    """Items per second."""

    def render(self, task: bars.Task) -> Text:
      return Text(f"{task.speed or 0:.2f} {unit}/s")

  speed = [Speed()] if unit else []
  return [
    bars.TextColumn("{task.description}", markup=False),
    bars.BarColumn(),
    bars.MofNCompleteColumn(),
    *speed,
    bars.TimeElapsedColumn(),
    bars.TextColumn("left"),
    bars.TimeRemainingColumn(),
    bars.TextColumn("{task.fields[text]}", markup=False),
  ]
