"""What a data source is, the error every reader raises, and an optional cache in memory."""

import threading
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from tdfusion_jax.batch import Sample

Kind = Literal["segmentation", "detection"]


class DatasetError(ValueError):
  """Data that is missing, incomplete or contradicts itself; the message names the file and the remedy."""


@runtime_checkable
class Source(Protocol):
  """Random access to registered pairs. Must be picklable: loader workers get a copy."""

  names: list[str]
  """Stems in index order, unique within the source."""
  classes: tuple[str, ...]
  """Class names, index = class id; empty without labels."""
  kind: Kind | None
  """What `Sample.target` holds; None for label-free data."""

  def __len__(self) -> int: ...

  def __getitem__(self, index: int) -> Sample: ...

  def describe(self) -> str:
    """One line for logs: name, split, number of pairs, classes."""
    ...


def describe_source(title: str, count: int, kind: Kind | None, classes: tuple[str, ...]) -> str:
  """`"LLVIP train: 1203 pairs, detection, 1 class (person)"`."""
  labels = "no labels"
  if kind is not None:
    labels = f"{kind}, {len(classes)} class{'es' if len(classes) != 1 else ''} ({', '.join(classes)})"
  return f"{title}: {count} pair{'s' if count != 1 else ''}, {labels}"


def checked_index(index: int, length: int) -> int:
  """A plain index in [0, length); negative ones count from the end. Raises IndexError outside."""
  position = int(index)
  if position < 0:
    position += length
  if not 0 <= position < length:
    raise IndexError(f"index {index} outside a source of {length} pairs")
  return position


class CachedSource:
  """Keeps decoded samples of another source in memory, up to `max_bytes`.

  Samples are admitted until the budget is spent and then never evicted: training visits every pair once
  per pass in random order, where a least-recently-used rule would evict each sample just before its use.
  Cached arrays are read-only. Every loader worker process holds its own cache.

  Args:
    source: any `Source`.
    max_bytes: budget for pixel, label and box arrays.
  """

  def __init__(self, source: Source, max_bytes: int = 2 << 30):
    if max_bytes < 0:
      raise ValueError(f"max_bytes must be >= 0, got {max_bytes}")
    self.source = source
    self.max_bytes = max_bytes
    self.names = source.names
    self.classes = source.classes
    self.kind: Kind | None = source.kind
    self._reset()

  def _reset(self) -> None:
    self._samples: dict[int, Sample] = {}
    self.used_bytes = 0
    self._lock = threading.Lock()

  def __getstate__(self):
    state = self.__dict__.copy()
    for key in ("_samples", "_lock", "used_bytes"):
      del state[key]
    return state

  def __setstate__(self, state):
    self.__dict__.update(state)
    self._reset()

  def __len__(self) -> int:
    return len(self.source)

  def __getitem__(self, index: int) -> Sample:
    index = checked_index(index, len(self))
    sample = self._samples.get(index)
    if sample is not None:
      return sample
    sample = self.source[index]
    targets = sample.target if isinstance(sample.target, tuple) else (sample.target,)
    arrays = [a for a in (sample.ir, sample.vi, *targets) if isinstance(a, np.ndarray)]
    size = sum(a.nbytes for a in arrays)
    with self._lock:
      if index not in self._samples and self.used_bytes + size <= self.max_bytes:
        for array in arrays:
          array.flags.writeable = False
        self._samples[index] = sample
        self.used_bytes += size
    return sample

  def describe(self) -> str:
    return f"{self.source.describe()}, cached in memory (up to {self.max_bytes / 2**20:.0f} MiB)"
