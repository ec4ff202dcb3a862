"""What happens to a pair that cannot be read in the middle of a training."""

import logging

from tdfusion_jax.batch import Sample
from tdfusion_jax.data.source import DatasetError, Kind, Source, checked_index

log = logging.getLogger(__name__)

BAD_SAMPLES = ("stop", "skip")


class SkippingSource:
  """Another source, with each unreadable pair replaced by the next readable one.

  Which pair stands in depends on the files alone, so batches stay the same for any number of workers and after a
  resume. Every replaced pair is logged once per process, with the reason, and kept in `skipped`.

  Args:
    source: any `Source`.
    most: share of the pairs that may be unreadable; beyond it the data set is broken, not a sample.
  """

  def __init__(self, source: Source, most: float = 0.1):
    self.source, self.most = source, most
    self.names, self.classes = source.names, source.classes
    self.kind: Kind | None = source.kind
    self.skipped: dict[str, str] = {}
    """Reasons by name, of what this process came across."""

  def __len__(self) -> int:
    return len(self.source)

  def __getitem__(self, index: int) -> Sample:
    first = checked_index(index, len(self))
    for offset in range(len(self)):
      position = (first + offset) % len(self)
      try:
        return self.source[position]
      except DatasetError as error:
        self._note(self.names[position], str(error))
    raise DatasetError(f"{self.source.describe()}: no pair can be read")

  def _note(self, name: str, reason: str) -> None:
    if name in self.skipped:
      return
    self.skipped[name] = reason
    log.warning("skipped pair %s (%d so far): %s", name, len(self.skipped), reason)
    if len(self.skipped) > max(1, self.most * len(self)):
      raise DatasetError(
        f"{len(self.skipped)} of {len(self)} pairs cannot be read, more than data.bad_samples='skip' tolerates; "
        f"run `tdfusion data verify`. The last one: {reason}"
      )

  def describe(self) -> str:
    return f"{self.source.describe()}, unreadable pairs skipped"
