"""What every kind of cluster has in common: work that is lost, and done again."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from tdfusion_jax.files import UsageError

Item = TypeVar("Item")
Result = TypeVar("Result")


_LARGEST = 32  # items that a worker has at a time: what is done again when it is lost
_TURNS = 8  # of each worker at least, so that all of them end together


class LostError(UsageError):
  """Work whose workers were lost more often than it may be done again."""


class Task(NamedTuple):
  """An item of the work, and how often its worker was lost."""

  item: Any
  lost: int = 0


def again(
  task: Task, why: str, retries: int, split: Callable[[Any], list] | None = None
) -> list[Task]:
  """What is to be done after a worker was lost with `task`.

  Args:
    task: what the worker had.
    why: it was lost, for the message.
    retries: how often it may be lost.
    split: the parts of an item, one if it has none. What is lost once more is divided, so that one
      part which no worker survives does not take the others with it.

  Raises:
    LostError: `task` was lost too often.
  """
  parts = split(task.item) if split and task.lost else [task.item]
  if len(parts) > 1:
    return [Task(part) for part in parts]
  if task.lost >= retries:
    times = f"{task.lost + 1} workers were lost with it" if task.lost else "its worker was lost"
    raise LostError(f"{times}, the last one: {why}")
  return [Task(task.item, task.lost + 1)]


def portions(items: Sequence[Item], workers: int | None, least: int = 1) -> list[list[Item]]:
  """`items` divided into what a worker has at a time.

  Args:
    items: small ones.
    workers: that share them; None where that is not known.
    least: of a portion.
  """
  size = max(min(len(items) // (_TURNS * (workers or _TURNS)), _LARGEST), 1, least)
  return [list(items[i : i + size]) for i in range(0, len(items), size)]
