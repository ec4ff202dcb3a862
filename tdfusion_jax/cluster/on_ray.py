"""Work on the workers of a Ray cluster; what a lost worker had is done by another."""

import contextlib
import importlib
import os
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

from tdfusion_jax import printing, stopping
from tdfusion_jax.cluster.choice import Cluster
from tdfusion_jax.cluster.working import Item, LostError, Result, Task, again
from tdfusion_jax.files import UsageError, first_line, process_number

_DEATHS = 3  # of workers one after another that never began: something is wrong with all of them


class Worker:
  """What lives on the other machine.

  Args:
    make: returns what does an item; called there, once.
  """

  def __init__(self, make: Callable[[], Callable[[Any], Any]]):
    self._make = make
    self._do: Callable[[Any], Any] | None = None

  def prepare(self) -> int:
    """Makes ready, which may take long; returns `files.process_number()`."""
    printing.guard()
    self._do = self._make()
    return process_number()

  def do(self, item: Any) -> Any:
    """Does an item."""
    assert self._do is not None
    return self._do(item)


def run_on_ray(
  make: Callable[[], Callable[[Item], Result]],
  items: Sequence[Item],
  cluster: Cluster,
  *,
  split: Callable[[Item], list[Item]] | None = None,
  fresh: bool = False,
  lost: Callable[[int], None] = lambda process: None,
) -> Generator[tuple[Item, Result | Exception]]:
  """Does all items on Ray's workers.

  Args:
    make: called on each worker; returns what does an item there. Pickled, so are items and results.
    items: what is to be done.
    cluster: which, and how many workers.
    split: see `working.again`.
    fresh: a new process for each item.
    lost: called with the `files.process_number` of a worker that was lost.

  Yields:
    (item, its result or the exception that it ended with) in the order in which they end. With
    `split`, items may be parts of those that were given.

  Raises:
    UsageError: Ray is not installed or not reached, workers cannot begin, or `make` raises it.
  """
  if not items:
    return
  with _connected(cluster, len(items)) as ray:
    crew = _Crew(ray, make, cluster, _count(ray, cluster, len(items)), fresh, lost)
    tasks = deque(Task(item) for item in items)
    try:
      yield from _work(ray, crew, tasks, cluster.retries, split)
    finally:
      crew.dismiss()


def _work(
  ray: Any, crew: "_Crew", tasks: deque[Task], retries: int, split: Callable[[Any], list] | None
) -> Iterator[tuple[Any, Any]]:
  busy: dict[Any, tuple[Any, Task]] = {}
  while tasks or busy:
    for worker in crew.free(len(tasks)):
      task = tasks.popleft()
      busy[worker.do.remote(task.item)] = worker, task
    ended = ray.wait([*busy, *crew.preparing], num_returns=1)[0][0]
    if ended in crew.preparing:
      crew.settle(ended)
      continue
    worker, task = busy.pop(ended)
    result, lost = _outcome(ray, ended)
    crew.give_back(worker, lost=bool(lost))
    if not lost:
      yield task.item, result
      continue
    try:
      tasks.extendleft(again(task, lost, retries, split))
    except LostError as error:
      yield task.item, error


def _outcome(ray: Any, ended: Any) -> tuple[Any, str]:
  """(result or the exception that the work itself raised, why the worker was lost or nothing)."""
  try:
    return ray.get(ended), ""
  except ray.exceptions.RayTaskError as error:
    return getattr(error, "cause", None) or error, ""
  except ray.exceptions.RayError as error:  # a process killed, out of memory, a node gone
    return None, first_line(error)


class _Crew:
  """The workers: those that make ready, those that wait for work."""

  def __init__(
    self,
    ray: Any,
    make: Callable,
    cluster: Cluster,
    count: int,
    fresh: bool,
    lost: Callable[[int], None],
  ):
    self._ray, self._make, self._fresh, self._lost = ray, make, fresh, lost
    self._wanted = count
    given = cluster.resources
    # SPREAD: on as many nodes as there are, since a worker uses all cores of one.
    self._kind = ray.remote(
      num_cpus=given.get("cpus", 1), num_gpus=given.get("gpus", 0), scheduling_strategy="SPREAD"
    )(Worker)
    self.preparing: dict[Any, Any] = {}
    self._idle: list[Any] = []
    self._numbers: dict[Any, int] = {}
    self._at_work = self._deaths = 0

  def free(self, most: int) -> list[Any]:
    """At most so many workers, to be given work now; more are started where some are missing."""
    ready, self._idle = self._idle[:most], self._idle[most:]
    self._at_work += len(ready)
    missing = min(self._wanted - self._at_work, most - len(ready)) - len(self.preparing)
    for _ in range(missing):
      worker = self._kind.remote(self._make)
      self.preparing[worker.prepare.remote()] = worker
    return ready

  def settle(self, ended: Any) -> None:
    """Takes in a worker that has made ready, or has failed to."""
    worker = self.preparing.pop(ended)
    result, lost = _outcome(self._ray, ended)
    if isinstance(result, Exception):
      raise result
    if not lost:
      self._deaths = 0
      self._numbers[worker] = result
      self._idle.append(worker)
      return
    self._deaths += 1
    if self._deaths == _DEATHS:
      raise UsageError(f"{_DEATHS} workers of Ray ended before they began: {lost}")

  def give_back(self, worker: Any, *, lost: bool) -> None:
    """A worker has done its item, or was lost with it."""
    self._at_work -= 1
    if lost or self._fresh:
      self._ray.kill(worker)  # also one that only seems lost, and may still be writing
      number = self._numbers.pop(worker)
      if lost:
        self._lost(number)
    else:
      self._idle.append(worker)

  def dismiss(self) -> None:
    """Ends those that wait."""
    for worker in (*self._idle, *self.preparing.values()):
      self._ray.kill(worker)


def _count(ray: Any, cluster: Cluster, items: int) -> int:
  if cluster.workers is not None:
    return min(cluster.workers, items)
  gpus = cluster.resources.get("gpus", 0)
  there = ray.cluster_resources().get("GPU", 0) // gpus if gpus else 0
  nodes = sum(bool(node["Alive"]) for node in ray.nodes())
  return max(1, min(int(there or nodes), items))


@contextlib.contextmanager
def _connected(cluster: Cluster, items: int) -> Iterator[Any]:
  """The `ray` package, connected; a cluster that was started for this is ended with it."""
  os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to its makers
  os.environ.setdefault("RAY_COLOR_PREFIX", "0")
  os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
  try:
    ray = importlib.import_module("ray")
  except ImportError:
    raise UsageError("--cluster ray needs Ray: pip install 'tdfusion-jax[ray]'") from None
  if ray.is_initialized():
    yield ray
    return
  how: dict[str, Any] = {"address": cluster.where or None, "logging_level": "WARNING"}
  if not (cluster.where or os.environ.get("RAY_ADDRESS")):
    asked = min(cluster.workers or 1, max(items, 1)) * cluster.resources.get("cpus", 1)
    how |= {"include_dashboard": False, "num_cpus": max(asked, os.cpu_count() or 1)}
  before = {number: signal.getsignal(number) for number in stopping.SIGNALS}
  try:
    ray.init(**how)
  except (ConnectionError, OSError, RuntimeError, ValueError) as error:
    where = f"={cluster.where}" if cluster.where else ""
    raise UsageError(f"--cluster ray{where}: Ray is not reached: {error}") from error
  finally:
    with contextlib.suppress(ValueError):  # not in the main thread, where nothing was changed
      for number, handler in before.items():  # Ray's would end the process without our cleaning up
        signal.signal(number, signal.SIG_DFL if handler is None else handler)
  try:
    yield ray
  finally:
    ray.shutdown()
