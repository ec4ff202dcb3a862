"""The runs of a sweep on other machines, and the lines that each prints."""

import contextlib
import io
import os
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from tdfusion_jax.cluster.choice import Cluster
from tdfusion_jax.cluster.on_ray import run_on_ray
from tdfusion_jax.cluster.on_slurm import run_on_slurm
from tdfusion_jax.files import UsageError
from tdfusion_jax.sweep.file import Turn

Run = tuple[str, Turn]
"""An arm, and what it is run with."""


class Prefixed(io.TextIOBase):
  """Standard error of a run in a sweep: every line begins with whose it is.

  It is no terminal, so that the progress of several runs is plain lines, not bars in one place.
  """

  def __init__(self, prefix: str, stream: TextIO):
    super().__init__()
    self._prefix, self._stream, self._begun = prefix, stream, ""

  def write(self, text: str, /) -> int:
    """Passes whole lines on, each in one piece."""
    *lines, self._begun = (self._begun + text).split("\n")
    for line in lines:
      self._stream.write(f"{self._prefix}{line}\n" if line else "\n")
    return len(text)

  def flush(self) -> None:
    """Passes on what was written; a line that has only begun waits for its end."""
    self._stream.flush()

  def end(self) -> None:
    """Ends a line that has only begun."""
    if self._begun:
      self.write("\n")


def run_named(
  run: Callable[..., dict], file: str, arm: str, turn: Turn, workdir: str, changes: Any
) -> dict:
  """`run`, with whose it is before every line that it prints."""
  lines = Prefixed(f"{arm}, {turn}: ", sys.stderr)
  with contextlib.redirect_stderr(lines):
    try:
      fold = {} if turn.fold is None else {"fold": turn.fold}
      return run(file, arm, turn.seed, workdir, changes, **fold)
    finally:
      lines.end()


def run_on(
  cluster: Cluster,
  run: Callable[..., dict],
  todo: Sequence[Run],
  common: tuple[str, str, Mapping[str, Any] | None],
) -> Generator[tuple[Run, dict | Exception]]:
  """((arm, turn), result or what went wrong) in the order in which they end.

  A run whose machine was lost goes on from its last checkpoint on another, as it goes on when the
  same command is given again.

  Args:
    cluster: which machines.
    run: `sweep.run.run_one`.
    todo: what is to be run.
    common: the sweep file, the workdir and the changes of all.
  """
  file, workdir, changes = common
  here = str(Path.cwd())
  make = partial(_runner, here, run, file, str(Path(workdir).absolute()), changes)
  if cluster.kind == "ray":
    return run_on_ray(make, todo, cluster, fresh=True)
  return run_on_slurm(make, todo, cluster, Path(workdir).absolute() / "submitit")


def _runner(
  here: str, run: Callable[..., dict], file: str, workdir: str, changes: Any
) -> Callable[[Run], dict]:
  """On the other machine: what does a run, in the folder in which the sweep was started."""
  try:
    os.chdir(here)
  except OSError as error:
    raise UsageError(f"{os.uname().nodename} does not see {here}, where the sweep is.") from error

  def one(which: Run) -> dict:
    return run_named(run, file, *which, workdir, changes)

  return one
