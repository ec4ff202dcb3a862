"""Runs that something ends go on as if unbroken, bit for bit."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny
from label_free import config, same_weights
from runs import TINY, rows

from tdfusion_jax import stopping
from tdfusion_jax.train.loop import train
from tdfusion_jax.weightfiles import load_weights

ROOT = Path(__file__).resolve().parents[2]


def test_a_run_stopped_between_checkpoints_goes_on_as_if_unbroken(tmp_path, monkeypatch):
  """With the real F; the other tests here have one of a single convolution."""
  from tdfusion_jax.train.runfolder import RunFolder

  write = RunFolder.write

  def stop_at_eight(self, row):
    write(self, row)
    if row["step"] == 8:
      raise RuntimeError("power cut")

  whole, broken, real = tmp_path / "whole", tmp_path / "broken", {"fusion.network": ""}
  train(config(**real), whole)
  with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="power cut"):
    patch.setattr(RunFolder, "write", stop_at_eight)
    train(config(**real), broken)
  assert max(r["step"] for r in rows(broken)) == 8  # the checkpoint is of step 6
  train(config(**real), broken)
  assert rows(broken) == rows(whole)
  same_weights(broken, whole)


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


def command(run, cache):
  networks = {**tiny.NETWORKS, "task.kind": "batchnorm_task:task"}
  fields = {**TINY, **networks, "train.compile_cache": cache}
  changes = [f"--config.{k}={v}" for k, v in fields.items()]
  module = [sys.executable, "-m", "tdfusion_jax.main"]
  return [*module, f"--config={ROOT / 'configs/synthetic_seg.py'}", f"--workdir={run}", *changes]


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


@pytest.mark.slow  # three processes import JAX and train; the first compiles all steps
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
  assert load_weights(broken / "weights" / "t.safetensors")[0]["batch_stats"]  # they came back, too
