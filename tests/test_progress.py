"""The one progress display: plain lines into a file, a bar in a terminal."""

import io

import pytest
from rich.console import Console

from tdfusion_jax import progress


@pytest.fixture
def clock(monkeypatch):
  """A clock that the test sets."""
  now = [100.0]
  monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
  return now


def file_console():
  return Console(file=io.StringIO(), force_terminal=False, width=40)


def test_a_plain_line_every_15_seconds_with_speed_and_time_left(clock):
  """12 of 20 images after an earlier run's 10 within 16 s: 2 / 16 s each, 8 left: 64 s."""
  console = file_console()
  with progress.Progress(20, "fusing", unit="images", start=10, console=console) as bar:
    clock[0] += 14
    bar.advance()
    clock[0] += 2
    bar.advance()
    clock[0] += 5
    bar.update(13)
  assert console.file.getvalue() == "fusing 12/20, 0.12 images/s, 1.1 min left\n"


def test_label_and_text_stay_until_they_are_replaced(clock):
  console = file_console()
  with progress.Progress(None, "starting", console=console) as bar:
    bar.update(1, label="epoch 1", text="task_loss 0.5")
    clock[0] += 20
    bar.update(2)
  assert console.file.getvalue() == "epoch 1 2, task_loss 0.5\n"


def test_the_last_line_comes_however_soon_where_it_is_asked_for(clock):
  for end, expected in ((True, "fusing 2/2, 0.0 min left\n"), (False, "")):
    console = file_console()
    with progress.Progress(2, "fusing", end=end, console=console) as bar:
      assert list(bar.track("ab")) == ["a", "b"]
    assert console.file.getvalue() == expected


def test_a_terminal_gets_a_bar():
  console = Console(file=io.StringIO(), force_terminal=True, width=120)
  with progress.Progress(2, "fusing", unit="images", console=console) as bar:
    bar.update(2, text="task_loss 0.5")
  shown = console.file.getvalue()
  assert "fusing" in shown and "2/2" in shown and "images/s" in shown and "task_loss 0.5" in shown


def test_what_is_waited_for_is_said_and_left_out_of_the_time_left(clock, monkeypatch):
  """100 s of compilation with the first of 5 items; then 2 in 20 s: 10 s for each of 2 left."""
  monkeypatch.setattr(progress, "WAIT_EVERY", 0.01)
  console = file_console()
  with progress.Progress(5, "training", console=console) as bar:
    with bar.waiting("compiling", items=1):
      while "so far" not in console.file.getvalue():
        pass
      clock[0] += 100
    bar.update(1)
    clock[0] += 20
    bar.update(3, label="step")
  lines = console.file.getvalue().splitlines()
  assert lines[0] == "compiling" and lines[1] == "compiling, 0 s so far"
  assert lines[-1] == "step 3/5, 0.3 min left"


def test_a_terminal_shows_what_is_waited_for():
  console = Console(file=io.StringIO(), force_terminal=True, width=120)
  with progress.Progress(2, "training", console=console) as bar, bar.waiting("compiling"):
    pass
  assert "compiling" in console.file.getvalue()
