"""The last lines of a training: what was learned, what to look at, what to do next."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_SCORES = ("AP50", "mAP", "mIoU")
_LOSSES = ("task_loss", "fusion_loss")
_WEIGHTS = {
  "w_a_ir_only": "where only infrared shows a thing",
  "w_a_vi_only": "where only the visible image does",
  "w_a": "everywhere",
}
_WIDE = 58
_SMALL = 0.005
"""Changes below it are told as none: they would be the same two digits."""


def lines(validations: Sequence[Mapping[str, Any]], folder: Path) -> list[str]:
  """What a run's end has to say.

  Args:
    validations: the run's validation rows, oldest first; the first is of before the first epoch
      where there was a pre-training.
    folder: of the run.

  Returns:
    Lines for a terminal; without validations, only where things are.
  """
  rows = _plain(validations)
  told = [*_table(rows), *sentences(validations)] if rows else []
  return [*told, *_where(rows, folder)]


def sentences(validations: Sequence[Mapping[str, Any]]) -> list[str]:
  """What changed from the first validation to the last, in words; [] where there are not two."""
  rows = _plain(validations)
  if len(rows) < 2:
    return []
  return [line for line in (_of_score(rows), _of_regions(rows)) if line]


def _plain(validations: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
  return [{name.removeprefix("val/"): row[name] for name in row} for row in validations]


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
  first, last = rows[0], rows[-1]
  lines = [f"  {'on validation pairs':<{_WIDE}}{'before':>9}{'after':>9}{'best':>9}"]
  for name in (*_SCORES, *_LOSSES):
    if name not in last:
      continue
    better = max if name in _SCORES else min
    best = better(row[name] for row in rows if name in row)
    what = f"{name} of T" if name != "fusion_loss" else "fusion_loss of F"
    lines.append(f"  {what:<{_WIDE}}{_cell(first.get(name))}{_cell(last[name])}{_cell(best)}")
  if _weights_move(rows):
    for name, where in _WEIGHTS.items():
      if name in last:
        what = f"infrared's weight w_a {where}"
        lines.append(f"  {what:<{_WIDE}}{_cell(first.get(name))}{_cell(last[name])}")
  return lines


def _cell(value: float | None) -> str:
  return f"{'':>9}" if value is None else f"{value:>9.3g}"


def _weights_move(rows: Sequence[Mapping[str, Any]]) -> bool:
  return any(len({row[name] for row in rows if name in row}) > 1 for name in _WEIGHTS)


def _of_score(rows: Sequence[Mapping[str, Any]]) -> str:
  name = next((name for name in _SCORES if name in rows[0] and name in rows[-1]), None)
  if name is None:
    return ""
  before, after = rows[0][name], rows[-1][name]
  if before == after == 0:
    return f"T finds nothing yet ({name} 0): it has seen too little. More epochs help it."
  change = _change(before, after)
  return f"T's {name} on the images of F {change} from {before:.2f} to {after:.2f}."


def _of_regions(rows: Sequence[Mapping[str, Any]]) -> str:
  last = rows[-1]
  if not _weights_move(rows) or not {"w_a_ir_only", "w_a_vi_only"} <= last.keys():
    return ""
  ir, vi = last["w_a_ir_only"], last["w_a_vi_only"]
  start = f"G gives infrared {ir:.2f} of the weight where only infrared shows a thing, {vi:.2f}"
  end = "where only the visible image does"
  if abs(ir - vi) < _SMALL:
    return f"{start} {end}: it does not tell them apart yet."
  verdict = "as T needs it" if ir > vi else "the wrong way round for T"
  return f"{start} {end}: {verdict}."


def _change(before: float, after: float) -> str:
  if abs(after - before) < _SMALL:
    return "stayed"
  return "rose" if after > before else "fell"


def _where(rows: Sequence[Mapping[str, Any]], folder: Path) -> list[str]:
  pictures = sorted((folder / "pictures").glob("epoch_*.png")) if rows else []
  found = [str(pictures[-1])] if pictures else []
  found += [str(path) for path in (folder / "curves.png",) if path.exists()]
  lines = [f"look at   {'  '.join(found)}"] if found else []
  lines.append(f"report    tdfusion report {folder}")
  lines.append(f"fuse      tdfusion fuse --run {folder} --ir IR --vi VI --out fused")
  return lines
