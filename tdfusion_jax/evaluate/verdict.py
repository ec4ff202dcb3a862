"""Which images suit a given T best: rows, intervals, differences, and the answer in words."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tdfusion_jax.evaluate import tables
from tdfusion_jax.evaluate.contributions import Contributions
from tdfusion_jax.evaluate.resampling import FEW, Estimate, differences, draws, estimate, estimates
from tdfusion_jax.files import UsageError
from tdfusion_jax.progress import Progress

MAIN = {"detection": ("AP50", "mAP"), "segmentation": ("mIoU",)}
"""Scores that rows are told apart by; the first is the default."""
_ALONE = ("infrared", "visible")  # titles of rows that need no fusion


class Verdict(NamedTuple):
  """Scores of T on the images of every method."""

  main: str
  """The score that decides."""
  base: str
  """The row that differences are to."""
  rows: dict[str, dict[str, Estimate]]
  differences: dict[str, dict[str, Estimate]]
  """Of each row but `base`, to it."""
  fusion: Estimate | None
  """The best row's `main`, less that of the better one of infrared and visible alone; None where
  neither is there."""
  alone: str
  """Which of them that is."""
  doubts: tuple[str, ...] = ()
  """What stands against trusting the intervals, or against a missing one: sentences."""

  @property
  def best(self) -> str:
    """The row with the highest `main`."""
    return _best(self.rows, self.main)


def decide(
  outcomes: Mapping[str, Contributions],
  blocks: np.ndarray,
  *,
  main: str,
  compare_to: str = "",
  resamples: int = 1000,
  seed: int = 0,
) -> Verdict:
  """Scores all methods on the same resamples.

  Args:
    outcomes: by title.
    blocks: see `resampling.draws`.
    main: the score that decides.
    compare_to: a title; empty for the best row.
    resamples: 0 gives no intervals.
    seed: of the resamples.

  Raises:
    UsageError: no such row, or the images have no labels that could be found.
  """
  check_row(compare_to, list(outcomes))
  weights = draws(blocks, resamples, seed)
  with Progress(len(outcomes), "scoring", unit="methods") as progress:
    scores = {title: outcomes[title].scores(weights) for title in progress.track(outcomes)}
  rows = estimates(scores)
  if not any(np.isfinite(row[main].value) for row in rows.values()):
    raise UsageError(
      f"{main} has no value: nothing is labelled in any of the {len(blocks)} images."
    )
  best = _best(rows, main)
  base = compare_to or best
  alone = [title for title in rows if title in _ALONE]
  single = _best({title: rows[title] for title in alone}, main) if alone else ""
  gain = None
  if single and best not in alone:
    gain = estimate(scores[best][main] - scores[single][main])
  doubts = _doubts(blocks) if resamples else ()
  return Verdict(main, base, rows, differences(scores, base), gain, single, doubts)


def check_row(compare_to: str, titles: Sequence[str]) -> None:
  """Raises UsageError if `compare_to` names none of the rows."""
  if compare_to and compare_to not in titles:
    raise UsageError(f"--compare-to: no row {compare_to}; there are: {', '.join(titles)}.")


def _doubts(blocks: np.ndarray) -> tuple[str, ...]:
  count, images = int(blocks.max()) + 1, len(blocks)
  units = f"{count} blocks" if count < images else f"{images} images"
  if count == 1:
    what = "one image" if images == 1 else f"one block of {images} images"
    return (f"no intervals: there is only {what} to draw from",)
  if count < FEW:
    return (f"intervals are of {units} only, and likely too narrow",)
  return ()


def _best(rows: Mapping[str, Mapping[str, Estimate]], main: str) -> str:
  def value(title: str) -> float:
    score = rows[title][main].value
    return score if np.isfinite(score) else -1.0

  return max(rows, key=value)


def answer(verdict: Verdict) -> list[str]:
  """What the scores say, in sentences."""
  main, best = verdict.main, verdict.best
  lines = [f"best {main}: {best}, {_with_interval(verdict.rows[best][main])}"]
  if verdict.rows[best][main].value == 0:
    lines[0] = f"T finds nothing that is labelled: {main} is 0 in all rows"
  elif verdict.fusion is not None and verdict.fusion.value == 0:
    lines.append(f"{best} is as good as {verdict.alone} alone")
  elif verdict.fusion is not None:
    than = f"{best} is {_signed(verdict.fusion)} than {verdict.alone} alone"
    lines.append(f"{than}: {_told(verdict.fusion)}")
  elif best in _ALONE:
    lines.append(f"{best} alone is best: none of the fusions here helps this T")
  others = {title: of_row[main] for title, of_row in verdict.differences.items()}
  for words, chosen in (
    (f"surely below {verdict.base}", [t for t, d in others.items() if d.high < 0]),
    (f"surely above {verdict.base}", [t for t, d in others.items() if d.low > 0]),
    (f"not to be told from {verdict.base}", [t for t, d in others.items() if not d.sure]),
  ):
    if chosen and np.isfinite(verdict.rows[best][main].low):
      lines.append(f"{words}: {', '.join(chosen)}")
  return [*lines, *verdict.doubts]


def _with_interval(score: Estimate) -> str:
  return f"{score.value:.3f}{_interval(score, '.3f')}"


def _interval(score: Estimate, form: str) -> str:
  if not np.isfinite(score.low):
    return ""
  return f" ({score.low:{form}} to {score.high:{form}})"


def _signed(difference: Estimate) -> str:
  word = "better" if difference.value >= 0 else "worse"
  return f"{difference.value:+.3f}{_interval(difference, '+.3f')} {word}"


def _told(difference: Estimate) -> str:
  if not np.isfinite(difference.low):
    return "without an interval nobody knows whether that is chance"
  return "more than chance" if difference.sure else "that may be chance"


def markdown(verdict: Verdict) -> str:
  """The table: the deciding score with its interval, its difference, all other scores."""
  names = tables.columns({title: dict.fromkeys(row, 0.0) for title, row in verdict.rows.items()})
  others = [name for name in names if name != verdict.main]
  plain = {
    title: {name: score.value for name, score in row.items()} for title, row in verdict.rows.items()
  }
  cells = tables.marked_cells(plain, [verdict.main, *others], tables.MARKDOWN)
  lines = []
  for title, (main, *rest) in cells.items():
    difference = ""
    if title != verdict.base:
      of_row = verdict.differences[title][verdict.main]
      difference = f"{of_row.value:+.3f}{_interval(of_row, '+.3f')}"
    interval = _interval(verdict.rows[title][verdict.main], ".3f")
    lines.append([title, main + interval, difference, *rest])
  head = ["method", f"{verdict.main} (95 %)", f"to {verdict.base} (95 %)", *others]
  return tables.markdown_lines(head, lines)


def rows_of(verdict: Verdict) -> list[dict[str, Any]]:
  """One line for each row and score, as for a CSV file."""
  lines = []
  for title, row in verdict.rows.items():
    for name, score in row.items():
      line = {"method": title, "score": name, **score._asdict()}
      if title != verdict.base:
        of_row = verdict.differences[title][name]._asdict()
        line |= {f"difference_{key}": value for key, value in of_row.items()}
      lines.append(line)
  return lines


def as_json(verdict: Verdict) -> dict[str, Any]:
  """Everything, in JSON values."""
  return {
    "score": verdict.main,
    "best": verdict.best,
    "compare_to": verdict.base,
    "answer": answer(verdict),
    "rows": _plain(verdict.rows),
    "differences": _plain(verdict.differences),
  }


def _plain(rows: Mapping[str, Mapping[str, Estimate]]) -> dict[str, dict[str, dict[str, float]]]:
  return {
    title: {name: score._asdict() for name, score in row.items()} for title, row in rows.items()
  }
