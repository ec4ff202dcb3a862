"""The task stage and sweeps: what they train on, what they leave behind, how they compare."""

import json
import math

import numpy as np
import optax
import pytest
from PIL import Image
from pixel_task import config, pixel_task

from configs import load
from tdfusion_jax import fusers
from tdfusion_jax.commands import sweep as sweep_command
from tdfusion_jax.config import ConfigError
from tdfusion_jax.evaluate.stage import run_task_stage, write_results
from tdfusion_jax.sweep import compare
from tdfusion_jax.sweep import run as sweep
from tdfusion_jax.train import build, checks


@pytest.fixture
def quick(monkeypatch):
  monkeypatch.setitem(build.TASKS, "segmentation", pixel_task)


@pytest.mark.usefixtures("quick")
def test_a_fresh_task_network_is_trained_and_judged(tmp_path):
  both = run_task_stage(
    config(**{"fused.images": "both", "data.test_split": "val"}), tmp_path / "both"
  )
  infrared = run_task_stage(config(**{"fused.images": "infrared"}), tmp_path / "infrared")
  assert json.loads((tmp_path / "both" / "result.json").read_text()) == both
  assert set(both) >= {"test", "val"} and both["test"] != both["val"]
  for scores in (both["test"], both["val"], infrared["test"]):
    assert 0 < scores["mIoU"] < 1 and 0 < scores["task_loss"] < 5
    assert scores["pixel_accuracy"] > 0.5  # most is background, which eight steps can tell
  assert {"IoU/person", "Acc/sign"} <= set(infrared["test"])
  assert not (tmp_path / "both" / "weights" / "f.safetensors").exists()
  table = (tmp_path / "results.md").read_text()
  assert table.count("\n") == 5 and "| both |" in table and "| infrared |" in table
  assert f"{infrared['test']['mIoU']:.4f}" in table


@pytest.mark.usefixtures("quick")
def test_a_detector_that_finds_nothing_is_pointed_out(tmp_path, monkeypatch, caplog):
  from tdfusion_jax.evaluate import stage

  for found, told in ((0.0, True), (0.2, False)):
    caplog.clear()
    monkeypatch.setattr(
      stage, "judge", lambda *args, found=found, **named: {"AP50": found, "AP50/car": found}
    )
    run_task_stage(config(**{"fused.images": "infrared"}), tmp_path / str(found))
    assert ("assigner_eps" in caplog.text) == told


@pytest.mark.usefixtures("quick")
def test_the_judges_scores_are_those_of_its_predictions(tmp_path):
  result = run_task_stage(config(**{"fused.images": "infrared"}), tmp_path / "run")
  from tdfusion_jax.weightfiles import load_weights

  params = load_weights(tmp_path / "run" / "weights" / "t.safetensors")[0]["params"]
  source = build.source(config(), "val")
  right, total, losses = 0, 0, []
  for index in range(len(source)):
    sample = source[index]
    logits = sample.ir[..., None].astype(np.float32) / 255 * params["w"][0] + params["b"]
    right += (logits.argmax(-1) == sample.target).sum()
    total += sample.target.size
    losses.append(
      optax.softmax_cross_entropy_with_integer_labels(logits, sample.target.astype(int)).mean()
    )
  assert result["test"]["pixel_accuracy"] == pytest.approx(right / total, abs=1e-4)
  assert result["test"]["task_loss"] == pytest.approx(float(np.mean(losses)), rel=1e-4)


@pytest.mark.usefixtures("quick")
def test_images_of_f_are_made_once_and_belong_to_their_weights(tmp_path, monkeypatch):
  fused = []

  def load_fusion(*, weights):
    fused.append(weights)
    return (lambda params, ir, vi: (ir + vi) / 2), {}

  monkeypatch.setattr(fusers, "load_fusion", load_fusion)
  weights = tmp_path / "f.safetensors"
  weights.write_bytes(b"some")
  changes = {"init.f": str(weights)}
  first = run_task_stage(config(**changes), tmp_path / "run")
  files = sorted((tmp_path / "run" / "fused").rglob("*.png"))
  assert len(files) == 8 + 4 and fused == [weights]
  sample = build.source(config(), "val")[2]
  expected = (sample.ir / 255 + sample.vi @ np.array([0.299, 0.587, 0.114]) / 255) / 2
  kept = np.asarray(Image.open(tmp_path / "run" / "fused" / "test" / f"{sample.name}.png")) / 255
  assert np.abs(kept - expected).max() < 0.51 / 255 and kept.std() > 0.01
  times = [file.stat().st_mtime_ns for file in files]
  assert (
    run_task_stage(config(**changes), tmp_path / "run") == first
  )  # finished: nothing is made again
  assert [file.stat().st_mtime_ns for file in files] == times
  weights.write_bytes(b"other")
  with pytest.raises(ConfigError, match="images of other weights"):
    run_task_stage(config(**changes), tmp_path / "run")


def test_mosaics_have_room_for_the_boxes_of_four_images(tmp_path, monkeypatch):
  """Each image may hold `data.max_boxes`; a mosaic of four held up training as too crowded."""
  from tdfusion_jax.evaluate import stage

  made = load("synthetic_det", "task")
  made.data.max_boxes = 7
  seen = []

  def train(config, workdir, pairs):
    del workdir, pairs
    seen.append(config.data.max_boxes)
    raise StopIteration

  monkeypatch.setattr(stage, "train", train)
  made.fused.images = "infrared"
  for augment, expected in (("task", 28), ("none", 7)):
    made.data.augment = augment
    with pytest.raises(StopIteration):
      run_task_stage(made, tmp_path / augment)
    assert seen.pop() == expected and made.data.max_boxes == 7


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"stage": "other"}, "config.stage"),
    ({"fused.images": "folder"}, "config.fused.images='folder'"),
    ({"fused.folder": "there"}, "config.fused.images='fusion' with"),
    ({"data.augment": "some"}, "config.data.augment"),
    ({"meta.rule": "other"}, "config.meta.rule"),
    ({"loss.weights": "truth"}, "log.validate_every=0"),
    ({"task.frozen": True, "init.t": "t.safetensors"}, "task.frozen does not go with stage='task'"),
    ({"task.kind": "none"}, "needs a task"),
  ],
)
def test_contradictions_name_the_field(changes, message):
  with pytest.raises(ConfigError, match=message):
    checks.check(config(**changes))


def test_results_mark_the_best_of_each_split(tmp_path):
  for name, value, loss in (("a", 0.25, 1.0), ("b", 0.5, 2.0)):
    (tmp_path / name).mkdir()
    result = {
      "name": name,
      "images": "fusion",
      "seed": 0,
      "test": {"mIoU": value, "task_loss": loss, "IoU/car": 0.1},
    }
    (tmp_path / name / "result.json").write_text(json.dumps(result))
  lines = write_results(tmp_path).splitlines()
  assert "_0.2500_ | **1.0000**" in lines[2] and "**0.5000** | _2.0000_" in lines[3]
  assert "IoU/car" not in lines[0]


SWEEP = """
config = "configs/synthetic_seg.py"
seeds = [0, 1]
compare_to = "infrared"
select = "val"
report = "test"
scores = ["mIoU"]
[set]
"data.train_options.size" = [32, 48]
"data.train_options.count" = 8
"data.val_options.size" = [32, 48]
"data.val_options.count" = 4
"data.val_split" = "val"
"data.task_size" = [32, 48]
"data.batch_size" = 4
[task]
"data.test_split" = "test"
"data.augment" = "none"
"train.epochs" = 1
[arms.infrared]
images = "infrared"
[arms.both]
images = "both"
task = { "train.epochs" = 2 }
[best.best]
of = ["infrared", "both"]
by = "mIoU"
"""


@pytest.mark.usefixtures("quick")
def test_a_sweep_runs_its_arms_and_compares(tmp_path, monkeypatch):
  monkeypatch.chdir(sweep.Path(__file__).resolve().parents[2])
  file = tmp_path / "sweep.toml"
  file.write_text(SWEEP)
  for arm in ("infrared", "both"):
    for seed in (0, 1):
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
  assert (tmp_path / "runs" / "sweep.md").read_text().count("\n") == 7


def test_a_moved_sweep_is_still_its_own(tmp_path, monkeypatch):
  monkeypatch.chdir(sweep.Path(__file__).resolve().parents[2])
  file = tmp_path / "sweep.toml"
  file.write_text(
    SWEEP + '[arms.half]\noptions = "weights=0.5"\nfusion = { "task.kind" = "none" }\n'
  )
  fusion, task = sweep._configs(
    sweep.load_sweep(file), "half", 0, tmp_path / "before" / "half" / "seed_0"
  )
  now = tmp_path / "now" / "half" / "seed_0"
  for name, made in (("fusion", fusion), ("task", task)):
    (now / name).mkdir(parents=True)
    (now / name / "config.json").write_text(json.dumps(sweep.config_to_json(sweep.with_room(made))))
  (now / "fusion" / "weights").mkdir()
  (now / "fusion" / "weights" / "f.safetensors").touch()
  (now / "task" / "result.json").write_text('{"test": {"mIoU": 0.4}}')
  assert sweep.run_one(str(file), "half", 0, str(tmp_path / "now")) == {"test": {"mIoU": 0.4}}
  with pytest.raises(ConfigError, match=r"optim\.t\.learning_rate"):
    sweep.run_one(str(file), "half", 0, str(tmp_path / "now"), {"optim.t.learning_rate": 0.5})


def fail_or_answer(file, arm, seed, workdir, changes=None):
  """In the place of `sweep.run_one`, in a worker process."""
  if (arm, seed) == ("infrared", 0):
    raise FloatingPointError("not finite")
  folder = sweep.Path(workdir) / arm / f"seed_{seed}" / "task"
  folder.mkdir(parents=True)
  result = {"val": {"mIoU": 0.5}, "test": {"mIoU": 0.4}}
  (folder / "result.json").write_text(json.dumps(result))
  return result


def test_a_failing_run_does_not_stop_the_others(tmp_path, monkeypatch):
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


@pytest.mark.parametrize(
  ("old", "new", "message"),
  [
    ('"train.epochs" = 2', '"train.epocs" = 2', "config.train.epocs: there is no such field"),
    ('"train.epochs" = 2', '"train.epochs" = -2', "config.train.epochs=-2: at least 0"),
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
  with pytest.raises(ConfigError, match="--set loss.alpha: FIELD=VALUE"):
    sweep_command._changes(["loss.alpha"])


def test_differences_are_paired_and_choices_made_elsewhere(tmp_path):
  file = tmp_path / "sweep.toml"
  file.write_text(SWEEP)
  scores = {"infrared": [(0.5, 0.2), (0.7, 0.4)], "both": [(0.4, 0.3), (0.6, 0.6)]}
  results = {
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
  root = sweep.Path(__file__).resolve().parents[2]
  monkeypatch.chdir(root)
  files = sorted((root / "configs" / "sweeps").glob("*.toml"))
  assert files
  for file in files:
    found = sweep.load_sweep(file)
    for arm, body in found.arms.items():
      for stage, options in (("fusion", body.get("options", "")), ("task", "task")):
        changes = {
          **found.set,
          **getattr(found, stage),
          **body.get("set", {}),
          **body.get(stage, {}),
        }
        if stage == "task" or "images" not in body:
          made = sweep.read_config(found.config, options, changes)
          checks.check(made)
          assert made.seed == 0, arm
