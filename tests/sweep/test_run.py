"""Sweeps: what they run, what they go on with, what they refuse before anything is trained."""

import json
import sys

import pytest
from pixel_task import pixel_task
from sweeps import SWEEP

from tdfusion_jax.commands import sweep as sweep_command
from tdfusion_jax.config import ConfigError
from tdfusion_jax.files import UsageError
from tdfusion_jax.sweep import compare
from tdfusion_jax.sweep import run as sweep
from tdfusion_jax.sweep.file import Turn
from tdfusion_jax.train import build


@pytest.fixture
def quick(monkeypatch):
  monkeypatch.setitem(build.TASKS, "segmentation", pixel_task)


@pytest.mark.usefixtures("quick")
def test_a_sweep_runs_its_arms_and_compares(tmp_path, monkeypatch):
  monkeypatch.chdir(sweep.Path(__file__).resolve().parents[2])
  file = tmp_path / "sweep.toml"
  file.write_text(SWEEP)
  for arm, seed in (("infrared", 1), ("both", 0), ("both", 1)):
    result = sweep.run_one(str(file), arm, seed, str(tmp_path / "runs"))
    assert result["seed"] == seed and result["epochs"] == (1 if arm == "infrared" else 2)
    assert sweep.run_one(str(file), arm, seed, str(tmp_path / "runs")) == result
  with pytest.raises(
    ConfigError, match="seed_0/task holds a run with another config.*\n.*optim.t.learning_rate"
  ):
    sweep.run_one(str(file), "both", 0, str(tmp_path / "runs"), {"optim.t.learning_rate": 0.5})
  compared = compare.write_comparison(sweep.load_sweep(file), tmp_path / "runs")
  assert list(compared) == ["infrared", "both", "best"]
  assert compared["infrared"]["mIoU"]["difference"] == 0
  assert compared["best"]["chosen"] in ("infrared", "both")
  of_one = compare.write_comparison(sweep.load_sweep(file, seeds=[1]), tmp_path / "runs")
  assert (
    list(of_one["both"]["mIoU"]["values"]) == [1] and len(compared["both"]["mIoU"]["values"]) == 2
  )
  table, _, over_images = (tmp_path / "runs" / "sweep.md").read_text().partition("\n\n")
  assert table.count("\n") == 4 and "| both | " in over_images


def test_a_moved_sweep_is_still_its_own(tmp_path, monkeypatch):
  monkeypatch.chdir(sweep.Path(__file__).resolve().parents[2])
  file = tmp_path / "sweep.toml"
  file.write_text(
    SWEEP + '[arms.half]\noptions = "weights=0.5"\nfusion = { "task.kind" = "none" }\n'
  )
  fusion, task = sweep._configs(
    sweep.load_sweep(file), "half", Turn(0), tmp_path / "before" / "half" / "seed_0"
  )
  now = tmp_path / "now" / "half" / "seed_0"
  for name, made in (("fusion", fusion), ("task", task)):
    (now / name).mkdir(parents=True)
    text = json.dumps(sweep.build.config_to_json(sweep.with_room(made)))
    (now / name / "config.json").write_text(text)
  (now / "fusion" / "weights").mkdir()
  (now / "fusion" / "weights" / "f.safetensors").touch()
  (now / "task" / "result.json").write_text('{"test": {"mIoU": 0.4}}')
  assert sweep.run_one(str(file), "half", 0, str(tmp_path / "now")) == {"test": {"mIoU": 0.4}}
  with pytest.raises(ConfigError, match=r"optim\.t\.learning_rate"):
    sweep.run_one(str(file), "half", 0, str(tmp_path / "now"), {"optim.t.learning_rate": 0.5})


def test_images_that_no_network_makes_need_no_training(tmp_path, monkeypatch):
  monkeypatch.chdir(sweep.Path(__file__).resolve().parents[2])
  file = tmp_path / "sweep.toml"
  images = ("visible", "average", "maximum", "fusion")
  file.write_text(SWEEP + "".join(f'[arms.{name}]\nimages = "{name}"\n' for name in images))
  made = {
    name: sweep._configs(sweep.load_sweep(file), name, Turn(0), tmp_path)[0] for name in images
  }
  assert [name for name, fusion in made.items() if fusion is not None] == ["fusion"]


def fail_or_answer(file, arm, seed, workdir, changes=None):
  """In the place of `sweep.run_one`, in a worker process."""
  print("epoch 1 G, step 2/9", file=sys.stderr)
  if (arm, seed) == ("infrared", 0):
    raise FloatingPointError("not finite")
  folder = sweep.Path(workdir) / arm / f"seed_{seed}" / "task"
  folder.mkdir(parents=True)
  result = {"val": {"mIoU": 0.5}, "test": {"mIoU": 0.4}}
  (folder / "result.json").write_text(json.dumps(result))
  return result


def test_a_failing_run_does_not_stop_the_others(tmp_path, monkeypatch, capfd):
  monkeypatch.chdir(sweep.Path(__file__).resolve().parents[2])
  monkeypatch.setenv("PYTHONPATH", "tests")
  file = tmp_path / "sweep.toml"
  file.write_text(SWEEP)
  monkeypatch.setattr(sweep, "run_one", fail_or_answer)
  with pytest.raises(
    ConfigError,
    match="1 of 4 runs failed; the others are compared.\n  infrared, seed 0: not finite",
  ):
    sweep.run_sweep(file, tmp_path / "runs", jobs=2)
  compared = json.loads((tmp_path / "runs" / "sweep.json").read_text())
  assert list(compared["both"]["mIoU"]["values"]) == ["0", "1"]
  assert list(compared["infrared"]["mIoU"]["values"]) == ["1"]
  lines = capfd.readouterr().err.splitlines()  # those of a run start with its arm
  for arm in ("infrared", "both"):
    for seed in (0, 1):
      assert f"{arm}, seed {seed}: epoch 1 G, step 2/9" in lines


@pytest.mark.parametrize(
  ("old", "new", "message"),
  [
    ('"train.epochs" = 2', '"train.epocs" = 2', "config.train.epocs: there is no such field"),
    ('"train.epochs" = 2', '"train.epochs" = -2', "config.train.epochs=-2: at least 0"),
    (
      "seeds = [0, 1]",
      "folds = [7]",
      "data set 'synthetic_seg' has no option 'fold'",
    ),
    (
      'report = "test"',
      'report = "tset"',
      "asks for scores on 'tset'; there are scores on: test, val",
    ),
  ],
)
def test_what_would_stop_a_sweep_is_told_before_it_starts(tmp_path, monkeypatch, old, new, message):
  monkeypatch.chdir(sweep.Path(__file__).resolve().parents[2])
  monkeypatch.setattr(sweep, "ProcessPoolExecutor", None)
  assert old in SWEEP
  (tmp_path / "sweep.toml").write_text(SWEEP.replace(old, new))
  with pytest.raises(ConfigError, match=message):
    sweep.run_sweep(tmp_path / "sweep.toml", tmp_path / "runs")


def test_a_sweep_with_another_setting(tmp_path, monkeypatch):
  monkeypatch.chdir(sweep.Path(__file__).resolve().parents[2])
  file = tmp_path / "sweep.toml"
  file.write_text(SWEEP)
  seen = []
  monkeypatch.setattr(sweep, "run_task_stage", lambda config, folder: seen.append(config) or {})
  sweep.run_one(
    str(file), "both", 0, str(tmp_path / "runs"), {"loss.alpha": 0.1, "train.epochs": 7}
  )
  assert (
    seen[0].loss.alpha == 0.1 and seen[0].train.epochs == 7
  )  # in front of the arm's own number of epochs
  given = sweep_command._changes(
    ["loss.alpha=0.1", "data.crop_size=[32, 40]", "meta.rule=equilibrium"]
  )
  assert given == {"loss.alpha": 0.1, "data.crop_size": [32, 40], "meta.rule": "equilibrium"}
  with pytest.raises(UsageError, match="--set loss.alpha: FIELD=VALUE"):
    sweep_command._changes(["loss.alpha"])
