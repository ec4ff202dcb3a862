"""Kills trainings at random moments and checks that nothing is lost.

    python tools/kill_training.py --kills 100 --terms 20

Two stages are tried in turn: training F, G and T, and the task stage. A run saves every second
step. It is killed (SIGKILL), or asked to end (SIGTERM), again and again; the same command goes on
each time. Half of the kills wait until a save is under way. A run that has come to its end must
equal an unbroken one bit for bit: weights, last checkpoint, metric lines. Nothing that is half
written may be left. Networks are of one convolution, so that a run takes seconds; everything around
them is the real command. The status is 1 if anything differs.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import small_runs
from small_runs import ROOT, STAGES

_EPOCHS = {"fusion": 12, "task": 24}
_PATIENCE = 300.0  # seconds that one life of a run may take
_LONGEST = 2.5  # seconds after the first new metric line at which a kill comes at the latest


class Count(NamedTuple):
  """What was done and seen."""

  kills: int = 0
  inside_a_save: int = 0
  terms: int = 0
  finished_runs: int = 0


def main(argv: list[str] | None = None) -> int:
  """Runs the command line; 1 if a run was not what it has to be."""
  parser = argparse.ArgumentParser(description="Kills trainings at random moments and compares.")
  parser.add_argument("--kills", type=int, default=100, help="SIGKILLs (default 100)")
  parser.add_argument("--terms", type=int, default=20, help="SIGTERMs (default 20)")
  parser.add_argument("--seed", type=int, default=0, help="of the moments (default 0)")
  parser.add_argument("--keep", metavar="DIR", help="leave the run folders there")
  options = parser.parse_args(argv)
  with tempfile.TemporaryDirectory() as scratch:
    folder = Path(options.keep or scratch).resolve()
    problems, count = try_all(folder, options.kills, options.terms, random.Random(options.seed))
  print(json.dumps(count._asdict()))
  for problem in problems:
    print(f"problem: {problem}", file=sys.stderr)
  return 1 if problems else 0


def try_all(folder: Path, kills: int, terms: int, rng: random.Random) -> tuple[list[str], Count]:
  """Kills runs until all signals are sent.

  Args:
    folder: for run folders and the compilation cache.
    kills: SIGKILLs to send.
    terms: SIGTERMs to send.
    rng: draws the moments.

  Returns:
    (what was wrong, a line each; what was done).
  """
  whole = {stage: folder / f"unbroken_{stage}" for stage in STAGES}
  problems = []
  for stage, run in whole.items():
    ended = _wait(_start(stage, run, folder))
    if ended != 0:
      return [f"the unbroken run of stage {stage} ended with {ended}"], Count()
  signals = [signal.SIGKILL] * kills + [signal.SIGTERM] * terms
  rng.shuffle(signals)
  count = Count()
  while signals:
    stage = STAGES[count.finished_runs % len(STAGES)]
    run = folder / f"killed_{count.finished_runs}"
    count = _until_finished(stage, run, folder, signals, rng, count, problems)
    problems += [f"{run.name} ({stage}): {line}" for line in differences(run, whole[stage])]
    print(f"{count}, {len(signals)} signals to go", flush=True)
  return problems, count


def _until_finished(
  stage: str,
  run: Path,
  folder: Path,
  signals: list[signal.Signals],
  rng: random.Random,
  count: Count,
  problems: list[str],
) -> Count:
  """Starts a run again and again, ending each life by the next of `signals`."""
  while True:
    process = _start(stage, run, folder)
    ended = _disturb(process, run, signals[-1], rng) if signals else _wait(process)
    if ended == 0:
      return count._replace(finished_runs=count.finished_runs + 1)
    number = signals.pop()
    if number == signal.SIGKILL:
      inside = any(_half_saved(run))
      count = count._replace(kills=count.kills + 1, inside_a_save=count.inside_a_save + inside)
      expected = -signal.SIGKILL
    else:
      count = count._replace(terms=count.terms + 1)
      expected = 128 + signal.SIGTERM
    if ended != expected:
      problems.append(f"{run.name} ({stage}): ended with {ended} after {number.name}")
      return count._replace(finished_runs=count.finished_runs + 1)


def _disturb(process: subprocess.Popen, run: Path, number: signal.Signals, rng) -> int:
  """Sends `number` at a random moment, in half of the kills within a save; the process's status."""
  before = _lines(run)
  began = time.monotonic()
  while process.poll() is None and _lines(run) == before:
    if time.monotonic() - began > _PATIENCE:
      break
    time.sleep(0.005)
  moment = time.monotonic() + rng.uniform(0, _LONGEST)
  while process.poll() is None and time.monotonic() < moment:
    time.sleep(0.002)
  if number == signal.SIGKILL and rng.random() < 0.5:
    while process.poll() is None and not any(_half_saved(run)):
      time.sleep(0.0005)
    time.sleep(rng.uniform(0, 0.02))
  if process.poll() is None:
    process.send_signal(number)
  return _wait(process)


def _half_saved(run: Path) -> Iterator[Path]:
  """Steps that are being saved: Orbax's temporary folders, and those without their manifest."""
  folder = run / "checkpoints"
  # Listed at once and not searched: what is listed may be gone the next moment.
  names = os.listdir(folder) if folder.is_dir() else []
  for path in (folder / name for name in names):
    whole = path.name.isdigit() and (path / "manifest.json").exists()
    if path.is_dir() and not whole:
      yield path


def _lines(run: Path) -> int:
  """The length of the metric lines so far, which grows with each."""
  file = run / "metrics.jsonl"
  return file.stat().st_size if file.is_file() else 0


def _start(stage: str, run: Path, folder: Path) -> subprocess.Popen:
  command = [sys.executable, str(Path(__file__).resolve()), "child", stage, str(run), str(folder)]
  environment = {
    **os.environ,
    "JAX_PLATFORMS": "cpu",
    # However quickly a program compiles: each life needs the same ones.
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "PYTHONPATH": str(ROOT),
  }
  return subprocess.Popen(
    command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT, env=environment
  )


def _wait(process: subprocess.Popen) -> int:
  try:
    return process.wait(_PATIENCE)
  except subprocess.TimeoutExpired:
    process.kill()
    return process.wait()


def differences(run: Path, whole: Path) -> list[str]:
  """What differs between a run that was disturbed and an unbroken one, a line each."""
  from tdfusion_jax.weightfiles import load_weights

  found = []
  ours, theirs = ({p.name for p in _weights(folder)} for folder in (run, whole))
  if ours != theirs or not theirs:
    found.append(f"weights {sorted(ours)}, not {sorted(theirs)}")
  for name in sorted(ours & theirs):
    files = [next(p for p in _weights(folder) if p.name == name) for folder in (run, whole)]
    one, other = (_flat(load_weights(file)[0]) for file in files)
    same = one.keys() == other.keys()
    if not same or any(not np.array_equal(one[key], other[key]) for key in one):
      found.append(f"{name} differs")
  if _rows(run) != _rows(whole):
    found.append("metric lines differ")
  if _scores(run) != _scores(whole):
    found.append("scores differ")
  stale = [p for p in run.rglob("*") if p.name.endswith((".orbax-checkpoint-tmp", ".damaged"))]
  stale += [p for p in run.rglob(".*") if ".tmp" in p.name]
  return found + [f"{path.relative_to(run)} is left" for path in stale]


def _weights(folder: Path) -> list[Path]:
  return sorted(folder.rglob("weights/?.safetensors"))


def _flat(tree: Any, prefix: str = "") -> dict[str, np.ndarray]:
  if not isinstance(tree, dict):
    return {prefix: np.asarray(tree)}
  flat: dict[str, np.ndarray] = {}
  for key, value in tree.items():
    flat |= _flat(value, f"{prefix}/{key}")
  return flat


def _rows(folder: Path) -> list[dict]:
  """All metric lines, without the time that a step took."""
  file = next(folder.rglob("metrics.jsonl"))
  rows = [json.loads(line) for line in file.read_text().splitlines()]
  return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def _scores(folder: Path) -> Any:
  """Of the task stage, else None."""
  file = next(folder.rglob("result.json"), None)
  return json.loads(file.read_text())["test"] if file else None


def child(stage: str, run: str, folder: str) -> None:
  """One life of a run: the real command, with small networks. Ends the process."""
  from tdfusion_jax.main import main as train

  small_runs.install()
  settings = small_runs.settings(stage, _EPOCHS[stage], str(Path(folder) / "cache"))
  flags = [f"--config.{field}={value}" for field, value in settings.items()]
  option = ":task" if stage == "task" else ""
  train(["train", f"--config={small_runs.CONFIG}{option}", f"--workdir={run}", *flags])


if __name__ == "__main__":
  if sys.argv[1:2] == ["child"]:
    child(*sys.argv[2:])
  else:
    sys.exit(main())
