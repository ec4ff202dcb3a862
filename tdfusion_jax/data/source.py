"""What a data source is, how to look inside a wrapped one, and the error every reader raises."""

from typing import Any, Literal, Protocol, runtime_checkable

from tdfusion_jax.batch import Sample
from tdfusion_jax.files import UsageError

Kind = Literal["segmentation", "detection"]


class DatasetError(UsageError):
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


def find(source: Any, name: str) -> Any:
  """The attribute `name` of a source, or of the one that it wraps, however deep; None without one.

  Caches, `SkippingSource` and `FusedSource` hold what they wrap as `source`. What only some sources
  have (the synthetic world's `scene`, a reader's `files`) is found through all of them.
  """
  while source is not None:
    if hasattr(source, name):
      return getattr(source, name)
    source = getattr(source, "source", None)
  return None


def describe_source(title: str, count: int, kind: Kind | None, classes: tuple[str, ...]) -> str:
  """`"LLVIP train: 1203 pairs, detection, 1 class (person)"`."""
  labels = "no labels"
  if kind is not None:
    labels = (
      f"{kind}, {len(classes)} class{'es' if len(classes) != 1 else ''} ({', '.join(classes)})"
    )
  return f"{title}: {count} pair{'s' if count != 1 else ''}, {labels}"


def checked_index(index: int, length: int) -> int:
  """A plain index in [0, length); negative ones count from the end. Raises IndexError outside."""
  position = int(index)
  if position < 0:
    position += length
  if not 0 <= position < length:
    raise IndexError(f"index {index} outside a source of {length} pairs")
  return position
