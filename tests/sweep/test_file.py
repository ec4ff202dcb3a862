"""Sweep files: what is refused, and those that come along."""

from pathlib import Path

import pytest
from sweeps import SWEEP

from tdfusion_jax.config import ConfigError
from tdfusion_jax.sweep import run as sweep
from tdfusion_jax.train import checks


@pytest.mark.parametrize(
  ("old", "new", "message"),
  [
    ("seeds =", "sedes =", "unknown sedes"),
    ('images = "both"', 'image = "both"', "arms.both.image"),
    ('compare_to = "infrared"', 'compare_to = "infra"', "no such arm: infra"),
    ("[arms.both]", "[arms.both", "cannot be read"),
    ("[arms.both]", '[arms."1/2"]', "arm '1/2' cannot name a folder"),
    ('config = "configs/synthetic_seg.py"', "", "config missing"),
  ],
)
def test_a_wrong_sweep_file_is_one_clear_line(tmp_path, old, new, message):
  file = tmp_path / "sweep.toml"
  assert old in SWEEP
  file.write_text(SWEEP.replace(old, new))
  with pytest.raises(ConfigError, match=message):
    sweep.load_sweep(file)


def test_seeds_count_once_and_none_are_the_usual_three(tmp_path):
  file = tmp_path / "sweep.toml"
  for written, seeds in (("[]", [0, 1, 2]), ("[4, 4, 1]", [4, 1])):
    file.write_text(SWEEP.replace("seeds = [0, 1]", f"seeds = {written}\nfolds = [2, 0, 2]"))
    read = sweep.load_sweep(file)
    assert read.seeds == seeds and read.folds == [2, 0]
    assert len(read.turns) == 2 * len(seeds)


def test_an_unknown_field_in_a_sweep_is_named(monkeypatch):
  monkeypatch.chdir(sweep.Path(__file__).resolve().parents[2])
  with pytest.raises(ConfigError, match="config.loss.alhpa: there is no such field"):
    sweep.read_config("configs/synthetic_seg.py", "", {"loss.alhpa": 1.0})
  with pytest.raises(ConfigError, match="config.los.alpha: there is no such field"):
    sweep.read_config("configs/synthetic_seg.py", "", {"los.alpha": 1.0})
  with pytest.raises(ConfigError, match="no such config file"):
    sweep.read_config("configs/none.py", "", {})
  made = sweep.read_config(
    "configs/synthetic_seg.py", "", {"loss.alpha": 0.5, "data.task_size": [32, 64]}
  )
  assert made.loss.alpha == 0.5 and made.data.task_size == (32, 64)


def test_the_sweeps_that_come_along_are_sound(monkeypatch):
  root = Path(__file__).resolve().parents[2]
  monkeypatch.chdir(root)
  files = sorted((root / "configs" / "sweeps").glob("*.toml"))
  assert files
  for file in files:
    # The detector is the user's.
    given = {"init.t": "detector.safetensors"} if file.stem == "frozen_det" else {}
    found = sweep.load_sweep(file, given)
    for arm in found.arms:
      for made in sweep._configs(found, arm, found.turns[0], Path(arm)):
        if made is not None:
          checks.check(made)
          assert made.seed == 0, arm
