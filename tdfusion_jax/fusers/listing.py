"""Which weights there are by name, with what is known about them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from tdfusion_jax.fusers import pretrained
from tdfusion_jax.fusers.named import NAMES, known_of, weights_file
from tdfusion_jax.remote import hub
from tdfusion_jax.weightfiles import CheckpointError, load_weights


class Entry(NamedTuple):
  """Weights that a name stands for."""

  name: str
  licence: str
  scores: dict[str, float]
  """{metric: mean}; of a repository as its owner states them. Empty if nobody measured."""
  file: Path | None = None
  parameters: int = 0
  remark: str = ""
  """Why they cannot be used, and the remedy."""


def entries() -> Iterator[Entry]:
  """Those that `NAMES` has, and those of the hub that are in its cache; nothing is fetched."""
  for name, named in NAMES.items():
    try:
      file = weights_file(name)
      variables, metadata = load_weights(file)
    except CheckpointError as error:
      known = known_of(name, {"source_sha256": named.source_sha256})
      yield Entry(name, known["licence"], known.get("scores", {}), remark=_remark(name, error))
      continue
    known = known_of(name, metadata)
    yield Entry(name, known["licence"], known.get("scores", {}), file, _count(variables))
  for repository, config in hub.in_cache(pretrained.CONFIG):
    if entry := _of_hub(str(repository), config):
      yield entry


def _of_hub(name: str, config: Path) -> Entry | None:
  """None for what other programs keep in the same cache."""
  try:
    fields = pretrained.described(config)
  except CheckpointError:
    return None
  if fields is None:
    return None
  licence, scores = fields["licence"] or "not stated", fields["scores"]
  try:
    file = pretrained.checked(config.parent)
    return Entry(name, licence, scores, file, _count(load_weights(file)[0]))
  except CheckpointError as error:
    return Entry(name, licence, scores, remark=_remark(name, error))


def _remark(name: str, error: CheckpointError) -> str:
  return str(error).removeprefix(f"{name}: ")


def _count(variables: Any) -> int:
  return sum(np.size(leaf) for leaf in jax.tree.leaves(variables))
