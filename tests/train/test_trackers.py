"""Trackers, by stand-ins that keep what they are given: their names are those of the packages."""

import json
import logging
import sys
import types

import numpy as np
import pytest

from configs import load
from tdfusion_jax.config import ConfigError
from tdfusion_jax.files import UsageError
from tdfusion_jax.train import checks, trackers
from tdfusion_jax.train.runfolder import RunFolder

ROW = {"step": 3, "phase": "ft", "epoch": 0, "task_loss": 0.5, "val/mIoU": 0.25}
PICTURE = np.zeros((4, 5, 3), np.uint8)


def stand_in(monkeypatch, name):
  """A module `name` with what we use of it; its `calls` are (what, arguments)."""
  module = types.ModuleType(name)
  module.calls = []

  def note(what, result=None):
    def call(*args, **kwargs):
      module.calls.append((what, args, kwargs))
      return result

    return call

  module.Image = lambda image: ("image", image.shape)
  run = types.SimpleNamespace(
    log=note("log"), finish=note("finish"), info=types.SimpleNamespace(run_id="made")
  )
  for what in (
    "log",
    "finish",
    "set_experiment",
    "log_params",
    "log_metrics",
    "log_image",
    "end_run",
  ):
    setattr(module, what, note(what))
  module.init, module.start_run = note("init", run), note("start_run", run)
  monkeypatch.setitem(sys.modules, name, module)
  return module


def config(names):
  made = load("synthetic_seg")
  made.log.trackers, made.log.project = names, "roads"
  return json.loads(made.to_json())


def one_line(path, names):
  folder = RunFolder(path, config(names))
  try:
    folder.open_metrics(0)
    folder.write(ROW)
    folder.picture("validation", PICTURE, 3)
  finally:
    folder.close()


def calls(module, *names):
  return [call for call in module.calls if call[0] in names]


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_numbers_pictures_and_the_run_that_goes_on(tmp_path, monkeypatch, name):
  module = stand_in(monkeypatch, name)
  one_line(tmp_path, name)
  one_line(tmp_path, name)
  first, second = (call[2] for call in calls(module, "init"))
  assert first == second and first["project"] == "roads" and first["resume"] == "allow"
  assert first["config"]["log"]["project"] == "roads" and tmp_path.name in first["name"]
  numbers, picture = calls(module, "log")[:2]
  assert numbers[1:] == (({"ft/task_loss": 0.5, "val/mIoU": 0.25},), {"step": 3})
  assert picture[1:] == (({"validation": ("image", (4, 5, 3))},), {"step": 3})
  assert len(calls(module, "finish")) == 2


def test_mlflow(tmp_path, monkeypatch):
  module = stand_in(monkeypatch, "mlflow")
  one_line(tmp_path, "mlflow")
  one_line(tmp_path, "mlflow")
  began = [call[2] for call in calls(module, "start_run")]
  assert began == [{"run_name": tmp_path.name}, {"run_id": "made"}]
  ((_, (fields,), _),) = calls(module, "log_params")
  assert fields["log.project"] == "roads" and max(map(len, fields.values())) <= 500
  assert calls(module, "log_metrics")[0][1:] == (
    ({"ft/task_loss": 0.5, "val/mIoU": 0.25},),
    {"step": 3},
  )
  assert calls(module, "log_image")[0][2] == {"key": "validation", "step": 3}
  assert calls(module, "set_experiment")[0][1] == ("roads",)


def test_several_and_one_that_fails_on_the_way(tmp_path, monkeypatch, caplog):
  """The network goes down: one warning, and the other tracker and the run go on."""
  broken, whole = stand_in(monkeypatch, "trackio"), stand_in(monkeypatch, "wandb")

  def fail(*args, **kwargs):
    raise ConnectionError("no route to host")

  broken.log = fail
  with caplog.at_level(logging.WARNING):
    one_line(tmp_path, "trackio, wandb")
  assert caplog.text.count("trackio gets nothing any more: no route to host") == 1
  assert len(calls(whole, "log")) == 2
  assert json.loads((tmp_path / "metrics.jsonl").read_text()) == ROW


def test_one_that_cannot_begin_is_an_error(tmp_path, monkeypatch):
  module = stand_in(monkeypatch, "wandb")
  module.init = lambda **_: (_ for _ in ()).throw(RuntimeError("api_key not configured"))
  with pytest.raises(UsageError, match=r"log.trackers: wandb cannot begin: api_key"):
    one_line(tmp_path, "wandb")


def test_names_are_checked_before_a_run_begins(monkeypatch):
  made = load("synthetic_seg")
  made.log.trackers = "wandb,neptune"
  stand_in(monkeypatch, "wandb")
  with pytest.raises(ConfigError, match="'neptune' is not one of wandb, mlflow, trackio"):
    checks.check(made)
  monkeypatch.setattr(trackers.importlib.util, "find_spec", lambda name: None)
  made.log.trackers = "mlflow"
  with pytest.raises(ConfigError, match="pip install mlflow"):
    checks.check(made)
