"""A task of the user's own, named as `module:function`."""

import sys

import numpy as np
import pytest

from tdfusion_jax.config import ConfigError, base
from tdfusion_jax.files import UsageError
from tdfusion_jax.tasks.own import own_task
from tdfusion_jax.train import build
from tdfusion_jax.train.checks import check

CODE = """
from tdfusion_jax.tasks import Task


def factory(num_classes, variant="", *, width=3) -> Task:
  def init(key, images):
    return {"sizes": (num_classes, variant, width)}, {}

  def other(*arguments, **options):
    return None

  return Task(init, other, other, other)


def list_of_four(num_classes, variant) -> Task:
  return [1, 2, 3, 4]


def unfinished(num_classes, variant) -> Task:
  return Task(None, None, None, None)


def unmarked(num_classes, variant):
  raise SystemExit("called")


def faulty(num_classes, variant) -> Task:
  return num_classes + variant
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(sys, "path", list(sys.path))
  (tmp_path / "plug_task.py").write_text(CODE)
  yield
  sys.modules.pop("plug_task", None)


def test_the_factory_gets_classes_variant_and_options(mine):
  task = own_task("plug_task:factory", 7, "b0", {"width": 5})
  assert task.init(None, np.zeros((1, 2, 2, 1)))[0]["sizes"] == (7, "b0", 5)


def test_a_config_names_it(mine):
  config = base()
  config.data.name, config.task.kind, config.task.variant = (
    "synthetic_seg",
    "plug_task:factory",
    "x",
  )
  check(config)
  task = build.task(config, 4)
  assert task is not None
  assert task.init(None, None)[0]["sizes"] == (4, "x", 3)
  assert build.source(config, "train").kind == "segmentation"  # any labels will do
  config.data.name = "synthetic_det"
  assert build.source(config, "train").kind == "detection"


def test_a_name_without_a_colon_is_one_of_ours():
  config = base()
  config.task.kind = "segmentaton"
  with pytest.raises(ConfigError, match="'segmentaton': one of .*, or your own as module:function"):
    check(config)


@pytest.mark.parametrize(
  ("name", "options", "message"),
  [
    ("plug_task:factroy", {}, "plug_task has no factroy. Is it factory?"),
    ("plug_task:factory", {"gelu": "erf"}, "does not accept what it is given: .* 'gelu'"),
    ("plug_task:unmarked", {}, r"annotate what it returns: def unmarked\(...\) -> tasks.Task"),
    ("plug_task:list_of_four", {}, "a tasks.Task of four functions is needed, not list"),
    ("plug_task:unfinished", {}, "a tasks.Task of four functions is needed"),
  ],
)
def test_what_is_no_task_is_named(mine, name, options, message):
  with pytest.raises(UsageError, match=message) as error:
    own_task(name, 2, "n", options)
  assert str(error.value).startswith(f"config.task.kind={name!r}")


def test_a_fault_inside_a_factory_keeps_its_traceback(mine):
  with pytest.raises(TypeError, match="unsupported operand"):
    own_task("plug_task:faulty", 2, "n", {})
