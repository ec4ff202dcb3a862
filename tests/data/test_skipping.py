"""Training over unreadable pairs: stop by default, or skip and say so."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from made_data import picture, save, voc

from configs import load
from tdfusion_jax.config import ConfigError
from tdfusion_jax.data import DatasetError, SkippingSource, get_source
from tdfusion_jax.train import build, checks


@pytest.fixture
def root(tmp_path):
  for i in range(12):
    for split in ("train", "test"):
      save(tmp_path / f"infrared/{split}/{split}{i:02d}.png", picture(i, 1))
      save(tmp_path / f"visible/{split}/{split}{i:02d}.png", picture(50 + i))
      voc(tmp_path / f"Annotations/{split}{i:02d}.xml", ("person", 1, 2, 9, 9))
  return tmp_path


def test_the_next_readable_pair_stands_in(root, caplog):
  (root / "visible/train/train11.png").write_bytes(b"x")
  source = SkippingSource(get_source("llvip", root=root))
  assert len(source) == 12 and [source[i].name for i in (10, 11, -1, 0)] == [
    "train10",
    "train00",
    "train00",
    "train00",
  ]
  assert (
    list(source.skipped) == ["train11"]
    and "train11.png: cannot be read" in source.skipped["train11"]
  )
  assert caplog.text.count("skipped pair train11") == 1 and "skipped" in source.describe()
  np.testing.assert_array_equal(pickle.loads(pickle.dumps(source))[11].ir, picture(0, 1))


def test_too_many_are_an_error(root):
  for i in (3, 4):
    (root / f"Annotations/train{i:02d}.xml").write_text("<")
  source = SkippingSource(get_source("llvip", root=root))
  with pytest.raises(DatasetError, match="2 of 12 pairs cannot be read.*data.bad_samples"):
    source[3]


def test_the_config_chooses(root):
  (root / "visible/train/train01.png").write_bytes(b"x")
  (root / "visible/test/test01.png").write_bytes(b"x")
  config = load("llvip_det")
  config.data.root = str(root)
  config.data.train_options = config.data.val_options = {}
  with pytest.raises(DatasetError, match="train01.png"):
    build.source(config, "train")[1]
  config.data.bad_samples = "skip"
  assert build.source(config, "train")[1].name == "train02"
  with pytest.raises(
    DatasetError, match="test01.png"
  ):  # a score over other pairs would be another score
    build.source(config, "val")[1]
  config.data.bad_samples = "ignore"
  with pytest.raises(ConfigError, match="bad_samples='ignore': one of stop, skip"):
    checks.check(config)


WORKERS = """
import sys
from pathlib import Path
from tdfusion_jax.data import SkippingSource, StepOptions, StepSource, get_source, make_dataset
from tdfusion_jax.data.skipping import read_skipped, report_skipped, summary

def main():
  report = Path(sys.argv[2])
  source = SkippingSource(get_source("llvip", root=sys.argv[1]), most=0.5)
  options = StepOptions(
    epochs=2, g_steps=1, batch_size=2, meta_pairs=2, crop_size=(16, 16), task_size=(32, 40)
  )
  steps = StepSource(source, options)
  report_skipped(steps, report)
  assert len(list(make_dataset(steps, num_workers=2))) == len(steps)
  print("here", *source.skipped)
  print("all", *sorted(read_skipped(report)))
  print(summary(report, len(source), shown=1))

if __name__ == "__main__":
  main()
"""


def test_worker_processes_report_to_one_file(root, tmp_path):
  """The first pair is met here, when the sizes are looked at; the others by the workers alone."""
  for i in (0, 5, 6):
    (root / f"visible/train/train{i:02d}.png").write_bytes(b"x")
  (tmp_path / "run.py").write_text(WORKERS)
  environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
  command = [sys.executable, str(tmp_path / "run.py"), str(root), str(tmp_path / "skipped.jsonl")]
  done = subprocess.run(
    command, capture_output=True, text=True, timeout=300, check=False, env=environment
  )
  assert done.returncode == 0, done.stderr[-2000:]
  lines = [line for line in done.stdout.splitlines() if line.startswith(("here", "all", "3 of"))]
  assert lines[:2] == ["here train00", "all train00 train05 train06"]
  assert lines[2].startswith(
    "3 of 12 pairs could not be read and were skipped: train00, ... (reasons: "
  )


def test_a_training_ends_with_what_it_skipped(root, tmp_path, caplog):
  """No step is taken.

  The first pair is read when the sizes are looked at, and an earlier part of the run met one.
  """
  from tdfusion_jax.data.skipping import read_skipped
  from tdfusion_jax.train.loop import train

  (root / "visible/train/train00.png").write_bytes(b"x")
  config = load("llvip_det")
  changes = {
    "task.kind": "none",
    "loss.weights": "fixed",
    "meta.steps": 0,
    "train.epochs": 0,
    "log.validate_every": 0,
  }
  config.update_from_flattened_dict({**changes, "data.root": str(root), "data.bad_samples": "skip"})
  config.data.train_options = config.data.val_options = {}
  run = tmp_path / "run"
  run.mkdir()
  (run / "skipped.jsonl").write_text('{"name": "train07", "reason": "cut"}\n{"name": "tra')
  train(config, run)
  assert "2 of 12 pairs could not be read and were skipped: train07, train00" in caplog.text
  assert "train00.png: cannot be read" in read_skipped(run / "skipped.jsonl")["train00"]
