"""Signals: what they raise, when, and which status a process ends with."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from tdfusion_jax import stopping

ALL = [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1]


@pytest.mark.parametrize("number", ALL)
def test_a_signal_raises_at_once_and_handlers_are_put_back(number):
  before = signal.getsignal(number)
  with pytest.raises(stopping.Stopped) as stopped, stopping.at_once():
    signal.raise_signal(number)
  assert stopped.value.number == number
  assert signal.getsignal(number) is before


def test_a_request_that_comes_twice_does_not_break_off_the_cleaning_up(monkeypatch):
  """As when a terminal and a parent both hand it on: the second found an `except` under way."""
  cleaned = []
  with pytest.raises(stopping.Stopped), stopping.at_once():
    try:
      signal.raise_signal(signal.SIGTERM)
    finally:
      signal.raise_signal(signal.SIGTERM)
      cleaned.append(1)
  assert cleaned
  monkeypatch.setattr(stopping, "_SAME_REQUEST", 0.01)
  with pytest.raises(stopping.Stopped) as stopped, stopping.at_once():
    try:
      signal.raise_signal(signal.SIGTERM)
    finally:
      time.sleep(0.02)
      signal.raise_signal(signal.SIGINT)  # whoever asks again later does not want to wait
  assert stopped.value.number == signal.SIGINT


def test_the_status_is_128_and_the_signal():
  """POSIX shells: SIGINT is 2, SIGTERM 15, SIGUSR1 10 on Linux."""
  assert stopping.status(KeyboardInterrupt()) == 130
  assert stopping.status(stopping.Stopped(signal.SIGTERM)) == 143
  assert stopping.status(stopping.Stopped(signal.SIGUSR1)) == 128 + signal.SIGUSR1


@pytest.mark.parametrize("number", ALL)
def test_between_steps_the_first_waits(number):
  told = []
  with stopping.between_steps(lambda: told.append(1)) as request:
    request.raise_if_asked()
    signal.raise_signal(number)
    signal.raise_signal(number)  # the same request, by way of the terminal and of a parent
    assert told == [1] and request.number == number
    with pytest.raises(stopping.Stopped, match=signal.Signals(number).name):
      request.raise_if_asked()


def test_between_steps_a_second_does_not_wait(monkeypatch):
  monkeypatch.setattr(stopping, "_SAME_REQUEST", 0.01)
  with stopping.between_steps() as request:
    signal.raise_signal(signal.SIGTERM)
    time.sleep(0.02)
    with pytest.raises(stopping.Stopped) as stopped:
      signal.raise_signal(signal.SIGINT)
    assert stopped.value.number == signal.SIGINT and request.number == signal.SIGTERM


def test_in_another_thread_nothing_is_changed():
  seen = []

  def work():
    with stopping.between_steps() as request, stopping.at_once():
      seen.append((request.number, signal.getsignal(signal.SIGTERM)))

  before = signal.getsignal(signal.SIGTERM)
  thread = threading.Thread(target=work)
  thread.start()
  thread.join()
  assert seen == [(None, before)]


_IGNORING = """
import signal, sys, time
from tdfusion_jax import stopping
try:
  with stopping.between_steps() as request:
    print("ready", flush=True)
    while True:
      time.sleep(0.01)
      request.raise_if_asked()
except KeyboardInterrupt as error:
  sys.exit(stopping.status(error))
"""


@pytest.mark.parametrize("number", ALL)
def test_a_signal_that_was_ignored_at_start_is_heard(number):
  """A shell starts what it puts into the background with SIGINT ignored."""
  name = signal.Signals(number).name.removeprefix("SIG")
  ignoring = f'trap "" {name}; exec "$0" "$@"'
  command = ["sh", "-c", ignoring, sys.executable, "-c", _IGNORING]
  with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
    assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    os.kill(process.pid, number)
    assert process.wait(30) == 128 + number
