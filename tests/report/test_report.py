"""The page about runs: what it holds, and what a browser makes of it."""

import base64
import importlib.util
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
from PIL import Image

from configs import load
from tdfusion_jax import cli
from tdfusion_jax.evaluate.stage import run_task_stage
from tdfusion_jax.report import collect as report
from tdfusion_jax.report import page as report_page
from tdfusion_jax.report.page import Gallery
from tdfusion_jax.train import build
from tdfusion_jax.train.loop import train

WORLD = {
  **tiny.SHORT_RUN,
  "log.validate_every": 1,
}


def flat(color, size=(60, 120)):
  return np.broadcast_to(np.array(color, np.uint8), (*size, 3))


@pytest.fixture
def runs(tmp_path, monkeypatch):
  """Two short trainings with a fixed loss."""
  tiny.compile_quickly(monkeypatch)
  for name, w in (("even", 0.5), ("warm", 0.9)):
    config = load("synthetic_seg", f"weights={w}")
    config.update_from_flattened_dict({**WORLD, "train.compile_cache": ""})
    train(config, tmp_path / name)
  return tmp_path


def pictures_in(page):
  """{title: [H, W, 3]} of the first pair."""
  found = re.findall(r'<img alt="([^"]*)" src="data:image/png;base64,([^"]*)"><figcaption>', page)
  return {
    title: np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
    for title, data in reversed(found)
  }


def test_a_page_about_two_runs_and_a_rival(runs, capsys):
  """Expected numbers and pictures: those that the runs left in their folders, the rival's file."""
  (runs / "rival").mkdir()
  page = runs / "page.html"
  names = ["scene_00000", "scene_00001"]
  found = json.loads((runs / "even" / "config.json").read_text())
  assert found["data"]["val_options"]["count"] == 3
  command = ["report", str(runs / "even"), f"hot={runs / 'warm'}", "--pairs=2", f"--out={page}"]
  assert cli.main([*command, f"--fused=rival={runs / 'rival'}"]) == 2
  missing = capsys.readouterr().err
  assert "rival: " in missing and "drawing" not in missing and not page.exists()
  names = re.findall(r"holds no image of (\w+), (\w+);", missing)[0]
  assert cli.main(command) == 0
  text = page.read_text()
  assert "http" not in re.sub(r"base64,[^\"]*", "", text)  # nothing from elsewhere
  last = json.loads((runs / "even" / "metrics.jsonl").read_text().splitlines()[-1])
  assert f"{last['val/fusion_loss']:.4f}" in text
  assert "<td>loss.fixed_w_a</td><td>0.5</td><td>0.9</td>" in text and "curves of the runs" in text
  images = pictures_in(text)
  assert {"infrared", "visible", "even: fused", "hot: fused"} <= images.keys()
  assert images["infrared"].shape == (32, 64, 3) and images["infrared"].std() > 5
  Image.fromarray(flat((9, 8, 7))).save(runs / "rival" / f"{names[0]}.bmp")
  Image.fromarray(flat((5, 5, 5))[..., 0]).save(runs / "rival" / f"{names[1]}.png")
  assert cli.main([*command, f"--fused=rival={runs / 'rival'}"]) == 0
  assert (pictures_in(page.read_text())["rival: fused"] == (9, 8, 7)).all()
  second = pictures_in(page.read_text().split("<section id=pair1>")[1])
  assert (second["rival: fused"] == 5).all() and second["rival: fused"].shape == (32, 64, 3)


def test_weights_that_do_not_fit_are_refused_as_fuse_refuses_them(runs, capsys):
  """A NaN, a missing array, another shape: one error that names file and array, no page."""
  from tdfusion_jax.weightfiles import load_weights, save_weights

  page = runs / "page.html"
  file = runs / "even" / "weights" / "f.safetensors"
  variables, metadata = load_weights(file)
  name, group = next(iter(variables["params"].items()))
  leaf, value = next(iter(group.items()))
  spoilt = {
    "not finite": {leaf: np.full_like(value, np.nan)},
    "missing": {},
    "shape": {leaf: np.concatenate([value, value])},
  }
  for problem, change in spoilt.items():
    others = {key: array for key, array in group.items() if key != leaf}
    params = {**variables["params"], name: {**others, **change}}
    save_weights(file, {"params": params}, metadata)
    assert cli.main(["report", str(runs / "even"), "--pairs=1", f"--out={page}"]) == 2
    said = capsys.readouterr().err
    assert f"{file} does not fit the network: {problem}: params/{name}/{leaf}" in said
    assert said.count("error:") == 1 and not page.exists()
  # A config that names a task of somebody's own, which is not there: the run is named.
  config = json.loads((runs / "even" / "config.json").read_text())
  config["task"]["kind"] = "json:no_such_task"
  (runs / "even" / "config.json").write_text(json.dumps(config))
  assert cli.main(["report", str(runs / "even"), "--pairs=1", f"--out={page}"]) == 2
  assert f"{runs / 'even'}: config.task.kind='json:no_such_task'" in capsys.readouterr().err


def test_a_page_about_the_task_stage_alone_shows_the_pairs_as_well(tmp_path, monkeypatch, capsys):
  """A T that was given infrared only: it saw the infrared image; the visible one is beside it."""
  from pixel_task import config, pixel_task

  monkeypatch.setitem(build.TASKS, "segmentation", pixel_task)
  run_task_stage(config(**{"fused.images": "infrared", "train.epochs": 1}), tmp_path / "seen")
  page = tmp_path / "page.html"
  command = ["report", str(tmp_path / "seen"), "--pairs=1", f"--out={page}"]
  assert cli.main(command) == 0
  images = pictures_in(page.read_text())
  assert images.keys() == {"infrared", "visible", "true", "seen: fused", "seen: predicted"}
  np.testing.assert_array_equal(images["infrared"], images["seen: fused"])
  sample = build.source(config(), "val")[0]
  expected = np.round(sample.vi @ np.array([0.299, 0.587, 0.114]))
  assert np.abs(images["visible"][..., 0] - expected).max() <= 1 and expected.std() > 5
  (tmp_path / "other").mkdir()
  said = json.loads((tmp_path / "seen" / "config.json").read_text())
  said["task"]["kind"] = "detection"
  (tmp_path / "other" / "config.json").write_text(json.dumps(said))
  capsys.readouterr()
  assert cli.main(["report", str(tmp_path / "seen"), str(tmp_path / "other"), f"--out={page}"]) == 2
  assert "other is about detection, the pairs of" in capsys.readouterr().err


def test_what_a_run_learned_is_told_in_words():
  rows = [
    {"step": 1, "val/mIoU": 0.25},
    {"step": 2, "task_loss": 1.0},
    {"step": 3, "val/mIoU": 0.5},
  ]
  run = report.Run("<one>", Path("one"), load("synthetic_seg"), rows, {})
  other = run._replace(name="other", metrics=rows[:1])
  told = "rose from 0.25 to 0.50"
  assert told in report_page._told([run]) and "one" not in report_page._told([run])
  both = report_page._told([run, other])
  assert "&lt;one&gt;" in both and told in both and "other" not in both


def test_scores_of_each_class_are_there_to_be_opened():
  scores = {"mIoU": 0.25, "IoU/car": 0.75, "IoU/sign": 0.125}
  run = report.Run("one", Path("one"), load("synthetic_seg"), [], {"name": "one", "test": scores})
  page = report_page.numbers([run])
  main, details = page.split("<details>")
  assert "0.2500" in main and "IoU/car" not in main
  assert "IoU/car" in details and "0.7500" in details and "0.1250" in details


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (["missing"], "missing is not a run folder: it holds no config.json"),
    (["a=x", "a=y"], "two are called a"),
    (["a=x", "--fused=a=y"], "names a run"),
    (["=x"], "'=x': write NAME=PATH"),
    (["a", "--fused=b="], "'b=': write NAME=PATH"),
    (["a", "--pairs=-1"], "--pairs=-1"),
    (["a", "--out=."], "is a folder"),
    (["list"], "list is not a run folder: its config.json is another program's"),
    (["foreign"], "foreign is not a run folder: its config.json is another program's"),
    (["broken"], "broken/config.json cannot be read: Expecting property name"),
  ],
)
def test_wrong_arguments(tmp_path, monkeypatch, capsys, arguments, message):
  monkeypatch.chdir(tmp_path)
  for name, text in (
    ("list", "[]"),
    ("foreign", '{"model_type": "segformer", "task": 1}'),
    ("broken", "{"),
  ):
    (tmp_path / name).mkdir()
    (tmp_path / name / "config.json").write_text(text)
  before = set(tmp_path.rglob("*"))
  assert cli.main(["report", *arguments]) == 2
  said = capsys.readouterr().err
  assert message in said and said.count("\n") == 1 and set(tmp_path.rglob("*")) == before


@pytest.mark.browser
@pytest.mark.skipif(
  not importlib.util.find_spec("PyQt6"), reason="PyQt6-WebEngine, which holds a browser, is missing"
)
def test_the_slider_in_a_browser(tmp_path):
  """Red left of the slider and blue right of it, in a screenshot; names are shown as they are."""
  layers = {"visible": flat((255, 0, 0)), "<b>&: fused": flat((0, 0, 255))}
  page = tmp_path / "page.html"
  page.write_text(
    report_page.page_html([], [Gallery("first", dict(layers)), Gallery("second", layers)])
  )
  script = Path(__file__).parents[1] / "browser_script.py"
  command = [sys.executable, str(script), str(page), "pair1", str(tmp_path), "10", "50", "85"]
  ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
  assert ran.returncode == 0 and "page:" not in ran.stderr, ran.stderr
  for value in (10, 50, 85):
    image = np.asarray(Image.open(tmp_path / f"{value}.png").convert("RGB")).astype(int)
    row = image[image.shape[0] // 2]
    red, blue = row[:, 0] > 200, row[:, 2] > 200
    left = np.flatnonzero(red & (row[:, 1] < 60)).max() + 1
    assert (
      abs(left / len(row) - value / 100) < 0.02
      and (blue[left + 4 :]).all()
      and red[: left - 4].all()
    )
