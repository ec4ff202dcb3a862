"""Several configs over several seeds: who does better, by how much, and how sure that is."""

import json
import logging
import math
import multiprocessing
import os
import statistics
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tdfusion_jax.config import Config, ConfigError
from tdfusion_jax.evaluate.stage import run_task_stage, with_room
from tdfusion_jax.sweep.file import Sweep, load_sweep, read_config
from tdfusion_jax.train import checks
from tdfusion_jax.train.build import config_to_json
from tdfusion_jax.train.loop import train
from tdfusion_jax.train.runfolder import require_same

log = logging.getLogger(__name__)

_SAVING = 30.0  # seconds that interrupted runs are given to save their state
_NO_TRAINING = ("infrared", "visible", "both", "folder")


def run_one(file: str, arm: str, seed: int, workdir: str, changes: Mapping[str, Any] | None = None) -> dict:
  """Trains one arm with one seed and judges it; what `result.json` of its task stage holds.

  A finished one is read, an interrupted one goes on; ConfigError if it was made with other settings.
  """
  sweep, folder = load_sweep(file, changes), Path(workdir).absolute() / arm / f"seed_{seed}"
  logging.getLogger("tdfusion_jax").setLevel(logging.WARNING)
  fusion, task = _configs(sweep, arm, seed, folder)
  if fusion is not None:
    run = folder / "fusion"
    require_same(config_to_json(fusion), run)
    if not (run / "weights" / "f.safetensors").is_file():
      train(fusion, run)
  done = folder / "task" / "result.json"
  finished = done.is_file()
  moved = ["fused.run"] if finished else []  # the folder beside it, wherever both are now
  require_same(config_to_json(with_room(task)), folder / "task", free=moved)
  return json.loads(done.read_text()) if finished else run_task_stage(task, folder / "task")


def _configs(sweep: Sweep, arm: str, seed: int, folder: Path) -> tuple[Config | None, Config]:
  """Of an arm's two stages; None where there is no F to train."""
  body = sweep.arms[arm]
  images = body.get("images", "fusion")
  stages: dict[str, dict[str, Any]] = {name: {"seed": seed} for name in ("fusion", "task")}
  for name, general in (("fusion", sweep.fusion), ("task", sweep.task)):
    stages[name] |= {**sweep.set, **general, **body.get("set", {}), **body.get(name, {}), **sweep.changes}
  stages["task"] |= {"fused.images": images, "fused.folder": body.get("folder", "")}
  fusion = None
  if images not in _NO_TRAINING:
    stages["task"]["fused.run"] = str(folder / "fusion")
    fusion = read_config(sweep.config, body.get("options", ""), stages["fusion"])
  return fusion, read_config(sweep.config, "task", stages["task"])


def _check(sweep: Sweep, arms: Iterable[str]) -> None:
  """Raises ConfigError for whatever would stop an arm, before the first is trained."""
  for arm in arms:
    fusion, task = _configs(sweep, arm, sweep.seeds[0], Path(arm))
    for config in (fusion, task):
      if config is not None:
        checks.check(config)
    _check_splits(sweep, {task.data.val_split, task.data.test_split} - {""})


def _check_splits(sweep: Sweep, there: Set[str]) -> None:
  for split in (sweep.report, *([sweep.select] if sweep.best else [])):
    if split not in there:
      raise ConfigError(f"the sweep asks for scores on {split!r}; there are scores on: {', '.join(sorted(there))}.")


_stopped: Any = None  # in a worker: the sweep's event


def _prepare_worker(stopped: Any) -> None:
  """A killed sweep leaves no worker behind."""
  global _stopped
  _stopped, parent = stopped, os.getppid()

  def watch() -> None:
    while os.getppid() == parent:
      time.sleep(1)
    os._exit(1)

  threading.Thread(target=watch, daemon=True).start()


def _unless_stopped(function: Callable[..., dict], *arguments: Any) -> dict:
  """What a pool has handed to a worker already cannot be cancelled any more."""
  if _stopped.is_set():
    raise InterruptedError("the sweep was interrupted")
  return function(*arguments)


def _end_children() -> None:
  for child in multiprocessing.active_children():
    child.terminate()


def run_sweep(
  file: str | Path,
  workdir: str | Path,
  *,
  jobs: int = 1,
  only: list[str] | None = None,
  changes: Mapping[str, Any] | None = None,
  seeds: Sequence[int] | None = None,
  compare_to: str | None = None,
) -> dict:
  """Runs what is missing and compares.

  Args:
    file: a sweep file.
    workdir: gets ARM/seed_N/fusion and ARM/seed_N/task, `sweep.json` and `sweep.md`.
    jobs: processes at a time.
    only: arms to run; the comparison takes all that are finished.
    changes: as for `load_sweep`; runs with other changes need another `workdir`.
    seeds: as for `load_sweep`; further seeds may go into the same `workdir`.
    compare_to: as for `load_sweep`.

  Returns:
    What `sweep.json` holds.

  Raises:
    ConfigError: the file, a config or an arm in `only` is wrong, told before anything is trained; or some runs failed,
      told when the others are done.
  """
  sweep = load_sweep(file, changes, seeds, compare_to)
  strange = sorted(set(only or []) - set(sweep.arms))
  if strange:
    raise ConfigError(f"{file}: no such arm: {', '.join(strange)}; there are: {', '.join(sweep.arms)}.")
  todo = [(arm, seed) for seed in sweep.seeds for arm in sweep.arms if not only or arm in only]
  _check(sweep, dict.fromkeys(arm for arm, _ in todo))
  failed = []
  context = get_context("spawn")
  stop = context.Event()
  pool = ProcessPoolExecutor(
    jobs, mp_context=context, max_tasks_per_child=1, initializer=_prepare_worker, initargs=(stop,)
  )
  try:
    running = {
      pool.submit(_unless_stopped, run_one, str(file), arm, seed, str(workdir), changes): (arm, seed)
      for arm, seed in todo
    }
    for count, future in enumerate(as_completed(running), 1):
      arm, seed = running[future]
      try:
        shown = _shown(future.result().get(sweep.report, {}))
      except Exception as error:  # one run's failure is not the others'
        failed.append(f"{arm}, seed {seed}: {error}")
        log.error("%d of %d: %s, seed %d failed: %s", count, len(todo), arm, seed, error)
        continue
      log.info("%d of %d: %s, seed %d: %s", count, len(todo), arm, seed, json.dumps(shown))
      write_comparison(sweep, workdir)
  except BaseException:
    stop.set()
    enough = threading.Timer(_SAVING, _end_children)  # Ctrl-C in a terminal has reached the runs too, and they save
    enough.start()
    pool.shutdown(cancel_futures=True)
    enough.cancel()
    raise
  pool.shutdown()
  compared = write_comparison(sweep, workdir)
  if failed:
    raise ConfigError(f"{len(failed)} of {len(todo)} runs failed; the others are compared.\n  " + "\n  ".join(failed))
  return compared


def _shown(scores: Mapping[str, float]) -> dict[str, float]:
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
    {arm: {score: {"mean", "sd", "values" {seed: value}, "difference" and "t" of the paired differences to
    `sweep.compare_to`, "chosen" for a best row}}} on `sweep.report`; sd and t are None for a single seed.
  """
  if results:
    found = [run for runs in results.values() for run in runs.values()]
    _check_splits(sweep, {name for run in found for name, part in run.items() if isinstance(part, dict)})
  rows = {arm: {seed: run[sweep.report] for seed, run in runs.items()} for arm, runs in results.items()}
  chosen = {}
  for name, body in sweep.best.items():
    there = [arm for arm in body["of"] if arm in results]
    if there:
      by = body["by"]
      chosen[name] = max(
        there, key=lambda arm: statistics.fmean(run[sweep.select][by] for run in results[arm].values())
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
      cells.append(f"{found['mean']:.4f}" + (f" ± {found['sd']:.4f}" if found["sd"] is not None else ""))
      t = found.get("t")
      cells.append(f"{found['difference']:+.4f}" + (f" ({t:.1f})" if t else "") if "difference" in found else "")
    lines.append(f"| {title} | " + " | ".join(cells) + f" | {count} |")
  note = (
    f"On `{sweep.report}`; differences are paired by seed, to `{sweep.compare_to}`; choices made on `{sweep.select}`."
  )
  return "\n".join(lines) + f"\n\n{note}\n"
