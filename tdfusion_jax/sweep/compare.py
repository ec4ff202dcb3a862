"""What the runs of a sweep amount to: means, spreads, paired differences."""

import math
import statistics
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

from tdfusion_jax.config import ConfigError
from tdfusion_jax.evaluate import contributions, tables
from tdfusion_jax.evaluate.contributions import Contributions
from tdfusion_jax.evaluate.resampling import FEW
from tdfusion_jax.evaluate.results import parts, read_result
from tdfusion_jax.files import write_json, write_text
from tdfusion_jax.sweep.file import Sweep
from tdfusion_jax.sweep.intervals import add_intervals, drawn_from


def write_comparison(sweep: Sweep, workdir: str | Path, *, resamples: int = 1000) -> dict:
  """Compares the finished runs in `workdir` and writes `sweep.json` and `sweep.md` there.

  Args:
    sweep: names the arms.
    workdir: of the sweep.
    resamples: of the bootstrap over images that gives intervals; 0 gives none.
  """
  workdir = Path(workdir)
  results: dict[str, dict[int | str, dict]] = {}
  images: dict[str, dict[int | str, Contributions]] = {}
  for arm in sweep.arms:
    for turn in sweep.turns:
      folder = workdir / arm / turn.folder / "task"
      if not (folder / "result.json").is_file():
        continue
      results.setdefault(arm, {})[turn.key] = read_result(folder / "result.json")
      seen = folder / f"images_{sweep.report}.npz"
      if resamples and seen.is_file():
        images.setdefault(arm, {})[turn.key] = contributions.read(seen)
  compared = compare(sweep, results)
  arms = {row: body.get("chosen", row) for row, body in compared.items()}
  of_rows = {row: images[arm] for row, arm in arms.items() if arm in images}
  add_intervals(compared, of_rows, sweep.compare_to, resamples=resamples, counted=arms)
  write_json(workdir / "sweep.json", compared)
  write_text(workdir / "sweep.md", _markdown(sweep, compared, drawn_from(images)))
  return compared


def compare(sweep: Sweep, results: Mapping[str, Mapping[int | str, dict]]) -> dict:
  """Means, spreads and paired differences.

  Args:
    sweep: names the splits, the scores and the arm to compare to.
    results: {arm: {run: result}} as from `run_one`; a run is a seed, or "fold_K/seed_N".

  Returns:
    {arm: {score: {"mean", "sd", "values" {run: value}, "difference" and "t" of the paired
    differences to `sweep.compare_to`, "chosen" for a best row}}} on `sweep.report`; sd and t are
    None for a single run.
  """
  if results:
    check_splits(sweep, _splits(results))
  rows = {
    arm: {key: _part(run, sweep.report, f"{arm}, {_name(key)}") for key, run in runs.items()}
    for arm, runs in results.items()
  }
  chosen = {}
  for name, body in sweep.best.items():
    finished = [arm for arm in body["of"] if arm in results]
    if finished:
      means = {arm: _mean_on(results[arm], sweep.select, body["by"]) for arm in finished}
      chosen[name] = max(finished, key=means.__getitem__)
      rows[name] = rows[chosen[name]]
  base = rows.get(sweep.compare_to, {})
  out = {}
  for arm, runs in rows.items():
    names = sweep.scores or list(tables.main_scores(next(iter(runs.values()))))
    out[arm] = {name: _summary(runs, base, name) for name in names}
    if arm in chosen:
      out[arm]["chosen"] = chosen[arm]
  return out


def _splits(results: Mapping[str, Mapping[int | str, dict]]) -> set[str]:
  """Those that any run has scores on; a result holds texts and numbers beside them."""
  runs = [run for of_arm in results.values() for run in of_arm.values()]
  return {name for run in runs for name in parts(run)}


def _part(run: dict, split: str, whose: str) -> dict[str, float]:
  """The scores on one split; ConfigError if the run has none there."""
  found = parts(run).get(split)
  if not found:
    raise ConfigError(f"{whose}: result.json holds no scores on {split!r}.")
  return found


def _score(scores: Mapping[str, float], name: str, whose: str) -> float:
  if name not in scores:
    raise ConfigError(f"{whose}: result.json holds no score {name!r}.")
  return scores[name]


def _mean_on(runs: Mapping[int | str, dict], split: str, score: str) -> float:
  of_split = [_part(run, split, _name(key)) for key, run in runs.items()]
  return statistics.fmean(_score(scores, score, f"on {split}") for scores in of_split)


def _name(key: int | str) -> str:
  return f"seed {key}" if isinstance(key, int) else key


def _summary(
  runs: Mapping[int | str, dict], base: Mapping[int | str, dict], name: str
) -> dict[str, Any]:
  values = {key: _score(run, name, _name(key)) for key, run in runs.items()}
  differences = [
    value - _score(base[key], name, _name(key)) for key, value in values.items() if key in base
  ]
  spread = statistics.stdev(values.values()) if len(values) > 1 else None
  summary: dict[str, Any] = {"mean": statistics.fmean(values.values()), "sd": spread}
  summary["values"] = values
  if differences:
    summary["difference"] = statistics.fmean(differences)
    sd = statistics.stdev(differences) if len(differences) > 1 else 0.0
    summary["t"] = summary["difference"] / (sd / math.sqrt(len(differences))) if sd else None
  return summary


def _markdown(sweep: Sweep, compared: Mapping[str, Mapping[str, Any]], blocks: int) -> str:
  if not compared:
    return "Nothing is finished yet.\n"
  names = [name for name in next(iter(compared.values())) if name != "chosen"]
  head = ["arm"]
  for name in names:
    head += [f"{name}: mean ± sd", "difference (t)"]
  lines = [_line(arm, row, names) for arm, row in compared.items()]
  by = "fold and seed" if sweep.folds else "seed"
  note = (
    f"On `{sweep.report}`; differences are paired by {by}, to `{sweep.compare_to}`; "
    f"choices made on `{sweep.select}`."
  )
  counted = "runs" if sweep.folds else "seeds"
  table = tables.markdown_lines([*head, counted], lines)
  return f"{table}\n{note}\n{_over_images(compared, names, blocks)}"


def _over_images(compared: Mapping[str, Mapping[str, Any]], names: list[str], blocks: int) -> str:
  """A second table: what other images would have changed; nothing where that is not known."""
  known = [name for name in names if any("low" in row[name] for row in compared.values())]
  if not known:
    return ""
  lines = []
  for arm, row in compared.items():
    if not any("low" in row[name] for name in known):
      continue
    cells = [arm]
    for name in known:
      summary = row[name]
      there = "low" in summary
      cells.append(f"{summary['low']:+.4f} to {summary['high']:+.4f}" if there else "")
      cells.append(f"{summary['p']:.3f}" if "p" in summary else "")
    lines.append(cells)
  head = ["arm", *(text for name in known for text in (f"{name}: difference (95 %)", "p (Holm)"))]
  few = ", which is few: they are likely too narrow" if blocks < FEW else ""
  note = (
    "Intervals and p are of a bootstrap over the images of these runs, by blocks of neighbours "
    f"where the data names them ({blocks} to draw from{few}); what other seeds would change is in "
    "the spread above. p is corrected for all arms of a score together."
  )
  return f"\n{tables.markdown_lines(head, lines)}\n{note}\n"


def _line(arm: str, row: Mapping[str, Any], names: list[str]) -> list[str]:
  """The cells of an arm: two for each score, and the number of seeds."""
  cells = [arm + (f" ({row['chosen']})" if "chosen" in row else "")]
  count = 0
  for name in names:
    summary = row[name]
    count = len(summary["values"])
    spread = "" if summary["sd"] is None else f" ± {summary['sd']:.4f}"
    cells.append(f"{summary['mean']:.4f}{spread}")
    difference = f"{summary['difference']:+.4f}" if "difference" in summary else ""
    t = f" ({summary['t']:.1f})" if summary.get("t") else ""
    cells.append(difference + t)
  return [*cells, str(count)]


def check_splits(sweep: Sweep, there: Set[str]) -> None:
  """Raises ConfigError if the sweep needs scores on a split that is not `there`."""
  needed = [sweep.report, *([sweep.select] if sweep.best else [])]
  for split in needed:
    if split not in there:
      raise ConfigError(
        f"the sweep asks for scores on {split!r}; there are scores on: {', '.join(sorted(there))}."
      )
