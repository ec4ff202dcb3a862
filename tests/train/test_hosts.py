"""Several processes that train together, on this machine's loopback."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny
from runs import rows

from tdfusion_jax.files import UsageError
from tdfusion_jax.train import hosts
from tdfusion_jax.train.checkpoints import Checkpoints
from tdfusion_jax.weightfiles import load_weights

ROOT = Path(__file__).resolve().parents[2]
RUN = {
  **tiny.NETWORKS,
  "data.name": "slow_pairs:scenes",
  "data.train_options.size": (32, 32),
  "data.train_options.count": 32,
  "data.val_options.size": (32, 32),
  "data.val_options.count": 2,
  "data.task_size": (32, 32),
  "data.crop_size": (16, 16),
  "data.batch_size": 4,
  "data.prefetch": 1,
  "task.kind": "none",
  "loss.weights": "fixed",
  "meta.steps": 0,
  "train.pretrain_steps": 0,
  "train.epochs": 3,  # 24 steps, each process reading two pairs a step
  "train.devices": "all",
  "train.compile_cache": "",
  "log.every": 1,
  "log.checkpoint_every": 1000,
  "log.validate_every": 3,
}


class Two:
  """A training by two processes."""

  def __init__(self, folder, log):
    with socket.socket() as free:
      free.bind(("127.0.0.1", 0))
      port = free.getsockname()[1]
    self.folder, self._log = folder, log
    fields = [f"--config.{name}={value}" for name, value in RUN.items()]
    environment = {
      **os.environ,
      "JAX_PLATFORMS": "cpu",
      "JAX_ENABLE_COMPILATION_CACHE": "false",  # each compiles for itself, as on two machines
      "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
      "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
      "JAX_NUM_PROCESSES": "2",
    }
    # Nothing is optimised, which takes longer than to run it; one device for each process.
    environment["XLA_FLAGS"] = "--xla_backend_optimization_level=0"
    log.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "tdfusion_jax.main", "--config=configs/synthetic_seg.py"]
    self.processes = []
    for number in range(2):
      with (log / str(number)).open("w") as output:
        self.processes.append(
          subprocess.Popen(
            [*command, f"--workdir={folder}", f"--process-id={number}", *fields],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
          )
        )

  def wait_for(self, step):
    """Until the run is past `step`."""
    while not any(row["step"] >= step for row in self._rows()):
      assert all(process.poll() is None for process in self.processes), self.output(0)
      time.sleep(0.05)

  def _rows(self):
    return rows(self.folder) if (self.folder / "metrics.jsonl").is_file() else []

  def output(self, number):
    return (self._log / str(number)).read_text()

  def ends(self):
    return [process.wait(timeout=300) for process in self.processes]


@pytest.mark.slow  # eight processes, each of which imports JAX, and pairs that are read slowly
def test_whatever_ends_one_ends_both_and_they_go_on_as_if_unbroken(tmp_path):
  unbroken = Two(tmp_path / "unbroken", tmp_path / "log_unbroken")
  assert unbroken.ends() == [0, 0], unbroken.output(0) + unbroken.output(1)

  run = tmp_path / "run"
  killed = Two(run, tmp_path / "log_killed")
  killed.wait_for(5)
  killed.processes[1].kill()
  assert killed.ends() == [2, -signal.SIGKILL]
  assert "another process was lost" in killed.output(0)
  assert "the run cannot go on; saving step" in killed.output(0)
  (saved,) = Checkpoints(run / "checkpoints").steps()
  assert 5 <= saved < 24

  # A signal to the one that writes nothing: both end after the same step, and that is saved.
  stopped = Two(run, tmp_path / "log_stopped")
  stopped.wait_for(saved + 4)
  stopped.processes[1].send_signal(signal.SIGTERM)
  assert stopped.ends() == [128 + signal.SIGTERM] * 2, stopped.output(0) + stopped.output(1)
  assert f"resuming {run} at step {saved} of 24" in stopped.output(0)
  assert "interrupted; saving step" in stopped.output(0)
  assert saved + 4 <= Checkpoints(run / "checkpoints").steps()[-1] < 24

  again = Two(run, tmp_path / "log_again")
  assert again.ends() == [0, 0], again.output(0) + again.output(1)
  assert rows(run) == rows(tmp_path / "unbroken")
  for folder in (run, tmp_path / "unbroken"):
    assert json.loads((folder / "config.json").read_text())["train"]["devices"] == "all"
  ours, theirs = (load_weights(f / "weights" / "f.safetensors")[0] for f in (run, unbroken.folder))
  np.testing.assert_array_equal(
    ours["params"]["only"]["kernel"], theirs["params"]["only"]["kernel"]
  )
  shutil.rmtree(run)


def test_one_process_alone_needs_nothing(monkeypatch):
  for name in (*hosts._ENVIRONMENT, *hosts._LAUNCHERS):
    monkeypatch.delenv(name, raising=False)
  hosts.connect()
  hosts.connect("host:1234", 1, 0)
  monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")
  hosts.connect()
  assert not hosts.connected() and not hosts.several() and hosts.is_first()
  assert hosts.agreed(3) == 3 and hosts.from_first({"a": 1}) == {"a": 1}
  assert hosts.surely(lambda: 5) == 5


@pytest.mark.parametrize(
  ("given", "environment", "text"),
  [
    (("h:1", None, None), {}, r"--num-processes \(or JAX_NUM_PROCESSES\), --process-id"),
    ((None, None, None), {"JAX_PROCESS_ID": "1"}, "--coordinator"),
    (("h:1", 2, 2), {}, "--process-id=2: from 0 to 1"),
    (("h:1", 2, None), {"JAX_PROCESS_ID": "one"}, "JAX_PROCESS_ID.*'one': a whole number"),
  ],
)
def test_what_is_missing_is_named(monkeypatch, given, environment, text):
  for name in (*hosts._ENVIRONMENT, *hosts._LAUNCHERS):
    monkeypatch.delenv(name, raising=False)
  for name, value in environment.items():
    monkeypatch.setenv(name, value)
  with pytest.raises(UsageError, match=text):
    hosts.connect(*given)


@pytest.mark.parametrize("kind", [ValueError, jax.errors.JaxRuntimeError])
def test_only_errors_of_the_runtime_are_a_lost_process(monkeypatch, kind):
  monkeypatch.setattr(hosts, "several", lambda: True)

  def fails(text):
    def work():
      raise kind(text)

    return work

  with pytest.raises(hosts.LostError, match="another process was lost .*Connection reset"):
    hosts.surely(fails("UNKNOWN: Gloo AllGather failed: Connection reset by peer"))
  with pytest.raises(kind, match="shapes do not fit"):
    hosts.surely(fails("shapes do not fit"))
  monkeypatch.setattr(hosts, "is_first", lambda: False)
  with pytest.raises(hosts.LostError, match="last checkpoint if the first process was lost"):
    hosts.surely(fails("UNKNOWN: Gloo AllGather failed: Connection reset by peer"))
