"""tools/learned_average.py, learned_through_f.py, weight_controls.py: G and what no one learned."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
from made_data import squares
from pixel_task import pixel_task

from tdfusion_jax.config import ConfigError
from tdfusion_jax.train import build
from tdfusion_jax.weightfiles import load_weights, save_weights

TOOLS = Path(__file__).resolve().parents[2] / "tools"
SIZE = (32, 32)


def load(monkeypatch, name):
  spec = importlib.util.spec_from_file_location(name, TOOLS / f"{name}.py")
  assert spec and spec.loader
  module = importlib.util.module_from_spec(spec)
  # Named tuples of a module look for it by its name.
  monkeypatch.setitem(sys.modules, name, module)
  spec.loader.exec_module(module)
  return module


@pytest.fixture
def tool(monkeypatch):
  monkeypatch.syspath_prepend(TOOLS)
  tiny.compile_quickly(monkeypatch)
  return load(monkeypatch, "learned_average")


@pytest.fixture
def arguments(tmp_path):
  root, t = squares(tmp_path, 12, folds=lambda number: number % 2)
  fields = {
    "data.root": root,
    "data.task_size": SIZE,
    "data.crop_size": (16, 16),
    "data.batch_size": 2,
    "task.kind": "pixel_task:pixel_task",
    "task.frozen": True,
    "init.t": t,
    "loss.network": "tiny:weigher",
    "meta.rule": "equilibrium",
    "meta.steps": 12,
    "meta.pairs": 2,
    "optim.g.learning_rate": 0.05,
    "train.epochs": 1,
    "train.pretrain_steps": 0,
    "train.compile_cache": "",
  }
  config = Path(__file__).resolve().parents[2] / "configs" / "folder_seg.py"
  return [f"--config={config}", *(f"--config.{name}={value}" for name, value in fields.items())]


def test_a_g_that_can_only_lean_is_level_with_the_best_constant(
  tool, arguments, monkeypatch, capsys
):
  monkeypatch.setattr(tool, "CONSTANTS", (0.5, 1.0))
  folds = {}
  monkeypatch.setattr(
    tool, "table", lambda found, make=tool.table: folds.update(found) or make(found)
  )
  tool.main([*arguments, "--folds=1", "--average=0.5"])
  for fold in folds.values():
    assert fold.constant == 1.0  # only infrared shows the square: every pixel is told apart
    assert fold.scores["constant"]["mIoU"] == 1
    # G began near 1/2 (w_a a + w_b b is half noise) and has gone most of the way.
    assert fold.weights["square"] > 0.7 and fold.scores["learned"]["mIoU"] > 0.8
    gain = fold.scores["learned"]["mIoU"] - fold.scores["constant"]["mIoU"]
    assert fold.differences["mIoU"][0] == pytest.approx(gain) and len(fold.differences["mIoU"]) > 1
  printed = capsys.readouterr().out
  assert f"| 1 | w = 1 | 0.5 | 1.000 → {folds[1].scores['learned']['mIoU']:.3f} |" in printed
  assert "mIoU: learned less constant" in printed


def test_a_tone_that_is_held_is_the_constant(tool, arguments, tmp_path, monkeypatch):
  """One convolution that may only differ from its mean: towards infrared, where that is bright."""
  monkeypatch.setattr(tool, "CONSTANTS", (0.5, 0.9, 1.0))
  folds = {}
  monkeypatch.setattr(
    tool, "table", lambda found, make=tool.table: folds.update(found) or make(found)
  )
  tool.main([*arguments, "--folds=1", "--config.loss.tone_held", f"--save={tmp_path / 'learned'}"])
  assert (folds[1].constant, folds[1].tone) == (0.9, 0.9)
  of = folds[1].weights
  assert of["square"] > of["elsewhere"] and list(of.values()) == pytest.approx([0.9, 0.9], abs=0.02)
  saved, about = load_weights(tmp_path / "learned" / "g_fold_1.safetensors")
  assert about["network"] == "tiny:weigher" and saved["params"]


def test_labels_of_other_pairs_and_of_t(tool, arguments, monkeypatch):
  """Pairs have the labels of those half the set away; T's own are right where it is sure."""
  seen = {}
  pairs_of = tool.pairs_of

  def noted(config, shuffled):
    seen["pairs"] = pairs_of(config, shuffled)
    return seen["pairs"]

  monkeypatch.setattr(tool, "pairs_of", noted)
  short = ["--folds=1", "--config.meta.steps=1", "--average=0.5"]
  monkeypatch.setattr(tool, "CONSTANTS", (0.5,))
  tool.main([*arguments, *short, "--shuffled"])
  train, val = seen["pairs"]
  own = [train.source[index].target for index in range(len(train))]
  half = len(own) // 2
  assert half and not np.array_equal(own[0], own[-half])
  for index in range(len(own)):
    np.testing.assert_array_equal(train[index].target, own[index - half])
  assert val[0].target.any()
  # The surer image decides. The square is at 210 / 255 = .82, so noise below .18 is surer: 18 %.
  with pytest.raises(ConfigError, match="does not go with --shuffled"):
    tool.main([*arguments, *short, "--shuffled", "--config.task.labels=pseudo"])
  monkeypatch.setitem(build.TASKS, "segmentation", pixel_task)
  by_t = ["--config.task.kind=segmentation", "--config.task.labels=pseudo"]
  tool.main([*arguments, *short, *by_t])
  train, val = seen["pairs"]
  right = [(train[i].target[own[i] == 1] == 1).mean() for i in range(len(own))]
  assert np.mean(right) == pytest.approx(210 / 255, abs=0.04)
  assert {*np.unique(val[0].target)} == {0, 1}


def test_a_t_that_moves_is_refused(tool, arguments):
  with pytest.raises(ConfigError, match=r"config.task.frozen"):
    tool.main([*arguments, "--config.task.frozen=False", "--folds=0"])


def test_a_rule_that_needs_f_is_refused(tool, arguments):
  with pytest.raises(ConfigError, match=r"config.meta.rule"):
    tool.main([*arguments, "--config.meta.rule=direct", "--folds=0"])


def test_f_follows_the_weights_that_it_is_given(tool, arguments, tmp_path, monkeypatch, capsys):
  """G says infrared, where the square shows; the other F is sent after a mean, half noise."""
  del tool
  infrared = {"kernel": np.zeros((3, 3, 2, 2), np.float32), "bias": np.float32([3, -3])}
  save_weights(tmp_path / "g_fold_1.safetensors", {"params": {"only": infrared}}, {"arch": "one"})
  through = load(monkeypatch, "learned_through_f")
  folds, table = {}, through.table
  monkeypatch.setattr(through, "table", lambda found: folds.update(found) or table(found))
  fields = {
    "fusion.network": "tiny:fuser",
    "optim.f.learning_rate": 0.05,
    "train.epochs": 60,
    "loss.alpha": 0.0,
  }
  more = [f"--config.{name}={value}" for name, value in fields.items()]
  monkeypatch.chdir(tmp_path)
  through.main([*arguments, *more, "--folds=1", f"--g={tmp_path}", "--constant=0.5", "--save=out"])
  constant, learned = (scores["mIoU"] for scores in folds[1].scores["F's images"])
  # T takes pixels above 1/2 for the square's: infrared has .82 and .24, so it errs nowhere.
  assert learned > 0.9 and constant < learned - 0.05
  assert folds[1].scores["averages"][1]["mIoU"] == 1
  saved, about = load_weights("out/f_fold_1_learned.safetensors")
  assert about["network"] == "tiny:fuser" and np.abs(saved["params"]["only"]["kernel"]).max() > 0
  printed = capsys.readouterr().out
  assert "| 1 | F's images | " in printed
  through.main(
    [*arguments, *more, "--folds=1", f"--g={tmp_path}", "--constant=0.5", "--save=out", "--trained"]
  )
  assert capsys.readouterr().out == printed
  again = [f"--g={tmp_path}", "--constant=0.5", "--save=further", "--begin=out"]
  through.main(
    [*arguments, *more, "--folds=1", *again, "--config.train.epochs=1", "--learned-only"]
  )
  assert not Path("further/f_fold_1_constant.safetensors").exists()
  of_f, of_averages = folds[1].scores["F's images"], folds[1].scores["averages"]
  assert of_f[0] == of_averages[0] and of_f[1] != of_f[0]
  further = load_weights("further/f_fold_1_learned.safetensors")[0]
  moved = further["params"]["only"]["kernel"] - saved["params"]["only"]["kernel"]
  # From where it ended, not from zero, and Adam moves by at most a rate a step.
  assert 0 < np.abs(moved).max() < np.abs(saved["params"]["only"]["kernel"]).max() / 2


def test_weights_that_no_one_learned_are_chosen_on_val_and_judged_on_test(
  tool, arguments, monkeypatch, capsys
):
  """The square is bright in infrared: what follows brightness finds it, half of each does not."""
  unlearned = load(monkeypatch, "weight_controls")
  monkeypatch.setattr(unlearned, "CONSTANTS", (0.5, 1.0))
  unlearned.main([*arguments, "--folds=1"])
  lines = capsys.readouterr().out.splitlines()
  assert lines[2].startswith("| constant | 1.000 (w = 1) |")
  kinds = [line.split(" | ")[0].strip("| ") for line in lines[2:]]
  assert kinds == ["constant", "day, night", "warm", "brighter", "maximum"]
  scores = {
    kind: float(line.split("|")[2].split()[0]) for kind, line in zip(kinds, lines[2:], strict=True)
  }
  # Noise is above the square's level in 45 of 255 pixels, so the larger of both is wrong there.
  assert 0 < scores["maximum"] < scores["constant"]
  assert "(w = 0.75," in lines[3]  # noise has a mean of 1/2: day, of which .75 tells most apart


def test_weights_about_a_tone_and_the_images_that_they_follow(tool, monkeypatch):
  unlearned = load(monkeypatch, "weight_controls")
  rng = np.random.default_rng(0)
  ir, vi = rng.random((2, 2, 40, 50, 1), np.float32)
  ir[:, 10:30, 10:30] += 1
  for weigh in (unlearned.warm(0.7, 1.0), unlearned.brighter(0.7, 4.0)):
    w_a = np.asarray(weigh(ir, vi))[..., 0]
    odds = np.log(w_a / (1 - w_a))
    np.testing.assert_allclose(odds.mean((1, 2)), np.log(0.7 / 0.3), rtol=1e-4)
    assert w_a[:, 12:28, 12:28].mean() > w_a[:, :5].mean() + 0.1
  vi[1] *= 0.2
  by_light = np.asarray(unlearned.by_day_and_night(0.6, 0.9)(ir, vi))
  np.testing.assert_allclose(by_light[..., 0].mean((1, 2)), [0.6, 0.9], rtol=1e-6)
  np.testing.assert_allclose(by_light.sum(-1), 1, rtol=1e-6)
  both = np.asarray(unlearned.maximum(ir, vi))
  np.testing.assert_array_equal(both[..., :1] * ir + both[..., 1:] * vi, np.maximum(ir, vi))
