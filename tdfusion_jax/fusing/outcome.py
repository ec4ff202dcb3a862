"""What became of a folder, and what a user reads about it."""

from pathlib import Path
from typing import NamedTuple

from tdfusion_jax.fusing.pairs import PairFuser
from tdfusion_jax.images.listing import Place


class Report(NamedTuple):
  """What became of a folder."""

  written: list[Place]
  skipped: list[Place]
  """Outputs that existed already."""
  failed: list[str]
  """One line per pair that could not be fused, naming the file."""
  warnings: list[str]
  """One line per pair that was fused and looks wrong."""


def summary(report: Report, out: str | Path, fuser: PairFuser | None, seconds: float) -> list[str]:
  """What was done and how fast.

  Args:
    report: of `fuse_folder`.
    out: where the files are.
    fuser: what fused them, with the seconds that its programs took to compile; None if that was
      on other machines.
    seconds: of the whole work.

  Returns:
    Lines for the standard output.
  """
  skipped = f", {len(report.skipped)} were there" if report.skipped else ""
  lines = [f"{len(report.written)} written to {out}{skipped}, {len(report.failed)} failed"]
  if not report.written:
    return lines
  if note := getattr(fuser, "note", ""):
    lines.append(note)
  compiled = fuser.compiled if fuser else []
  compiling_s, count = sum(compiled), len(compiled)
  rate = f"{len(report.written) / max(seconds - compiling_s, 1e-9):.2f} images/s"
  programs = f"{count} program{'s' if count != 1 else ''}"
  if count:
    rate = f"of these {compiling_s:.1f} s compiling {programs}; {rate} besides"
  return [*lines, f"{seconds:.1f} s, {rate}"]


def troubles(report: Report) -> list[str]:
  """Lines for the standard error, each with its end: warnings, and what failed."""
  lines = [f"warning: {line}\n" for line in report.warnings]
  if report.failed:
    lines.append("failed:\n")
  return lines + [f"  {line}\n" for line in report.failed]
