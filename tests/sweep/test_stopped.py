"""A sweep that a signal ends: its status, and that it goes on where it was."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sweeps import SWEEP

ROOT = Path(__file__).resolve().parents[2]
# The real command; a run waits for a file, so that the signal finds it in the middle.
_COMMAND = """
import json, sys, time
from pathlib import Path
from tdfusion_jax import cli, stopping
from tdfusion_jax.sweep import run

def run_one(file, arm, seed, workdir, changes=None):
  folder = Path(workdir) / arm / f"seed_{seed}" / "task"
  result = folder / "result.json"
  if not result.is_file():
    folder.mkdir(parents=True, exist_ok=True)
    with stopping.between_steps() as request:
      (folder / "started").touch()
      while arm == "both" and not (Path(workdir) / "go").exists():
        time.sleep(0.02)
        if request.number is not None:
          (folder / "saved").touch()
        request.raise_if_asked()
    with (folder / "runs").open("a") as file:
      file.write("x")
    scores = {"val": {"mIoU": 0.5}, "test": {"mIoU": 0.25}}
    result.write_text(json.dumps(scores))
  return json.loads(result.read_text())

run.run_one = run_one
if __name__ == "__main__":
  sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_sweep_ends_with_the_signals_status_and_goes_on(tmp_path, number):
  (tmp_path / "sweep.toml").write_text(SWEEP)
  (tmp_path / "command.py").write_text(_COMMAND)
  runs = tmp_path / "runs"
  command = [sys.executable, str(tmp_path / "command.py"), "sweep", str(tmp_path / "sweep.toml")]
  command += ["--workdir", str(runs)]
  environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}

  def start():
    return subprocess.Popen(
      command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )

  process = start()
  began = runs / "both" / "seed_0" / "task" / "started"
  limit = time.monotonic() + 120
  while not began.exists():  # infrared, seed 0 is finished by then
    assert process.poll() is None and time.monotonic() < limit
    time.sleep(0.05)
  if number == signal.SIGINT:  # as a terminal sends it: to all processes in it
    os.killpg(process.pid, number)
  else:  # as a scheduler sends it: to the first one
    process.send_signal(number)
  _, errors = process.communicate(timeout=120)
  assert process.returncode == 128 + number, errors
  assert (began.parent / "saved").exists() and not (began.parent / "result.json").exists()
  assert "the same command goes on" in errors and "Traceback" not in errors
  (runs / "go").touch()
  process = start()
  _, errors = process.communicate(timeout=120)
  assert process.returncode == 0, errors
  marks = {
    path.parent.parent.parent.name: path.read_text() for path in runs.rglob("seed_0/task/runs")
  }
  assert marks == {"infrared": "x", "both": "x"}  # what was finished is not run again
  means = json.loads((runs / "sweep.json").read_text())
  assert means["both"]["mIoU"]["mean"] == 0.25
