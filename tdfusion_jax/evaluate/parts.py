"""Scores that several processes have measured, each a part of the pairs, merged."""

import itertools
import json
from pathlib import Path
from typing import Any, NamedTuple

from tdfusion_jax.cluster.shards import Shard
from tdfusion_jax.evaluate.measure import Scores
from tdfusion_jax.files import UsageError, reason
from tdfusion_jax.remote.addresses import Address, RemoteError, place_of
from tdfusion_jax.remote.texts import are_there, read_text, write_text
from tdfusion_jax.remote.texts import remove as remove_file


class Part(NamedTuple):
  """What one process has measured."""

  scores: Scores
  """Of its pairs."""
  lower_is_better: list[str]
  """Names of metrics."""
  about: dict[str, Any]
  """How it was measured, JSON values; equal in all parts."""


def part_file(stem: str | Path, shard: Shard) -> Path | Address:
  """Where a part of the scores for STEM.json is until all are there."""
  return place_of(f"{stem}.shard_{shard.index}_of_{shard.count}.json")


def write_part(stem: str | Path, shard: Shard, part: Part) -> None:
  """Writes what one process has measured, in the place of what it wrote earlier.

  Raises:
    OSError, RemoteError: it cannot be written.
  """
  # Not `write_json`: NaN has to come back as it was.
  write_text(part_file(stem, shard), json.dumps(part._asdict()))


def merge(stem: str | Path, count: int) -> Part | None:
  """All `count` parts together, in the order of an undivided measurement.

  Returns:
    None as long as some are missing. Of processes that end at the same moment, several may get the
    whole, and the same.

  Raises:
    UsageError: a part cannot be read, or was measured in another way than the others.
  """
  files = [part_file(stem, Shard(index, count)) for index in range(count)]
  if not are_there(files):
    return None
  try:
    parts = [_read(file) for file in files]
  except FileNotFoundError:  # another process has merged them, and removed them
    return None
  first = parts[0]
  for file, part in zip(files, parts, strict=True):
    alike = part.about == first.about and list(part.scores) == list(first.scores)
    if not alike or _names(part) & set().union(*(_names(p) for p in parts if p is not part)):
      raise UsageError(
        f"{file} was measured with other options or on other pairs than {files[0]}; remove it, or "
        "start its shard again."
      )
  return first._replace(
    scores={method: _in_turn([part.scores[method] for part in parts]) for method in first.scores}
  )


def remove(stem: str | Path, count: int) -> None:
  """Removes all parts, when what they are merged to is written."""
  for index in range(count):
    remove_file(part_file(stem, Shard(index, count)))  # another process may do the same


def _read(file: Path | Address) -> Part:
  try:
    return Part(**json.loads(read_text(file)))
  except (FileNotFoundError, RemoteError):
    raise
  except (OSError, TypeError, ValueError) as error:
    why = reason(error) if isinstance(error, OSError) else f"{error}."
    raise UsageError(f"{file} cannot be read: {why} Start its shard again.") from error


def _names(part: Part) -> set[str]:
  return set().union(*part.scores.values())


def _in_turn(rows: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
  """One pair of each part after another: `Shard.of`, undone."""
  rounds = itertools.zip_longest(*(row.items() for row in rows))
  return dict(pair for turn in rounds for pair in turn if pair is not None)
