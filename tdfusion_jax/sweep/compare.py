"""What the runs of a sweep amount to: means, spreads, paired differences."""

import json
import math
import statistics
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

from tdfusion_jax.config import ConfigError
from tdfusion_jax.sweep.file import Sweep


def main_scores(scores: Mapping[str, float]) -> dict[str, float]:
  return {name: round(value, 4) for name, value in scores.items() if "/" not in name}


def write_comparison(sweep: Sweep, workdir: str | Path) -> dict:
  """Compares the finished runs in `workdir` and writes `sweep.json` and `sweep.md` there."""
  results = {
    arm: {
      seed: json.loads(file.read_text())
      for seed in sweep.seeds
      if (file := Path(workdir) / arm / f"seed_{seed}" / "task" / "result.json").is_file()
    }
    for arm in sweep.arms
  }
  results = {arm: runs for arm, runs in results.items() if runs}
  compared = compare(sweep, results)
  (Path(workdir) / "sweep.json").write_text(json.dumps(compared, indent=2) + "\n")
  (Path(workdir) / "sweep.md").write_text(_markdown(sweep, compared))
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
    found = [run for runs in results.values() for run in runs.values()]
    check_splits(
      sweep, {name for run in found for name, part in run.items() if isinstance(part, dict)}
    )
  rows = {
    arm: {seed: run[sweep.report] for seed, run in runs.items()} for arm, runs in results.items()
  }
  chosen = {}
  for name, body in sweep.best.items():
    there = [arm for arm in body["of"] if arm in results]
    if there:
      by = body["by"]
      chosen[name] = max(
        there,
        key=lambda arm: statistics.fmean(run[sweep.select][by] for run in results[arm].values()),
      )
      rows[name] = rows[chosen[name]]
  base = rows.get(sweep.compare_to, {})
  out = {}
  for arm, runs in rows.items():
    names = sweep.scores or [name for name in next(iter(runs.values())) if "/" not in name]
    out[arm] = {name: _summary(runs, base, name) for name in names}
    if arm in chosen:
      out[arm]["chosen"] = chosen[arm]
  return out


def _summary(runs: Mapping[int, dict], base: Mapping[int, dict], name: str) -> dict[str, Any]:
  values = {seed: run[name] for seed, run in runs.items()}
  differences = [run[name] - base[seed][name] for seed, run in runs.items() if seed in base]
  spread = statistics.stdev(values.values()) if len(values) > 1 else None
  found = {"mean": statistics.fmean(values.values()), "sd": spread, "values": values}
  if differences:
    found["difference"] = statistics.fmean(differences)
    sd = statistics.stdev(differences) if len(differences) > 1 else 0.0
    found["t"] = found["difference"] / (sd / math.sqrt(len(differences))) if sd else None
  return found


def _markdown(sweep: Sweep, compared: Mapping[str, Mapping[str, Any]]) -> str:
  if not compared:
    return "Nothing is finished yet.\n"
  names = [name for name in next(iter(compared.values())) if name != "chosen"]
  head = ["arm", *[f"{name}: mean ± sd | difference (t)" for name in names], "seeds"]
  lines = ["| " + " | ".join(head) + " |", "|---" * (2 * len(names) + 2) + "|"]
  for arm, row in compared.items():
    title = arm + (f" ({row['chosen']})" if "chosen" in row else "")
    cells, count = [], 0
    for name in names:
      found = row[name]
      count = len(found["values"])
      cells.append(
        f"{found['mean']:.4f}" + (f" ± {found['sd']:.4f}" if found["sd"] is not None else "")
      )
      t = found.get("t")
      cells.append(
        f"{found['difference']:+.4f}" + (f" ({t:.1f})" if t else "")
        if "difference" in found
        else ""
      )
    lines.append(f"| {title} | " + " | ".join(cells) + f" | {count} |")
  note = f"On `{sweep.report}`; differences are paired by seed, to `{sweep.compare_to}`; choices made on `{sweep.select}`."
  return "\n".join(lines) + f"\n\n{note}\n"


def check_splits(sweep: Sweep, there: Set[str]) -> None:
  for split in (sweep.report, *([sweep.select] if sweep.best else [])):
    if split not in there:
      raise ConfigError(
        f"the sweep asks for scores on {split!r}; there are scores on: {', '.join(sorted(there))}."
      )
