"""What happens to a pair that cannot be read in the middle of a training."""

import json
import logging
from pathlib import Path
from typing import Any

from tdfusion_jax.batch import Sample
from tdfusion_jax.data.source import DatasetError, Kind, Source, checked_index, find

log = logging.getLogger(__name__)

BAD_SAMPLES = ("stop", "skip")


class SkippingSource:
  """Another source, with each unreadable pair replaced by the next readable one.

  Which pair stands in depends on the files alone, so batches stay the same for any number of
  workers and after a resume. Every replaced pair is logged once per process, with the reason, and
  kept in `skipped`.

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
    self.report: Path | None = None
    """File to which every process appends what it skips; see `report_skipped`."""

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
    self.write_down(name)
    log.warning("skipped pair %s (%d so far): %s", name, len(self.skipped), reason)
    if len(self.skipped) > max(1, self.most * len(self)):
      raise DatasetError(
        f"{len(self.skipped)} of {len(self)} pairs cannot be read, "
        "more than data.bad_samples='skip' tolerates; "
        f"run `tdfusion data verify`. The last one: {reason}"
      )

  def report_to(self, report: Path) -> None:
    """Appends what is skipped to `report` from now on, and what was skipped before."""
    self.report = report
    known = read_skipped(report)
    if report.exists() and not report.read_bytes().endswith(b"\n"):
      with report.open("ab") as file:  # a killed process left half a line
        file.write(b"\n")
    for name in self.skipped.keys() - known.keys():
      self.write_down(name)

  def write_down(self, name: str) -> None:
    """Appends a skipped pair to `report`, in one write: workers append to the same file."""
    if self.report is None:
      return
    line = json.dumps({"name": name, "reason": self.skipped[name]}) + "\n"
    try:
      with self.report.open("ab", buffering=0) as file:
        file.write(line.encode())
    except OSError as error:
      log.warning("%s: cannot be written (%s)", self.report, error)

  def describe(self) -> str:
    """The pairs, and what happens to unreadable ones."""
    return f"{self.source.describe()}, unreadable pairs skipped"


def report_skipped(source: Any, report: Path) -> None:
  """Makes the `SkippingSource` inside `source`, if there is one, write to `report`.

  Before worker processes get their copies: theirs report there too.
  """
  report_to = find(source, "report_to")
  if report_to is not None:
    report_to(report)


def read_skipped(report: Path) -> dict[str, str]:
  """Reasons by name of what all processes of a run skipped, first met first."""
  try:
    lines = report.read_text(encoding="utf-8").splitlines()
  except FileNotFoundError:
    return {}
  found: dict[str, str] = {}
  for line in lines:
    try:
      row = json.loads(line)
      found.setdefault(row["name"], row["reason"])
    except (
      KeyError,
      RecursionError,
      TypeError,
      ValueError,
    ):  # the end of a line that a killed process wrote
      continue
  return found


def summary(report: Path, total: int, shown: int = 5) -> str:
  """One line, "" if nothing was skipped.

  `"2 of 1203 pairs could not be read and were skipped: a, b (reasons: runs/x/skipped.jsonl)"`.
  """
  names = list(read_skipped(report))
  if not names:
    return ""
  listed = ", ".join(names[:shown]) + (", ..." if len(names) > shown else "")
  return (
    f"{len(names)} of {total} pairs could not be read and were skipped: "
    f"{listed} (reasons: {report})"
  )
