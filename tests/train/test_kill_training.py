"""tools/kill_training.py: a few kills, and that it sees what it is there to see."""

import importlib.util
import random
import shutil
from pathlib import Path

import pytest

from tdfusion_jax.weightfiles import load_weights

TOOL = Path(__file__).resolve().parents[2] / "tools" / "kill_training.py"


@pytest.fixture(scope="module")
def kill_training():
  spec = importlib.util.spec_from_file_location("kill_training", TOOL)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


@pytest.mark.slow  # some dozen processes, each of which imports JAX
def test_killed_runs_equal_unbroken_ones(kill_training, tmp_path):
  problems, count = kill_training.try_all(tmp_path, kills=8, terms=2, rng=random.Random(1))
  assert not problems
  assert (count.kills, count.terms) == (8, 2) and count.finished_runs >= 1
  networks = (tmp_path / "unbroken_fusion" / "weights" / f"{name}.safetensors" for name in "fg")
  # One convolution each: with the real ones most of the time would go into compiling them.
  assert [list(load_weights(file)[0]["params"]) for file in networks] == [["kernel"]] * 2
  # What follows shows that a difference would have been found.
  whole, broken = tmp_path / "unbroken_fusion", tmp_path / "broken"
  shutil.copytree(whole, broken)
  assert kill_training.differences(broken, whole) == []
  (broken / "checkpoints" / "9.orbax-checkpoint-tmp").mkdir()
  lines = (broken / "metrics.jsonl").read_text().splitlines(keepends=True)
  (broken / "metrics.jsonl").write_text("".join(lines[:-1]))
  shutil.copy(broken / "weights" / "g.safetensors", broken / "weights" / "f.safetensors")
  found = kill_training.differences(broken, whole)
  assert "f.safetensors differs" in found and "metric lines differ" in found
  assert any(line.endswith("9.orbax-checkpoint-tmp is left") for line in found)
