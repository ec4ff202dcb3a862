"""The task stage: what it trains on, what it leaves behind."""

import hashlib
import json
import shutil

import numpy as np
import optax
import pytest
from PIL import Image
from pixel_task import config, pixel_task
from runs import rows

from configs import load
from tdfusion_jax import fusers
from tdfusion_jax.config import ConfigError
from tdfusion_jax.evaluate.results import read_result
from tdfusion_jax.evaluate.stage import run_task_stage, write_results
from tdfusion_jax.files import UsageError
from tdfusion_jax.train import build, checks, data_checks


@pytest.fixture
def quick(monkeypatch):
  monkeypatch.setitem(build.TASKS, "segmentation", pixel_task)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
  """(folder, result) of a run on infrared images: several tests read it, and none changes it."""
  folder = tmp_path_factory.mktemp("plain") / "infrared"
  with pytest.MonkeyPatch.context() as patch:
    patch.setitem(build.TASKS, "segmentation", pixel_task)
    return folder, run_task_stage(config(**{"fused.images": "infrared"}), folder)


def kept_beside(plain, folder):
  """The result of `plain` as one of those in `folder`."""
  (folder / "infrared").mkdir(parents=True)
  shutil.copy(plain[0] / "result.json", folder / "infrared")


@pytest.mark.usefixtures("quick")
def test_a_fresh_task_network_is_trained_and_judged(tmp_path, plain, caplog):
  kept_beside(plain, tmp_path)
  both = run_task_stage(
    config(**{"fused.images": "both", "data.test_split": "val"}), tmp_path / "both"
  )
  infrared = plain[1]
  assert json.loads((tmp_path / "both" / "result.json").read_text()) == both
  assert both["start"] == "random" and "tdfusion convert" in caplog.text
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
def test_each_row_says_where_its_t_started(tmp_path, plain, caplog):
  changes = {"fused.images": "infrared"}
  kept_beside(plain, tmp_path / "all")
  weights = plain[0] / "weights" / "t.safetensors"
  started = run_task_stage(config(**changes, **{"init.t": str(weights)}), tmp_path / "all" / "next")
  digest = hashlib.sha256(weights.read_bytes()).hexdigest()
  assert started["start"] == f"t.safetensors {digest[:12]}"
  assert "tdfusion convert" not in caplog.text
  old = {"name": "old", "images": "visible", "test": {"mIoU": 0.25}}  # of before there was a start
  (tmp_path / "all" / "old").mkdir()
  (tmp_path / "all" / "old" / "result.json").write_text(json.dumps(old))
  lines = write_results(tmp_path / "all").splitlines()
  cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
  column = cells[0].index("start")
  assert [row[column] for row in cells[2:]] == ["random", started["start"], ""]
  with pytest.raises(ConfigError, match=r"config\.init\.t='.*none' cannot be read"):
    run_task_stage(config(**changes, **{"init.t": str(tmp_path / "none")}), tmp_path / "wrong")


@pytest.mark.usefixtures("quick")
def test_a_detector_that_finds_nothing_is_pointed_out(tmp_path, plain, monkeypatch, caplog):
  from tdfusion_jax.evaluate import stage

  judge = stage.judge
  shutil.copytree(plain[0], tmp_path / "run")  # trained already: it is judged again
  for found, told in ((0.0, True), (0.2, False)):
    caplog.clear()

    def judged(*args, found=found, **named):
      return {"AP50": found, "AP50/car": found}, judge(*args, **named)[1]

    monkeypatch.setattr(stage, "judge", judged)
    run_task_stage(config(**{"fused.images": "infrared"}), tmp_path / "run")
    assert ("assigner_eps" in caplog.text) == told


@pytest.mark.usefixtures("quick")
def test_a_border_around_the_pairs_changes_nothing_for_a_task_of_single_pixels(tmp_path):
  """32x48 pairs in the middle of 48x48: of the border nothing is known; T and its scores stay."""
  fields = {"fused.images": "infrared", "data.hsv_value": 0.4, "data.photometric": True}
  plain = run_task_stage(config(**fields), tmp_path / "plain")
  boxed = {"data.view": "letterbox", "data.task_size": (48, 48)}
  framed = run_task_stage(config(**fields, **boxed), tmp_path / "boxed")
  for name, score in plain["test"].items():
    assert framed["test"][name] == pytest.approx(score, abs=2e-3, nan_ok=True), name
  assert 0 < plain["test"]["mIoU"] < 1


def test_the_judges_scores_are_those_of_its_predictions(plain):
  from tdfusion_jax.weightfiles import load_weights

  folder, result = plain
  params = load_weights(folder / "weights" / "t.safetensors")[0]["params"]
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
def test_a_recipe_goes_on_as_if_unbroken_and_its_average_is_judged(tmp_path, monkeypatch):
  """Stopped between two batches of one step; three batches are a step, two an epoch."""
  from tdfusion_jax.train.runfolder import RunFolder

  changes = {
    "fused.images": "infrared",
    "optim.t.nominal_batch": 12,
    "optim.t.ema": 0.9,
    "optim.t.ema_ramp": 2.0,
    "log.every": 1,
    "log.checkpoint_every": 4,
  }
  unbroken = run_task_stage(config(**changes), tmp_path / "unbroken")
  write = RunFolder.write

  def stop_at_five(self, row):
    write(self, row)
    if row["step"] == 5:
      raise RuntimeError("power cut")

  monkeypatch.setattr(RunFolder, "write", stop_at_five)
  with pytest.raises(RuntimeError, match="power cut"):
    run_task_stage(config(**changes), tmp_path / "broken")
  monkeypatch.setattr(RunFolder, "write", write)
  again = run_task_stage(config(**changes), tmp_path / "broken")
  assert {**again, "name": ""} == {**unbroken, "name": ""}
  files = [tmp_path / run / "weights" / "t.safetensors" for run in ("unbroken", "broken")]
  assert files[0].read_bytes() == files[1].read_bytes()
  assert rows(tmp_path / "broken") == rows(tmp_path / "unbroken")
  moved = [row["t_update_norm"] > 0 for row in rows(tmp_path / "broken") if row["phase"] == "ft"]
  assert moved == [False, False, True, False, False, True, False, False]
  plain = {k: v for k, v in changes.items() if not k.startswith("optim.t.ema")}
  without = run_task_stage(config(**plain), tmp_path / "without")
  assert without["test"]["task_loss"] != unbroken["test"]["task_loss"]
  # Of the same T: training sees nothing of its average.
  losses = [
    [row["task_loss"] for row in rows(tmp_path / run) if row["phase"] == "ft"]
    for run in ("without", "broken")
  ]
  assert losses[0] == losses[1]


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
    ({"fused.folder": "there"}, "config.fused.images='fusion': .*fused.folder='there'"),
    ({"data.augment": "some"}, "config.data.augment"),
    ({"data.view": "stretch"}, "config.data.view='stretch': one of resize, letterbox"),
    ({"data.hsv_value": 1.5}, "config.data.hsv_value=1.5: must be in"),
    ({"data.mosaic": -0.5}, "config.data.mosaic=-0.5: must be in"),
    ({"data.close_mosaic": -2}, "config.data.close_mosaic=-2: at least -1"),
    ({"data.cat_max_ratio": 0.0}, "config.data.cat_max_ratio=0.0: must be above 0"),
    ({"data.crop_view": (48,)}, "config.data.crop_view"),
    ({"data.crop_view": (48, 48)}, "config.data.crop_view=.48, 48.: is for data.augment='task'"),
    ({"data.cat_max_ratio": 0.75}, "config.data.cat_max_ratio=0.75: is for data.augment='task'"),
    ({"data.augment": "task", "data.mosaic": 0.5}, "config.data.mosaic=0.5: is for boxes"),
    ({"data.close_mosaic": 3}, "config.data.close_mosaic=3: is for boxes; leave it -1"),
    ({"data.test_split": "test"}, "config.data.test_split='test': is data.val_split already"),
    ({"task.pseudo_threshold": 0.9}, "config.task.pseudo_threshold=0.9: is for task.labels='ps"),
    ({"task.pseudo_unsure": 0.1}, "config.task.pseudo_unsure=0.1: is for task.labels='pseudo'"),
    ({"meta.rule": "other"}, "config.meta.rule"),
    ({"loss.weights": "truth"}, "log.validate_every=0"),
    (
      {"task.frozen": True, "init.t": "t.safetensors"},
      "task.frozen=True: does not go with stage='task'",
    ),
    ({"task.kind": "none"}, "needs a task"),
  ],
)
def test_contradictions_name_the_field(changes, message):
  with pytest.raises(ConfigError, match=message):
    checks.check(config(**changes))


def test_a_run_without_any_mosaic_says_so():
  made = load("synthetic_det", "task")
  made.data.augment, made.data.close_mosaic, made.train.epochs = "task", 10, 11
  assert data_checks.remarks(made) == []
  made.train.epochs = 10
  assert "close_mosaic=10: a run of 10 epochs sees no mosaic" in data_checks.remarks(made)[0]
  made.data.mosaic = 0.0
  assert data_checks.remarks(made) == []


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


def test_scores_without_a_value_are_read_and_others_that_are_none_are_not(tmp_path):
  """IoU of a class without a pixel has no value: NaN in the file, as Python writes it, or null."""
  file = tmp_path / "result.json"
  file.write_text('{"name": "a", "test": {"mIoU": 0.5, "IoU/car": NaN, "IoU/bump": null}}')
  scores = read_result(file)["test"]
  assert scores["mIoU"] == 0.5 and np.isnan([scores["IoU/car"], scores["IoU/bump"]]).all()
  for wrong in ('"high"', "true", "Infinity", "[]"):
    file.write_text(f'{{"test": {{"mIoU": {wrong}}}}}')
    with pytest.raises(UsageError, match=r"test\.mIoU is not a number"):
      read_result(file)
