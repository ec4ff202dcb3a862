"""What the runs of a sweep amount to."""

import json
import math

import pytest
from sweeps import SWEEP

from tdfusion_jax import files
from tdfusion_jax.config import ConfigError
from tdfusion_jax.sweep import compare
from tdfusion_jax.sweep import run as sweep


def test_differences_are_paired_and_choices_made_elsewhere(tmp_path):
  file = tmp_path / "sweep.toml"
  file.write_text(SWEEP)
  scores = {"infrared": [(0.5, 0.2), (0.7, 0.4)], "both": [(0.4, 0.3), (0.6, 0.6)]}
  results: dict[str, dict[int | str, dict]] = {
    arm: {seed: {"val": {"mIoU": v}, "test": {"mIoU": t}} for seed, (v, t) in enumerate(rows)}
    for arm, rows in scores.items()
  }
  compared = compare.compare(sweep.load_sweep(file), results)
  both = compared["both"]["mIoU"]
  # By hand: differences 0.1 and 0.2, their standard deviation 0.0707, t = 0.15 / (0.0707 / sqrt(2))
  # = 3.
  assert both["mean"] == pytest.approx(0.45) and both["difference"] == pytest.approx(0.15)
  assert both["t"] == pytest.approx(3.0) and both["sd"] == pytest.approx(math.sqrt(0.045))
  other = compare.compare(
    sweep.load_sweep(file, compare_to="best"), results
  )  # the best on val is infrared
  assert (
    other["both"]["mIoU"]["difference"] == pytest.approx(0.15)
    and other["infrared"]["mIoU"]["difference"] == 0
  )
  with pytest.raises(ConfigError, match="no such arm: wrost"):
    sweep.load_sweep(file, compare_to="wrost")
  assert compared["best"]["chosen"] == "infrared"  # better on val, though not on test
  assert compared["best"]["mIoU"]["mean"] == pytest.approx(0.3)
  with pytest.raises(ConfigError, match="scores on 'tset'; there are scores on: test, val"):
    compare.compare(sweep.load_sweep(file)._replace(report="tset"), results)


@pytest.mark.parametrize("name", ["sweep.json", "sweep.md"])
def test_a_comparison_is_written_whole_or_not_at_all(tmp_path, monkeypatch, name):
  """A disk that is full leaves the comparison of before, not half of a new one."""
  (tmp_path / "sweep.toml").write_text(SWEEP)
  made = sweep.load_sweep(tmp_path / "sweep.toml")
  done = tmp_path / "infrared" / "seed_0" / "task" / "result.json"
  done.parent.mkdir(parents=True)
  done.write_text(json.dumps({"val": {"mIoU": 0.5}, "test": {"mIoU": 0.25}}))
  compare.write_comparison(made, tmp_path)
  before = (tmp_path / name).read_text()
  assert "0.25" in before
  done.write_text(json.dumps({"val": {"mIoU": 0.5}, "test": {"mIoU": 0.75}}))
  replace = files.os.replace

  def full(source, target):
    if target.name == name:
      raise OSError(28, "No space left on device")
    replace(source, target)

  monkeypatch.setattr(files.os, "replace", full)
  with pytest.raises(OSError, match="No space"):
    compare.write_comparison(made, tmp_path)
  assert (tmp_path / name).read_text() == before
  assert not list(tmp_path.glob(".*.tmp*"))
