"""Runs: what they leave behind, and that a resumed one equals the unbroken one bit for bit."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from jax.experimental.compilation_cache import compilation_cache
from runs import TINY, rows

from configs import load
from tdfusion_jax import stopping
from tdfusion_jax.config import ConfigError
from tdfusion_jax.train.loop import DivergedError, train
from tdfusion_jax.weightfiles import CheckpointError, load_weights

ROOT = Path(__file__).resolve().parents[2]
WITHOUT_TASK = {
  "task.kind": "none",
  "loss.weights": "fixed",
  "meta.steps": 0,
  "log.checkpoint_every": 3,
}


def config(**changes):
  made = load("synthetic_det")
  made.update_from_flattened_dict({**TINY, **WITHOUT_TASK, **changes})
  return made


def same_weights(one, other):
  files = sorted(p.name for p in (one / "weights").iterdir())
  assert files == sorted(p.name for p in (other / "weights").iterdir())
  for name in files:
    a, b = (flatten_dict(load_weights(run / "weights" / name)[0]) for run in (one, other))
    assert a.keys() == b.keys() and a
    for key in a:
      np.testing.assert_array_equal(a[key], b[key], err_msg=f"{name} {key}")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  """A label-free run of ten steps."""
  run = tmp_path_factory.mktemp("runs") / "unbroken"
  train(config(), run)
  return run


@pytest.fixture
def interruptible():
  """Ctrl-C as at a terminal: what runs in a background shell inherits that it is ignored."""
  before = signal.signal(signal.SIGINT, signal.default_int_handler)
  yield
  signal.signal(signal.SIGINT, before)


def test_a_run_leaves_what_it_promises(finished):
  folders = {"checkpoints", "pictures", "tensorboard", "weights", "weights_best"}
  files = {"config.json", "curves.png", "metrics.jsonl", "versions.json"}
  assert {p.name for p in finished.iterdir()} == folders | files
  sheets = sorted(p.name for p in (finished / "pictures").iterdir())
  assert sheets == ["epoch_000.png", "epoch_001.png", "epoch_002.png"]
  lines = rows(finished)
  assert [r["step"] for r in lines if r["phase"] == "ft"] == list(range(3, 11))
  assert len([r for r in lines if r["phase"] == "val"]) == 3
  assert all(np.isfinite(v) for r in lines for v in r.values() if isinstance(v, float))
  losses = [r["val/fusion_loss"] for r in lines if r["phase"] == "val"]
  assert 0 < losses[-1] < losses[0]
  assert json.loads((finished / "config.json").read_text())["data"]["task_size"] == [32, 32]
  assert json.loads((finished / "versions.json").read_text())["jax"]


def test_a_run_stopped_between_checkpoints_goes_on_as_if_unbroken(finished, tmp_path, monkeypatch):
  from tdfusion_jax.train.runfolder import RunFolder

  write = RunFolder.write

  def stop_at_eight(self, row):
    write(self, row)
    if row["step"] == 8:
      raise RuntimeError("power cut")

  monkeypatch.setattr(RunFolder, "write", stop_at_eight)
  with pytest.raises(RuntimeError, match="power cut"):
    train(config(), tmp_path)
  monkeypatch.undo()
  assert max(r["step"] for r in rows(tmp_path)) == 8  # the checkpoint is of step 6
  train(config(), tmp_path)
  assert rows(tmp_path) == rows(finished)
  same_weights(tmp_path, finished)


def test_a_finished_run_has_nothing_left_to_do(finished):
  before = (finished / "metrics.jsonl").read_bytes()
  train(config(), finished)
  assert (finished / "metrics.jsonl").read_bytes() == before


def test_another_config_in_the_same_folder_is_an_error_naming_the_field(finished):
  with pytest.raises(ConfigError, match=r"optim\.f\.learning_rate: 0\.001 there, 0\.5 now"):
    train(config(**{"optim.f.learning_rate": 0.5}), finished)


def test_a_field_that_is_newer_than_the_run_had_its_default(finished, tmp_path):
  from tdfusion_jax.train.build import config_to_json
  from tdfusion_jax.train.runfolder import require_same

  written = json.loads((finished / "config.json").read_text())
  del written["meta"]["anchor"]
  (tmp_path / "config.json").write_text(json.dumps(written))
  require_same(config_to_json(config()), tmp_path)
  with pytest.raises(ConfigError, match=r"meta\.anchor: 0\.0 there, 0\.2 now"):
    require_same(config_to_json(config(**{"meta.anchor": 0.2})), tmp_path)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_comes_between_steps_and_saves(finished, tmp_path, monkeypatch):
  from tdfusion_jax.train.runfolder import RunFolder

  write = RunFolder.write

  def interrupt_at_five(self, row):
    write(self, row)
    if row["step"] == 5:
      os.kill(os.getpid(), signal.SIGINT)

  monkeypatch.setattr(RunFolder, "write", interrupt_at_five)
  with pytest.raises(KeyboardInterrupt):
    train(config(), tmp_path)
  monkeypatch.undo()
  assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
  # A step that is no multiple of `checkpoint_every`.
  assert "5" in {p.name for p in (tmp_path / "checkpoints").iterdir()}
  train(config(), tmp_path)
  assert rows(tmp_path) == rows(finished)
  same_weights(tmp_path, finished)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("step", [2, 6])
@pytest.mark.parametrize("when", ["within", "after"])
def test_ctrl_c_around_a_validation_leaves_its_row_there_once(
  finished, tmp_path, monkeypatch, step, when
):
  """2 is the end of pre-training, 6 of an epoch.

  Within: the second Ctrl-C, which does not wait.
  """
  from tdfusion_jax.train import loop as module

  measure, steps = module.validate, iter((2, 6, 10))  # after which a whole run validates

  def interrupted(*arguments, **options):
    stop = next(steps) == step
    if stop and when == "within":
      raise KeyboardInterrupt
    found = measure(*arguments, **options)
    if stop:
      os.kill(os.getpid(), signal.SIGINT)
    return found

  monkeypatch.setattr(module, "validate", interrupted)
  with pytest.raises(KeyboardInterrupt):
    train(config(), tmp_path)
  monkeypatch.undo()
  assert str(step) in {p.name for p in (tmp_path / "checkpoints").iterdir()}
  assert [r for r in rows(tmp_path) if r["step"] == step and r["phase"] == "val"] == (
    []
    if when == "within"
    else [r for r in rows(finished) if r["step"] == step and r["phase"] == "val"]
  )
  train(config(), tmp_path)
  assert rows(tmp_path) == rows(finished)
  assert {p.name for p in (tmp_path / "pictures").iterdir()} == {
    p.name for p in (finished / "pictures").iterdir()
  }


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_what_schedulers_send_saves_too(finished, tmp_path, monkeypatch, number):
  """SLURM, Kubernetes and docker stop send SIGTERM; sbatch --signal mostly SIGUSR1."""
  from tdfusion_jax.train.runfolder import RunFolder

  write = RunFolder.write

  def end_at_five(self, row):
    write(self, row)
    if row["step"] == 5:
      os.kill(os.getpid(), number)

  monkeypatch.setattr(RunFolder, "write", end_at_five)
  with pytest.raises(stopping.Stopped) as stopped:
    train(config(), tmp_path)
  assert stopping.status(stopped.value) == 128 + number
  monkeypatch.undo()
  assert "5" in {p.name for p in (tmp_path / "checkpoints").iterdir()}
  train(config(), tmp_path)
  assert rows(tmp_path) == rows(finished)


def test_an_interrupted_run_has_weights_and_the_best_of_its_validations(tmp_path, monkeypatch):
  """Validations come after steps 2, 6 and 10; the second is made the best, the run ends at 9."""
  from tdfusion_jax.train import loop as module
  from tdfusion_jax.train.runfolder import RunFolder

  losses, write = iter((0.3, 0.1, 0.2)), RunFolder.write
  monkeypatch.setattr(
    module, "validate", lambda *_, **__: ({"val/fusion_loss": next(losses)}, None)
  )

  def stop(self, row):
    write(self, row)
    if row["step"] == 9:
      raise KeyboardInterrupt

  monkeypatch.setattr(RunFolder, "write", stop)
  with pytest.raises(KeyboardInterrupt):
    train(config(), tmp_path)
  _, last = load_weights(tmp_path / "weights" / "f.safetensors")
  _, best = load_weights(tmp_path / "weights_best" / "f.safetensors")
  assert last["step"] == 6 and best["step"] == 6
  assert best["score"] == "val/fusion_loss" and best["value"] == 0.1
  monkeypatch.setattr(RunFolder, "write", write)
  train(config(), tmp_path)
  _, last = load_weights(tmp_path / "weights" / "f.safetensors")
  _, best = load_weights(tmp_path / "weights_best" / "f.safetensors")
  assert last["step"] == 10 and best["step"] == 6


def test_a_data_set_that_vanishes_costs_no_step(finished, tmp_path, monkeypatch):
  from tdfusion_jax.data import DatasetError
  from tdfusion_jax.train import loop as module

  make = module.make_dataset

  def until_eight(*arguments, **options):
    for step, batch in enumerate(make(*arguments, **options)):
      if step == 8:
        raise DatasetError("infrared/000001.png is gone")
      yield batch

  monkeypatch.setattr(module, "make_dataset", until_eight)
  with pytest.raises(DatasetError, match="is gone"):
    train(config(), tmp_path)
  assert "8" in {p.name for p in (tmp_path / "checkpoints").iterdir()}
  monkeypatch.undo()
  train(config(), tmp_path)
  assert rows(tmp_path) == rows(finished)


BAD_LINES = [
  b"not json",
  b"[1, 2]",
  b"\xff\xfe",
  b"{}",
  b'{"step": "3", "phase": "ft"}',
  b'{"step": 3, "phase": "ft", "task_loss": {}}',
  b'{"step": 3, "phase": "ft", "task_loss": "low"}',
  b'{"step": 3, "phase": "ft", "task_loss": ' + b"9" * 400 + b"}",
  b"[" * 5000,
]


@pytest.mark.parametrize("bad", BAD_LINES)
def test_one_bad_metric_line_costs_no_other(finished, tmp_path, caplog, bad):
  from tdfusion_jax.train.runfolder import read_metrics

  shutil.copytree(finished, tmp_path / "run")
  file = tmp_path / "run" / "metrics.jsonl"
  lines = file.read_bytes().splitlines()
  file.write_bytes(b"\n".join([*lines[:3], bad, *lines[3:]]) + b"\n")
  assert len(read_metrics(file)) == len(lines)
  assert "1 lines cannot be read" in caplog.text
  train(config(), tmp_path / "run")
  assert file.read_bytes().splitlines() == lines
  assert (tmp_path / "run" / "metrics.damaged").read_bytes() == bad + b"\n"


@pytest.mark.parametrize("text", [b"[1]", b"\xff", b"{", b"[" * 5000, b"3"])
def test_a_config_file_that_is_none_is_one_line(tmp_path, text):
  (tmp_path / "config.json").write_bytes(text)
  with pytest.raises(ConfigError, match=r"config\.json"):
    train(config(), tmp_path)


@pytest.mark.parametrize("workdir", ["", " "])
def test_an_empty_workdir_is_not_the_current_folder(tmp_path, monkeypatch, workdir):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(ConfigError, match="--workdir is empty"):
    train(config(), workdir)
  assert not list(tmp_path.iterdir())


def test_a_full_disk_is_named_and_leaves_whole_lines(finished, tmp_path, monkeypatch):
  import errno

  from tdfusion_jax.train import runfolder

  append, count = runfolder._append, []

  def full(file, line):
    count.append(line)
    if len(count) < 6:
      return append(file, line)
    file.write(line[:5])
    raise OSError(errno.ENOSPC, "No space left on device")

  monkeypatch.setattr(runfolder, "_append", full)
  with pytest.raises(runfolder.FolderError, match=r"metrics\.jsonl: No space left.*Make room"):
    train(config(), tmp_path)
  monkeypatch.undo()
  train(config(), tmp_path)
  assert rows(tmp_path) == rows(finished)


def test_a_run_that_goes_on_compiles_no_step_again(tmp_path, monkeypatch):
  """What is restored lies on its device as what is fresh does; else XLA compiles once more."""
  from tdfusion_jax.train.runfolder import RunFolder

  monkeypatch.setattr(RunFolder, "has_validation", lambda *_: True)
  before = jax.config.jax_persistent_cache_min_compile_time_secs
  folder = jax.config.jax_compilation_cache_dir
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
  compilation_cache.reset_cache()
  try:
    cache = tmp_path / "cache"
    train(config(**{"train.compile_cache": str(cache), "train.epochs": 1}), tmp_path / "run")
    first = {p.name for p in cache.iterdir() if "step" in p.name}
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "6")
    train(config(**{"train.compile_cache": str(cache), "train.epochs": 1}), tmp_path / "run")
    assert first and {p.name for p in cache.iterdir() if "step" in p.name} == first
  finally:
    jax.config.update("jax_persistent_cache_min_compile_time_secs", before)
    jax.config.update("jax_compilation_cache_dir", folder)
    compilation_cache.reset_cache()


def test_no_checkpoint_is_kept_of_what_is_not_finite(tmp_path):
  """A rate of 1e38 makes the first update infinite; no line is due before the checkpoint."""
  with pytest.raises(DivergedError, match="f_update_norm"):
    train(
      config(**{"optim.f.learning_rate": 1e38, "log.every": 50, "log.validate_every": 0}),
      tmp_path,
    )
  assert not [p for p in tmp_path.glob("checkpoints/*") if p.name.isdecimal()]


def test_a_run_folder_is_for_one_process(tmp_path):
  from tdfusion_jax.train.runfolder import RunFolder

  first = RunFolder(tmp_path, {"a": 1})
  with pytest.raises(ConfigError, match="is being trained by another process"):
    RunFolder(tmp_path, {"a": 1})
  first.close()
  RunFolder(tmp_path, {"a": 1}).close()


def test_a_mistyped_weight_file_leaves_no_mark(tmp_path):
  with pytest.raises(CheckpointError, match="no such file"):
    train(config(**{"init.f": str(tmp_path / "nope")}), tmp_path / "run")
  assert not (tmp_path / "run").exists()


def test_a_diverging_run_names_the_quantity(tmp_path):
  with pytest.raises(
    DivergedError, match=r"step \d+ \((pretrain|ft)\): .*f_update_norm.* not finite"
  ):
    train(config(**{"optim.f.rule": "sgd", "optim.f.learning_rate": 1e38}), tmp_path)


def command(run, cache):
  networks = {"fusion.network": "tiny:fuser", "loss.network": "tiny:weigher"}
  fields = {**TINY, **networks, "train.compile_cache": cache}
  changes = [f"--config.{k}={v}" for k, v in fields.items()]
  module = [sys.executable, "-m", "tdfusion_jax.main"]
  return [*module, f"--config={ROOT / 'configs/synthetic_det.py'}", f"--workdir={run}", *changes]


def start(run, cache):
  environment = {
    **os.environ,
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",  # each process needs the same programs
    "JAX_PLATFORMS": "cpu",
    "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
    "XLA_FLAGS": "--xla_backend_optimization_level=0",  # less to compile than it costs to run
  }
  return subprocess.Popen(
    command(run, cache), env=environment, cwd=ROOT, stderr=subprocess.PIPE, text=True
  )


@pytest.mark.slow  # three processes train YOLOv8n; the first compiles both steps
def test_kill_9_and_the_same_command_again_equal_the_unbroken_run(tmp_path):
  unbroken, broken, cache = tmp_path / "unbroken", tmp_path / "broken", tmp_path / "cache"
  process = start(unbroken, cache)
  _, errors = process.communicate(timeout=900)
  assert process.returncode == 0, errors
  process = start(broken, cache)
  limit = time.monotonic() + 600
  while not (broken / "checkpoints" / "6").is_dir():  # renamed into place when it is whole
    assert time.monotonic() < limit and process.poll() is None, (
      "the run ended before it could be killed"
    )
    time.sleep(0.02)
  os.kill(process.pid, signal.SIGKILL)
  process.communicate()
  assert process.returncode == -signal.SIGKILL
  process = start(broken, cache)
  _, errors = process.communicate(timeout=600)
  assert process.returncode == 0 and "resuming" in errors, errors
  assert rows(broken) == rows(unbroken)
  assert {r["phase"] for r in rows(broken)} == {"pretrain", "g", "ft", "val"}
  same_weights(broken, unbroken)


@pytest.mark.parametrize(
  ("arguments", "named"),
  [
    (
      ["--config=configs/synthetic_det.py", "--workdir=unused", "--config.data.name=llvipp"],
      "llvipp",
    ),
    (["--config=configs/synthetic_det.py", "--workdir=unused", "--config.data.nmae=llvip"], "nmae"),
    (["--config=configs/synthetic_det.py:bogus", "--workdir=unused"], "bogus"),
    (["--config=configs/none.py", "--workdir=unused"], "none.py"),
    (["--config=configs/synthetic_det.py"], "workdir"),
    (
      ["--config=configs/llvip_det.py", "--workdir=unused", "--config.data.root=nowhere"],
      "nowhere",
    ),
  ],
)
def test_a_wrong_command_ends_in_one_line_that_names_it(arguments, named, tmp_path):
  arguments = [a.replace("=unused", f"={tmp_path / 'run'}") for a in arguments]
  wrong = [sys.executable, "-m", "tdfusion_jax.main", *arguments]
  done = subprocess.run(
    wrong, env={**os.environ, "JAX_PLATFORMS": "cpu"}, cwd=ROOT, capture_output=True, text=True
  )
  assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
  assert "error:" in done.stderr and named in done.stderr
