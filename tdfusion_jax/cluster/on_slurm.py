"""Work in jobs of SLURM, submitted by submitit; what a killed job had is submitted again."""

import importlib
import shutil
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

from tdfusion_jax import printing
from tdfusion_jax.cluster.choice import Cluster
from tdfusion_jax.cluster.working import Item, LostError, Result, Task, again
from tdfusion_jax.files import UsageError

# submitit's own 5 minutes end nearly every training; `--worker timeout_min=N` sets what a partition
# allows, and a run whose time is up goes on in a further job.
_USUAL = {"name": "tdfusion", "timeout_min": 24 * 60}
_EVERY = 0.5  # seconds between two looks at the jobs; submitit asks SLURM itself less often


class Job:
  """What a job runs.

  Args:
    make: returns what does an item; called in the job.
  """

  def __init__(self, make: Callable[[], Callable[[Any], Any]]):
    self._make = make

  def __call__(self, item: Any) -> Any:
    """Does an item; an exception of the work is a result like others, only a kill is none."""
    printing.guard()
    try:
      return self._make()(item)
    except Exception as error:
      return error

  def checkpoint(self, item: Any) -> Any:
    """What submitit submits anew when SLURM ends the job early: its time is up, or preemption."""
    helpers = importlib.import_module("submitit.helpers")
    return helpers.DelayedSubmission(self, item)


def run_on_slurm(
  make: Callable[[], Callable[[Item], Result]],
  items: Sequence[Item],
  cluster: Cluster,
  folder: str | Path,
) -> Generator[tuple[Item, Result | Exception]]:
  """Does each item in a job of its own, so many at a time as the cluster has workers.

  Args:
    make: called in each job; returns what does an item there. Pickled, so are items and results.
    items: what is to be done.
    cluster: the executor, and what each job gets.
    folder: what jobs and their logs go to; all machines must see it.

  Yields:
    (item, its result or the exception that it ended with) in the order in which they end.

  Raises:
    UsageError: submitit or SLURM is not there, or does not know a parameter.
  """
  executor = _executor(cluster, folder)
  tasks = deque(Task(item) for item in items)
  busy: dict[Any, Task] = {}
  try:
    while tasks or busy:
      while tasks and len(busy) < (cluster.workers or 1):
        task = tasks.popleft()
        busy[executor.submit(Job(make), task.item)] = task
      for job in [job for job in busy if job.done()]:
        task = busy.pop(job)
        try:
          result = _outcome(job)
        except _KilledError as killed:
          try:
            tasks.extendleft(again(task, str(killed), cluster.retries))
            continue
          except LostError as error:
            result = error
        yield task.item, result
      if busy:
        time.sleep(_EVERY)
  finally:
    for job in busy:
      job.cancel()  # they save their state


class _KilledError(Exception):
  """A job has ended without a result."""


def _outcome(job: Any) -> Any:
  try:
    return job.result()
  except Exception as error:
    logs = f"see {job.paths.stderr}"
    raise _KilledError(f"job {job.job_id} has left no result ({job.state}); {logs}") from error


def _executor(cluster: Cluster, folder: str | Path) -> Any:
  try:
    submitit = importlib.import_module("submitit")
  except ImportError:
    raise UsageError("--cluster slurm needs submitit: pip install 'tdfusion-jax[slurm]'") from None
  kind = cluster.where or "slurm"
  if kind == "slurm" and shutil.which("sbatch") is None:
    raise UsageError("--cluster slurm: there is no sbatch here; slurm=local runs on this machine.")
  executor = submitit.AutoExecutor(folder=Path(folder), cluster=kind)
  try:
    executor.update_parameters(**{**_USUAL, **cluster.resources})
  except (NameError, TypeError, ValueError) as error:
    raise UsageError(f"--worker: submitit does not accept it: {error}") from error
  return executor
