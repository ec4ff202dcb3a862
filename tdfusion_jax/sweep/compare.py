"""What the runs of a sweep amount to: means, spreads, paired differences."""

import math
import statistics
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

from tdfusion_jax.config import ConfigError
from tdfusion_jax.evaluate import tables
from tdfusion_jax.evaluate.results import parts, read_result
from tdfusion_jax.files import write_json, write_text
from tdfusion_jax.sweep.file import Sweep


def write_comparison(sweep: Sweep, workdir: str | Path) -> dict:
  """Compares the finished runs in `workdir` and writes `sweep.json` and `sweep.md` there."""
  workdir = Path(workdir)
  results: dict[str, dict[int, dict]] = {}
  for arm in sweep.arms:
    for seed in sweep.seeds:
      file = workdir / arm / f"seed_{seed}" / "task" / "result.json"
      if file.is_file():
        results.setdefault(arm, {})[seed] = read_result(file)
  compared = compare(sweep, results)
  write_json(workdir / "sweep.json", compared)
  write_text(workdir / "sweep.md", _markdown(sweep, compared))
  return compared


def compare(sweep: Sweep, results: Mapping[str, Mapping[int, dict]]) -> dict:
  """Means, spreads and paired differences.

  Args:
    sweep: names the splits, the scores and the arm to compare to.
    results: {arm: {seed: result}} as from `run_one`.

  Returns:
    {arm: {score: {"mean", "sd", "values" {seed: value}, "difference" and "t" of the paired
    differences to `sweep.compare_to`, "chosen" for a best row}}} on `sweep.report`; sd and t are
    None for a single seed.
  """
  if results:
    check_splits(sweep, _splits(results))
  rows = {
    arm: {seed: _part(run, sweep.report, f"{arm}, seed {seed}") for seed, run in runs.items()}
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


def _splits(results: Mapping[str, Mapping[int, dict]]) -> set[str]:
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


def _mean_on(runs: Mapping[int, dict], split: str, score: str) -> float:
  of_split = [_part(run, split, f"seed {seed}") for seed, run in runs.items()]
  return statistics.fmean(_score(scores, score, f"on {split}") for scores in of_split)


def _summary(runs: Mapping[int, dict], base: Mapping[int, dict], name: str) -> dict[str, Any]:
  values = {seed: _score(run, name, f"seed {seed}") for seed, run in runs.items()}
  differences = [
    value - _score(base[seed], name, f"seed {seed}")
    for seed, value in values.items()
    if seed in base
  ]
  spread = statistics.stdev(values.values()) if len(values) > 1 else None
  summary: dict[str, Any] = {"mean": statistics.fmean(values.values()), "sd": spread}
  summary["values"] = values
  if differences:
    summary["difference"] = statistics.fmean(differences)
    sd = statistics.stdev(differences) if len(differences) > 1 else 0.0
    summary["t"] = summary["difference"] / (sd / math.sqrt(len(differences))) if sd else None
  return summary


def _markdown(sweep: Sweep, compared: Mapping[str, Mapping[str, Any]]) -> str:
  if not compared:
    return "Nothing is finished yet.\n"
  names = [name for name in next(iter(compared.values())) if name != "chosen"]
  head = ["arm"]
  for name in names:
    head += [f"{name}: mean ± sd", "difference (t)"]
  lines = [_line(arm, row, names) for arm, row in compared.items()]
  note = (
    f"On `{sweep.report}`; differences are paired by seed, to `{sweep.compare_to}`; "
    f"choices made on `{sweep.select}`."
  )
  return f"{tables.markdown_lines([*head, 'seeds'], lines)}\n{note}\n"


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
