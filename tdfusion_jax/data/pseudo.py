"""Pairs whose labels come from a task network, where nobody has drawn any."""

from collections.abc import Sequence
from typing import Any

from tdfusion_jax.batch import Sample
from tdfusion_jax.data.source import Kind, Source, checked_index, describe_source


class PseudoSource:
  """The pairs of another source with other targets.

  Args:
    source: any `Source`; its own labels, if it has some, are not shown.
    kind: what `targets` are.
    classes: their names.
    targets: one `Sample.target` for each pair, in pixels of the pair.
    key: of all that the targets were made from.
  """

  def __init__(
    self,
    source: Source,
    kind: Kind,
    classes: Sequence[str],
    targets: Sequence[Any],
    key: str = "",
  ):
    if len(targets) != len(source):
      raise ValueError(f"{len(targets)} targets for {len(source)} pairs.")
    self.source, self.targets, self.key = source, list(targets), key
    self.names = source.names
    self.kind: Kind | None = kind
    self.classes = tuple(classes)

  def __len__(self) -> int:
    return len(self.source)

  def __getitem__(self, index: int) -> Sample:
    index = checked_index(index, len(self))
    return self.source[index]._replace(target=self.targets[index])

  def describe(self) -> str:
    """The pairs, and that T has labelled them."""
    labelled = describe_source("with pseudo-labels", len(self), self.kind, self.classes)
    return f"{self.source.describe()}; {labelled}"
