"""Which part of the work this process does, of several that are given the same command."""

import os
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

from tdfusion_jax.files import UsageError

_LARGEST = 1_000_000
_Item = TypeVar("_Item")

HELP = (
  "do part I of N alone, counted from 0: 0/4, 1/4, 2/4, 3/4 are all of it. auto: the part that a "
  "Kubernetes indexed job (JOB_COMPLETION_INDEX, with JOB_COMPLETION_COUNT set in its manifest) or "
  "a SLURM array has for this process; auto/N names the number of parts"
)


class Shard(NamedTuple):
  """Part `index`, from 0, of `count`."""

  index: int = 0
  count: int = 1

  def of(self, items: Sequence[_Item]) -> list[_Item]:
    """Every `count`-th of `items`: each is in one part, and neighbours are in different ones.

    What is slow or large often lies together in a list, so that blocks would be uneven.
    """
    return list(items[self.index :: self.count])

  def span(self, total: int) -> range:
    """Its block of `total` numbers: for what has to stay together, such as frames of a video."""
    return range(total * self.index // self.count, total * (self.index + 1) // self.count)

  def __str__(self) -> str:
    return f"{self.index}/{self.count}"


WHOLE = Shard()
"""All of the work."""


def parse_shard(text: str, environment: Mapping[str, str] = os.environ) -> Shard:
  """The part that `--shard` names.

  Args:
    text: I/N, "auto", or auto/N; empty is all of the work.
    environment: what "auto" reads. With auto/N the index of an array is taken as it is, so that
      some tasks of it may be submitted again; otherwise N is the number of tasks in the array.

  Raises:
    UsageError: no such part, or the environment names none; with the remedy.
  """
  if not text:
    return WHOLE
  found = re.fullmatch(r"(auto|\d{1,9})(?:/(\d{1,9}))?", text)
  if found is None or (found[1] != "auto" and found[2] is None):
    raise UsageError(f"--shard {text}: write I/N, such as 0/4, or auto, or auto/N.")
  count = None if found[2] is None else int(found[2])
  shard = _auto(count, environment) if found[1] == "auto" else Shard(int(found[1]), count or 0)
  if not 1 <= shard.count <= _LARGEST:
    raise UsageError(f"--shard {text}: {shard.count} parts; 1 to {_LARGEST} are possible.")
  if shard.index >= shard.count:
    raise UsageError(
      f"--shard {text}: there is no part {shard.index} of {shard.count}; parts count from 0."
    )
  return shard


def _auto(count: int | None, environment: Mapping[str, str]) -> Shard:
  names = [name for name in ("JOB_COMPLETION_INDEX", "SLURM_ARRAY_TASK_ID") if name in environment]
  if not names:
    raise UsageError(
      "--shard auto: neither JOB_COMPLETION_INDEX (a Kubernetes indexed job) nor "
      "SLURM_ARRAY_TASK_ID (sbatch --array) is set; write --shard I/N."
    )
  if len(names) == 2:
    raise UsageError(f"--shard auto: {' and '.join(names)} are both set; write --shard I/N.")
  index = _number(environment, names[0])
  if count is not None:
    return Shard(index, count)
  if names[0] == "JOB_COMPLETION_INDEX":
    if "JOB_COMPLETION_COUNT" not in environment:
      raise UsageError(
        "--shard auto: Kubernetes tells a pod its index, not how many there are. Set "
        "JOB_COMPLETION_COUNT to the job's completions in its manifest, or write --shard auto/N."
      )
    return Shard(index, _number(environment, "JOB_COMPLETION_COUNT"))
  return _of_array(index, environment)


def _of_array(index: int, environment: Mapping[str, str]) -> Shard:
  """Of an array MIN-MAX or MIN-MAX:STEP of SLURM; a list with gaps has no such meaning."""
  prefix = "SLURM_ARRAY_TASK_"
  count, least = (_number(environment, f"{prefix}{name}") for name in ("COUNT", "MIN"))
  most = _number(environment, f"{prefix}MAX") if f"{prefix}MAX" in environment else None
  step = _number(environment, f"{prefix}STEP") if f"{prefix}STEP" in environment else 1
  number, over = divmod(index - least, max(step, 1))
  gaps = most is not None and (most - least) // max(step, 1) + 1 != count
  if over or number < 0 or gaps:
    raise UsageError(
      f"--shard auto: task {index} of an array of {count} from {least} on: it has gaps. Write "
      "--shard auto/N with the N that the whole array had from 0 on."
    )
  return Shard(number, count)


def _number(environment: Mapping[str, str], name: str) -> int:
  text = environment.get(name, "")
  if not re.fullmatch(r"\d{1,9}", text):
    raise UsageError(f"--shard auto: {name} is {text!r}, not a whole number; write --shard I/N.")
  return int(text)
