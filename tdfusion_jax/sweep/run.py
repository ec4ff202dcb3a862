"""Several configs over several seeds: who does better, by how much, and how sure that is."""

import contextlib
import json
import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tdfusion_jax import printing
from tdfusion_jax.cluster.choice import Cluster
from tdfusion_jax.config import Config, ConfigError
from tdfusion_jax.config.file import read_config
from tdfusion_jax.evaluate import tables
from tdfusion_jax.evaluate.results import read_result
from tdfusion_jax.evaluate.stage import run_task_stage, with_room
from tdfusion_jax.files import UsageError
from tdfusion_jax.sweep.compare import check_splits, write_comparison
from tdfusion_jax.sweep.file import Sweep, Turn, check_arms, load_sweep
from tdfusion_jax.sweep.machines import run_named, run_on
from tdfusion_jax.train import build, checks
from tdfusion_jax.train.loop import train
from tdfusion_jax.train.runfolder import require_same

log = logging.getLogger(__name__)

_SAVING = 30.0  # seconds that interrupted runs are given to save their state


def run_one(
  file: str,
  arm: str,
  seed: int,
  workdir: str,
  changes: Mapping[str, Any] | None = None,
  fold: int | None = None,
) -> dict:
  """Trains one arm with one seed and judges it. A finished one is read, an interrupted one goes on.

  Args:
    file: a sweep file.
    arm: one of its arms.
    seed: of both stages.
    workdir: gets ARM/seed_N/fusion and ARM/seed_N/task (ARM/fold_K/seed_N with a fold).
    changes: as for `load_sweep`.
    fold: of the data, where the sweep has folds.

  Returns:
    What `result.json` of the task stage holds.

  Raises:
    ConfigError: the folder holds a run with other settings.
  """
  sweep, turn = load_sweep(file, changes), Turn(seed, fold)
  folder = Path(workdir).absolute() / arm / turn.folder
  logging.getLogger("tdfusion_jax").setLevel(logging.WARNING)
  fusion, task = _configs(sweep, arm, turn, folder)
  if fusion is not None:
    run = folder / "fusion"
    require_same(build.config_to_json(fusion), run)
    if not (run / "weights" / "f.safetensors").is_file():
      train(fusion, run)
  done = folder / "task" / "result.json"
  finished = done.is_file()
  moved = ["fused.run"] if finished else []  # the folder beside it, wherever both are now
  require_same(build.config_to_json(with_room(task)), folder / "task", free=moved)
  if finished:
    return read_result(done)
  return run_task_stage(task, folder / "task")


def _configs(sweep: Sweep, arm: str, turn: Turn, folder: Path) -> tuple[Config | None, Config]:
  """Of an arm's two stages; None where there is no F to train."""
  body = sweep.arms[arm]
  images = body.get("images", "fusion")
  of_task = _changes(sweep, arm, "task", turn)
  of_task |= {"fused.images": images, "fused.folder": body.get("folder", "")}
  fusion = None
  if images == "fusion":
    of_task["fused.run"] = str(folder / "fusion")
    of_fusion = _changes(sweep, arm, "fusion", turn)
    fusion = read_config(sweep.config, body.get("options", ""), of_fusion)
  return fusion, read_config(sweep.config, f"task,recipe={sweep.recipe}", of_task)


def _changes(sweep: Sweep, arm: str, stage: str, turn: Turn) -> dict[str, Any]:
  """{"field": value} of one stage ("fusion" or "task"): the more special setting wins."""
  body = sweep.arms[arm]
  return {
    **turn.changes,
    **sweep.set,
    **getattr(sweep, stage),
    **body.get("set", {}),
    **body.get(stage, {}),
    **sweep.changes,
  }


def _check(sweep: Sweep, file: str | Path, arms: Sequence[str]) -> None:
  """Raises ConfigError for whatever would stop an arm, before the first is trained."""
  for arm in arms:
    try:
      fusion, task = _configs(sweep, arm, sweep.turns[0], Path(arm))
      for config in (fusion, task):
        if config is not None:
          checks.check(config)
      check_splits(sweep, {task.data.val_split, task.data.test_split} - {""})
      if sweep.folds and arm == arms[0]:
        _check_folds(sweep, arm)
    except UsageError as error:
      raise ConfigError(f"{file}, arm {arm}: {error}") from error


def _check_folds(sweep: Sweep, arm: str) -> None:
  """Raises UsageError for a fold that the data does not have, or without pairs in a split."""
  uncached = sweep._replace(changes={**sweep.changes, "data.cache_dir": ""})
  for fold in sweep.folds:
    task = _configs(uncached, arm, Turn(sweep.seeds[0], fold), Path(arm))[1]
    for split in ("train", "val", "test"):
      if task.data[f"{split}_split"]:
        build.source(task, split)


_stopped: Any = None  # in a worker: the sweep's event


def _prepare_worker(stopped: Any) -> None:
  """A killed sweep leaves no worker behind."""
  global _stopped
  printing.guard()
  _stopped, parent = stopped, os.getppid()

  def watch() -> None:
    while os.getppid() == parent:
      time.sleep(1)
    os._exit(1)

  threading.Thread(target=watch, daemon=True).start()


def _in_worker(
  run: Callable[..., dict], file: str, arm: str, turn: Turn, workdir: str, changes: Any
) -> dict:
  # What a pool has handed to a worker already cannot be cancelled any more.
  if _stopped.is_set():
    raise InterruptedError("the sweep was interrupted")
  return run_named(run, file, arm, turn, workdir, changes)


def _end_children() -> None:
  for child in multiprocessing.active_children():
    child.terminate()


def run_sweep(
  file: str | Path,
  workdir: str | Path,
  *,
  jobs: int | Cluster = 1,
  only: list[str] | None = None,
  changes: Mapping[str, Any] | None = None,
  seeds: Sequence[int] | None = None,
  compare_to: str | None = None,
) -> dict:
  """Runs what is missing and compares.

  Args:
    file: a sweep file.
    workdir: gets ARM/seed_N/fusion and ARM/seed_N/task, `sweep.json` and `sweep.md`.
    jobs: processes at a time, or the machines that do the runs. All of these must see `file`,
      `workdir` and the current folder under the same names.
    only: arms to run; the comparison is of all that are finished.
    changes: as for `load_sweep`; runs with other changes need another `workdir`.
    seeds: as for `load_sweep`; further seeds may go into the same `workdir`.
    compare_to: as for `load_sweep`.

  Returns:
    What `sweep.json` holds.

  Raises:
    ConfigError: the file, a config or an arm in `only` is wrong, before anything is trained; or
      some runs failed, when the others are done.
  """
  sweep = load_sweep(file, changes, seeds, compare_to)
  check_arms(sweep, file, only or [])
  todo = [(arm, turn) for turn in sweep.turns for arm in sweep.arms if not only or arm in only]
  _check(sweep, file, [*dict.fromkeys(arm for arm, _ in todo)])
  failed = []
  # Closed whatever happens here, so that no run goes on after Ctrl-C.
  common = str(file), str(workdir), changes
  if isinstance(jobs, Cluster):
    runs = run_on(jobs, run_one, todo, common)
  else:
    runs = _run_all(todo, common, jobs)
  with contextlib.closing(runs) as results:
    for count, ((arm, turn), result) in enumerate(results, 1):
      if isinstance(result, Exception):
        failed.append(f"{arm}, {turn}: {result}")
        log.error("%d of %d: %s, %s failed: %s", count, len(todo), arm, turn, result)
        continue
      shown = tables.main_scores(result.get(sweep.report, {}))
      log.info("%d of %d: %s, %s: %s", count, len(todo), arm, turn, json.dumps(shown))
      write_comparison(sweep, workdir, resamples=0)  # intervals take a while: at the end
  compared = write_comparison(sweep, workdir)
  if failed:
    raise ConfigError(
      f"{len(failed)} of {len(todo)} runs failed; the others are compared.\n  "
      + "\n  ".join(failed)
    )
  return compared


def _run_all(
  todo: Sequence[tuple[str, Turn]], common: tuple[str, str, Mapping[str, Any] | None], jobs: int
) -> Generator[tuple[tuple[str, Turn], dict | Exception]]:
  """((arm, turn), result or what went wrong) in the order in which they end."""
  file, workdir, changes = common
  context = get_context("spawn")
  stop = context.Event()
  pool = ProcessPoolExecutor(
    jobs, mp_context=context, max_tasks_per_child=1, initializer=_prepare_worker, initargs=(stop,)
  )
  try:
    running = {
      pool.submit(_in_worker, run_one, file, arm, turn, workdir, changes): (arm, turn)
      for arm, turn in todo
    }
    for future in as_completed(running):
      try:
        result = future.result()
      except Exception as error:  # one run's failure is not the others'
        result = error
      yield running[future], result
  except BaseException as error:
    stop.set()
    # Ctrl-C has reached the runs too, by way of the terminal; what a scheduler sends has not. They
    # save and end. A second signal, after a while, does not wait for that.
    if getattr(error, "number", signal.SIGINT) != signal.SIGINT:
      _end_children()
    enough = threading.Timer(_SAVING, _end_children)
    enough.start()
    pool.shutdown(cancel_futures=True)
    enough.cancel()
    raise
  pool.shutdown()
