"""Signals that ask a process to end: what is under way is finished or saved first.

Ctrl-C sends SIGINT; SLURM, Kubernetes and `docker stop` send SIGTERM and kill a little later;
SIGUSR1 is what `sbatch --signal` is mostly set to. All of them mean the same here, and the process
ends with 128 + the signal's number, as a shell has it for a process that a signal ended.
"""

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType

_NAMES = ("SIGINT", "SIGTERM", "SIGUSR1")  # Windows has no SIGUSR1
SIGNALS = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))
_SAME_REQUEST = 1.0  # seconds: a terminal and a parent process may both hand on one request


class Stopped(KeyboardInterrupt):
  """A signal asked this process to end; `number` is the signal's.

  A script that does not catch it ends without a traceback: nothing went wrong.
  """

  def __init__(self, number: int):
    super().__init__(f"stopped by {signal.Signals(number).name}")
    self.number = number
    _keep_quiet()


def _keep_quiet() -> None:
  """Has the interpreter print no traceback of a `Stopped` that nobody catches."""
  before = sys.excepthook
  if getattr(before, "quiet", False):
    return

  def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not issubclass(kind, Stopped):
      before(kind, error, trace)

  hook.quiet = True  # pyright: ignore[reportFunctionMemberAccess]
  sys.excepthook = hook


def status(error: KeyboardInterrupt) -> int:
  """The status a process ends with after `error`: 128 + the signal's number."""
  return 128 + getattr(error, "number", signal.SIGINT)


class Request:
  """Whether a signal has asked the process to end; made by `between_steps`."""

  def __init__(self) -> None:
    self.number: int | None = None
    """The signal, or None as long as there was none."""
    self._since = 0.0

  def raise_if_asked(self) -> None:
    """To be called between two steps.

    Raises:
      Stopped: a signal has come.
    """
    if self.number is not None:
      raise Stopped(self.number)

  def _receive(self, number: int, told: Callable[[], None]) -> None:
    now = time.monotonic()
    if self.number is None:
      self.number, self._since = number, now
      told()
    elif now - self._since > _SAME_REQUEST:  # whoever asks again does not want to wait
      raise Stopped(number)


@contextlib.contextmanager
def at_once() -> Iterator[None]:
  """In the block, a signal raises `Stopped` wherever the main thread is.

  Another one within a second is the same request, and what cleans up after the first is left to it.

  Outside the main thread, where Python accepts no handlers, the block runs as it is.
  """
  since = -_SAME_REQUEST

  def stop(number: int, frame: FrameType | None) -> None:
    nonlocal since
    del frame
    now = time.monotonic()
    if now - since >= _SAME_REQUEST:
      since = now
      raise Stopped(number)

  with _handled_by(stop):
    yield


@contextlib.contextmanager
def between_steps(told: Callable[[], None] = lambda: None) -> Iterator[Request]:
  """In the block, a signal is kept for `Request.raise_if_asked`; a second one raises at once.

  A step gives its state away and must come to its end before anything can be saved.

  Args:
    told: called at the first signal.
  """
  request = Request()

  def ask(number: int, frame: FrameType | None) -> None:
    del frame
    request._receive(number, told)

  with _handled_by(ask):
    yield request


@contextlib.contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
  if threading.current_thread() is not threading.main_thread():
    yield
    return
  before = {number: signal.signal(number, handler) for number in SIGNALS}
  try:
    yield
  finally:
    for number, old in before.items():
      # None: a handler that was not set from Python, which Python cannot set again.
      signal.signal(number, signal.SIG_DFL if old is None else old)
