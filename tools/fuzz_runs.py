"""Feeds run folders of which one file is damaged to whatever reads them.

  python tools/fuzz_runs.py --count=10000 --seed=0

A run of small networks is made once. Its config, metric lines, versions, scores, weights,
checkpoints or what its T found on each image are damaged; it is resumed up to the first step,
reported, fused with, measured and compared. Each file must be read, passed over, or refused with
one UsageError that names it or its folder. A state that is restored must be one that was saved, bit
for bit.
"""

import json
import random
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import fuzzing
import numpy as np
import small_runs
from fuzz_settings import as_verbs, damaged

from tdfusion_jax import fusers
from tdfusion_jax.config.file import read_config
from tdfusion_jax.evaluate import contributions, methods
from tdfusion_jax.evaluate.stage import write_results
from tdfusion_jax.report import collect, page
from tdfusion_jax.sweep.compare import write_comparison
from tdfusion_jax.sweep.file import Sweep, load_sweep
from tdfusion_jax.train import build, curves, initial, loop, runfolder

_RUN = "fuzzed_run"
_IMAGES = "images_test.npz"
_TEXTS = ("config.json", "metrics.jsonl", "result.json", "versions.json")
_RESULT = {
  "name": "task",
  "config": "synthetic_seg",
  "images": "infrared",
  "seed": 0,
  "epochs": 2,
  "val": {"mIoU": 0.5, "task_loss": 0.7, "IoU/person": 0.25},
  "test": {"mIoU": 0.4, "task_loss": 0.8, "IoU/person": 0.125},
}


class Finished:
  """A finished run of small networks, and what resuming it needs."""

  def __init__(self, folder: Path):
    small_runs.install()
    fields = small_runs.settings("fusion", 2)
    self.config = read_config(str(small_runs.ROOT / small_runs.CONFIG), "", fields)
    self.path = folder / _RUN
    loop.train(self.config, self.path)
    shutil.rmtree(self.path / "tensorboard")
    (self.path / "result.json").write_text(json.dumps(_RESULT))
    contributions.write(self.path / _IMAGES, _found())
    self.experiment = build.experiment(self.config)
    self.shapes = _shapes(self.experiment)
    whole = self._restored(self.path)
    self.steps = {int(whole.step): _bytes(whole)}
    shutil.copytree(self.path, folder / "older" / _RUN)
    newest = max(p for p in (folder / "older" / _RUN / "checkpoints").iterdir())
    shutil.rmtree(newest)
    older = self._restored(folder / "older" / _RUN)
    self.steps[int(older.step)] = _bytes(older)

  def _restored(self, path: Path) -> Any:
    folder = runfolder.RunFolder(path, build.config_to_json(self.config))
    try:
      run = loop._Run(self.config, self.experiment, folder)
      run.start(self.shapes)
      run.checkpoints.close()
    finally:
      folder.close()
    return run.state

  def resume(self, path: Path) -> None:
    """As `tdfusion train` up to the first step; AssertionError for a state that was not saved."""
    state = self._restored(path)
    if int(state.step) and _bytes(state) != self.steps.get(int(state.step)):
      raise AssertionError(f"restored wrongly: step {int(state.step)}")


def _found() -> contributions.Contributions:
  """What T found on four images of two blocks."""
  matrices = np.arange(16).reshape(4, 2, 2)
  names = ("a", "b", "c", "d")
  return contributions.Contributions("segmentation", ("a", "b"), names, np.arange(4) // 2, matrices)


def _shapes(experiment: build.Experiment) -> Any:
  import jax

  return jax.eval_shape(experiment.init)


def _bytes(state: Any) -> list[bytes]:
  """Everything in a state, bit for bit."""
  import jax

  leaves = jax.tree.leaves(state._replace(key=jax.random.key_data(state.key)))
  return [np.asarray(leaf).tobytes() for leaf in jax.device_get(leaves)]


def target() -> fuzzing.Target:
  """What reads run folders, with a damaged one at a time."""
  with tempfile.TemporaryDirectory() as scratch:
    finished = Finished(Path(scratch).resolve())
    file = Path(scratch) / "sweep.toml"
    file.write_text(small_runs.SWEEP.format(config=small_runs.ROOT / small_runs.CONFIG))
    sweep = load_sweep(file)
    files = {
      path.relative_to(finished.path): path.read_bytes()
      for path in sorted(finished.path.rglob("*"))
      if path.is_file()
    }
  of_checkpoints = [name for name in files if name.parts[0] == "checkpoints" and files[name]]
  weights = [name for name in files if name.parts[0] == "weights"]

  def make(rng: random.Random, folder: Path) -> fuzzing.Case:
    shutil.rmtree(folder / _RUN, ignore_errors=True)
    kind = rng.choice((*_TEXTS[:3], *_TEXTS[:3], "versions.json", "weights", "checkpoint", _IMAGES))
    pool = {"weights": weights, "checkpoint": of_checkpoints}.get(kind, [Path(kind)])
    name = rng.choice(pool)
    for other, content in files.items():
      if kind == "checkpoint" or other.parts[0] != "checkpoints":
        (folder / _RUN / other).parent.mkdir(parents=True, exist_ok=True)
        (folder / _RUN / other).write_bytes(content)
    content = files[name]
    text = kind in _TEXTS
    (folder / _RUN / name).write_bytes(
      damaged(rng, content) if text else fuzzing.damage(rng, content, False)
    )
    return fuzzing.Case(kind, folder / _RUN, (_RUN, name.name))

  def attempt(case: fuzzing.Case, rng: random.Random, out: Path) -> None:
    readers = _READERS[case.kind]
    rng.choice(readers)(case.path, finished, sweep, out)

  return fuzzing.Target(make, as_verbs(attempt), reads_only=False)


def _resume(run: Path, finished: Finished, sweep: Sweep, out: Path) -> None:
  del sweep, out
  finished.resume(run)


def _report(run: Path, finished: Finished, sweep: Sweep, out: Path) -> None:
  """As `tdfusion report` up to the pictures that the networks make."""
  del finished, sweep
  opened = collect.open_run("a run", run)
  for part in (page.numbers, page._settings):
    (out / "part.html").write_text(part([opened]), encoding="utf-8")
  curves.panels_of_run(opened.metrics)
  pairs = collect._Pairs(opened, 1, None)
  collect._check_kind(opened, pairs)
  method = collect.method_of(opened, len(pairs.source.classes))
  collect._params(opened, initial.shapes(opened.config, method, pairs.sizes["task_size"]))


def _draw(run: Path, finished: Finished, sweep: Sweep, out: Path) -> None:
  """The report without pictures."""
  del finished, sweep
  collect.write_report({"a run": run}, out / "page.html", pairs=0)


def _fuse(run: Path, finished: Finished, sweep: Sweep, out: Path) -> None:
  del finished, sweep, out
  fusers.load_fusion(run=run)


def _evaluate(run: Path, finished: Finished, sweep: Sweep, out: Path) -> None:
  del finished, sweep, out
  methods.method_of_weights(run=str(run))


def _results(run: Path, finished: Finished, sweep: Sweep, out: Path) -> None:
  """The table of all task stages in a folder."""
  del finished, sweep, out
  write_results(run.parent)


def _compare(run: Path, finished: Finished, sweep: Sweep, out: Path) -> None:
  """As `tdfusion sweep --table`."""
  del finished
  for arm in sweep.arms:
    for seed in sweep.seeds:
      task = out / arm / f"seed_{seed}" / "task"
      task.mkdir(parents=True)
      content = json.dumps(_RESULT).encode()
      contributions.write(task / _IMAGES, _found())
      if (arm, seed) == ("half", 0):
        content = (run / "result.json").read_bytes()
        (task / _IMAGES).write_bytes((run / _IMAGES).read_bytes())
      (task / "result.json").write_bytes(content)
  write_comparison(sweep, out, resamples=20)


_READERS: dict[str, tuple[Any, ...]] = {
  "config.json": (_resume, _report, _fuse, _evaluate),
  "metrics.jsonl": (_resume, *3 * (_report,), _draw),
  "versions.json": (_resume, _report, _fuse),
  "result.json": (_report, _results, _compare),
  "weights": (_report, _fuse, _evaluate),
  "checkpoint": (_resume,),
  _IMAGES: (_compare,),
}


if __name__ == "__main__":
  sys.exit(fuzzing.main(__doc__ or "", target))
