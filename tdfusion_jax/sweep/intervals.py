"""What other images would have changed: a bootstrap over those that the runs were judged on."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tdfusion_jax.evaluate.contributions import Contributions
from tdfusion_jax.evaluate.resampling import draws, estimate
from tdfusion_jax.progress import Progress

OfRuns = Mapping[int | str, Contributions]
"""{run: what its T found on each image}."""

_SEED = 0


def add_intervals(
  compared: dict[str, dict[str, Any]],
  images: Mapping[str, OfRuns],
  base: str,
  *,
  resamples: int,
  counted: Mapping[str, str],
) -> None:
  """Adds "low", "high" and "p" to the differences in `compared`, where all images are known.

  Whole blocks of neighbouring images are drawn (`evaluate.resampling`), the same ones in all runs
  that were judged on the same images; each draw is scored anew in each run, and the mean over runs
  of the differences is taken. "p" is the share of draws on the other side of 0, doubled; Holm's
  correction (1979) makes it hold for all arms of a score together.

  Args:
    compared: as from `compare.compare`.
    images: by row.
    base: the row that differences are to.
    resamples: of the bootstrap.
    counted: {row: arm}: rows that show the same arm count once in the correction.
  """
  if not resamples or base not in images:
    return
  scored = _scores(images, resamples)
  found: dict[str, dict[str, float]] = {}
  for row in scored.keys() & compared.keys() - {base}:
    for name, summary in compared[row].items():
      drawn = _drawn(scored, compared, (row, base), name)
      interval = estimate(drawn) if drawn is not None else None
      if drawn is not None and interval is not None and math.isfinite(interval.low):
        summary |= {"low": interval.low, "high": interval.high}
        found.setdefault(name, {})[row] = _p(drawn[1:])
  for name, of_rows in found.items():
    arms = {counted.get(row, row): p for row, p in of_rows.items()}
    arms.pop(base, None)
    arms.pop(counted.get(base, base), None)
    corrected = holm(arms)
    for row in of_rows:
      if counted.get(row, row) in corrected:
        compared[row][name]["p"] = corrected[counted.get(row, row)]


def drawn_from(images: Mapping[str, OfRuns]) -> int:
  """How many blocks of images there are: those that several runs were judged on count once."""
  counts = {
    found.names: int(found.blocks.max()) + 1 for runs in images.values() for found in runs.values()
  }
  return sum(counts.values())


_Scored = dict[str, dict[int | str, Mapping[str, np.ndarray]]]


def _drawn(
  scored: _Scored, compared: Mapping[str, Any], rows: tuple[str, str], name: str
) -> np.ndarray | None:
  """The mean difference of two rows in each draw; None where a run cannot be drawn anew."""
  row, base = rows
  if "difference" not in (compared[row][name] if name != "chosen" else ()):
    return None
  of_base = compared[base][name]["values"]
  shared = [run for run in compared[row][name]["values"] if run in of_base]
  if not all(name in scored[of].get(run, {}) for of in rows for run in shared):
    return None  # as of the loss
  drawn = [scored[row][run][name] - scored[base][run][name] for run in shared]
  if any(len(values) == 1 for values in drawn):
    return None  # its images are a single block
  return np.mean(drawn, axis=0)


def _scores(images: Mapping[str, OfRuns], resamples: int) -> _Scored:
  """{row: {run: {score: one value for each draw}}}."""
  drawn: dict[tuple[str, ...], np.ndarray] = {}
  scored: dict[int, Mapping[str, np.ndarray]] = {}  # a best row shares the runs of an arm
  out: _Scored = {row: {} for row in images}
  todo = [(row, run, found) for row, runs in images.items() for run, found in runs.items()]
  with Progress(len(todo), "intervals", unit="runs") as progress:
    for row, run, found in progress.track(todo):
      if found.names not in drawn:
        drawn[found.names] = draws(found.blocks, resamples, _SEED + len(drawn))
      if id(found) not in scored:
        scored[id(found)] = found.scores(drawn[found.names])
      out[row][run] = scored[id(found)]
  return out


def _p(values: np.ndarray) -> float:
  known = values[np.isfinite(values)]
  beyond = min(np.sum(known <= 0), np.sum(known >= 0))
  return float(min(1.0, 2 * (1 + beyond) / (1 + len(known))))


def holm(p: Mapping[str, float]) -> dict[str, float]:
  """P-values that hold for all comparisons together (Holm 1979); a single one stays as it is."""
  corrected, least = {}, 0.0
  for rank, row in enumerate(sorted(p, key=p.__getitem__)):
    least = max(least, min(1.0, (len(p) - rank) * p[row]))
    corrected[row] = least
  return corrected
