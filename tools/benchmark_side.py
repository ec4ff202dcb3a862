"""A process of `benchmark_work.py`, as the tools that measure hold it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

WORKER = Path(__file__).with_name("benchmark_work.py")


class Side:
  """A worker process, prepared and waiting."""

  def __init__(self, side: str, work: str, size: tuple[str, ...], seconds: str = "s"):
    self._which = seconds
    self.seconds: list[float] = []
    self.compile_s = self.mb = self.process_mb = None
    self.backend = "cpu"
    command = [sys.executable, str(WORKER), side, work, *size]
    self.process = subprocess.Popen(
      command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    answer = self._answer()
    if answer:
      self.compile_s, self.backend = answer["compile_s"], answer["backend"]

  def _answer(self) -> dict[str, Any] | None:
    assert self.process.stdout is not None
    line = self.process.stdout.readline()
    return json.loads(line) if line else None

  @property
  def failed(self) -> bool:
    """Whether it never got ready."""
    return self.compile_s is None

  def turn(self, counts: bool = True) -> None:
    """Has it do its work once; `counts`: the seconds are kept."""
    assert self.process.stdin is not None
    self.process.stdin.write("\n")
    self.process.stdin.flush()
    answer = self._answer()
    if answer and counts:
      self.seconds.append(answer[self._which])
      self.mb, self.process_mb = answer["mb"], answer["process_mb"]

  def end(self) -> str:
    """Stops the process. Returns the last line of its messages if it broke."""
    _, messages = self.process.communicate()
    lines = messages.strip().splitlines()
    return lines[-1] if self.process.returncode and lines else ""
