"""Several configs over several seeds: who does better, by how much, and how sure that is."""

import json
import logging
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tdfusion_jax.config import Config, ConfigError
from tdfusion_jax.config.file import read_config
from tdfusion_jax.evaluate.stage import run_task_stage, with_room
from tdfusion_jax.sweep.compare import check_splits, main_scores, write_comparison
from tdfusion_jax.sweep.file import Sweep, load_sweep
from tdfusion_jax.train import checks
from tdfusion_jax.train.build import config_to_json
from tdfusion_jax.train.loop import train
from tdfusion_jax.train.runfolder import require_same

log = logging.getLogger(__name__)

_SAVING = 30.0  # seconds that interrupted runs are given to save their state
_NO_TRAINING = ("infrared", "visible", "both", "folder")


def run_one(
  file: str, arm: str, seed: int, workdir: str, changes: Mapping[str, Any] | None = None
) -> dict:
  """Trains one arm with one seed and judges it; what `result.json` of its task stage holds.

  A finished one is read, an interrupted one goes on; ConfigError if it was made with other
  settings.
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
    stages[name] |= {
      **sweep.set,
      **general,
      **body.get("set", {}),
      **body.get(name, {}),
      **sweep.changes,
    }
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
    check_splits(sweep, {task.data.val_split, task.data.test_split} - {""})


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
    ConfigError: the file, a config or an arm in `only` is wrong, told before anything is trained;
      or some runs failed, told when the others are done.
  """
  sweep = load_sweep(file, changes, seeds, compare_to)
  strange = sorted(set(only or []) - set(sweep.arms))
  if strange:
    raise ConfigError(
      f"{file}: no such arm: {', '.join(strange)}; there are: {', '.join(sweep.arms)}."
    )
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
      pool.submit(_unless_stopped, run_one, str(file), arm, seed, str(workdir), changes): (
        arm,
        seed,
      )
      for arm, seed in todo
    }
    for count, future in enumerate(as_completed(running), 1):
      arm, seed = running[future]
      try:
        shown = main_scores(future.result().get(sweep.report, {}))
      except Exception as error:  # one run's failure is not the others'
        failed.append(f"{arm}, seed {seed}: {error}")
        log.error("%d of %d: %s, seed %d failed: %s", count, len(todo), arm, seed, error)
        continue
      log.info("%d of %d: %s, seed %d: %s", count, len(todo), arm, seed, json.dumps(shown))
      write_comparison(sweep, workdir)
  except BaseException:
    stop.set()
    enough = threading.Timer(
      _SAVING, _end_children
    )  # Ctrl-C in a terminal has reached the runs too, and they save
    enough.start()
    pool.shutdown(cancel_futures=True)
    enough.cancel()
    raise
  pool.shutdown()
  compared = write_comparison(sweep, workdir)
  if failed:
    raise ConfigError(
      f"{len(failed)} of {len(todo)} runs failed; the others are compared.\n  "
      + "\n  ".join(failed)
    )
  return compared
