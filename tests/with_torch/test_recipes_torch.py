"""T's training by Ultralytics' recipe, in float64, against trainings of the real package."""

import importlib.util
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from configs import load
from tdfusion_jax import meta, weightfiles
from tdfusion_jax.batch import DetTarget, Pair, Views
from tdfusion_jax.convert.files import convert
from tdfusion_jax.tasks.detection import detection
from tdfusion_jax.train import controls, recipe, task_optimiser

_NEEDS = ("torch", "ultralytics", "cv2", "yaml", "requests", "psutil")
_MISSING = [name for name in _NEEDS if importlib.util.find_spec(name) is None]
pytestmark = [
  pytest.mark.torch,
  pytest.mark.skipif(bool(_MISSING), reason=f"the Ultralytics package needs {', '.join(_MISSING)}"),
  pytest.mark.usefixtures("x64"),
]
EPOCH, CLASSES, SIZE, ROWS = 4, 2, 64, 8  # batches of two, of the eight images


def recipe_like(*, epochs, **of_t):
  """The table's own numbers, but for sizes; that package has no least length of the warm-up."""
  config = load("llvip_det", "task")
  config.optim.t.update(of_t)
  config.data.batch_size, config.train.epochs, config.optim.warmup_steps = 2, epochs, 0
  return recipe.recipe_of(config, EPOCH, EPOCH * 2, CLASSES)


SGD = {"nbs": 5, "epochs": 10, "optimizer": "SGD", "warmup_epochs": 0.75}
AUTO = {"nbs": 7, "epochs": 40, "optimizer": "auto", "warmup_epochs": 3.0}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
  """The folder of what the real package did; one process, since it takes seconds to import."""
  folder = tmp_path_factory.mktemp("ultralytics")
  runs = {"sgd": {"batches": 9, "kept": 6, **SGD}, "auto": {"batches": 14, "kept": 1, **AUTO}}
  script = Path(__file__).with_name("ultralytics_training.py")
  command = [sys.executable, str(script), str(folder), json.dumps(runs)]
  environment = {**os.environ, "YOLO_CONFIG_DIR": str(folder)}
  ran = subprocess.run(
    command, capture_output=True, text=True, env=environment, timeout=300, cwd=folder
  )
  assert ran.returncode == 0, ran.stderr[-2000:]
  return folder


def rates_of(folder):
  return json.loads((folder / "rates.json").read_text())


def weights(folder, name):
  convert(folder / f"{name}.pt", folder / f"{name}.safetensors", dtype="source")
  variables, _ = weightfiles.load_weights(folder / f"{name}.safetensors")
  return jax.tree.map(lambda a: np.array(a, np.float64), variables)


def batches(folder, count):
  """What the package trained on, as ours."""
  with np.load(folder / "batches.npz") as kept:
    for i in range(count):
      image, boxes, classes, of = (
        kept[f"{i}_{name}"] for name in ("img", "bboxes", "cls", "batch_idx")
      )
      target = DetTarget(
        np.zeros((2, ROWS, 4)), np.zeros((2, ROWS), int), np.zeros((2, ROWS), bool)
      )
      for row in range(2):
        mine = of == row
        centre, size = boxes[mine, :2], boxes[mine, 2:]
        n = mine.sum()
        target.boxes[row, :n] = SIZE * np.concatenate([centre - size / 2, centre + size / 2], 1)
        target.classes[row, :n] = classes[mine, 0]
        target.valid[row, :n] = True
      images = jnp.asarray(image.transpose(0, 2, 3, 1))
      pair = Pair(images, images, jax.tree.map(jnp.asarray, target))
      yield Views(pair, pair)


def our_training(how, start, views):
  task = detection(CLASSES, in_channels=3, assigner_least_side=16)
  halves = partial(controls.weigh_constant, w_a=0.5)
  method = meta.Method(controls.finished, halves, None, task, fuse_in_outer=True)
  optimiser = task_optimiser.task_optimiser(how)
  rules = meta.Optimisers(
    optimiser, optimiser, optimiser, task_optimiser.averaging(how.ema, how.ema_ramp)
  )
  params = meta.Params({}, {}, start["params"], start["batch_stats"])
  compiled = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
  # As one program: one by one, each shape of zeros would be compiled by itself.
  state = compiled(lambda params, key: meta.init_state(params, rules, key))(
    params, jax.random.key(0)
  )
  _, step = meta.make_steps(method, meta.RULES["direct"](), rules)
  step = compiled(step)
  for view in views:
    state, _ = step(state, {"ftr": view})
  return state


def assert_near(found: Any, expected: Any, start: Any):
  """To 1e-9 of the largest entry of each array; nearly all have moved by far more."""
  found, expected, start = (flatten_dict(jax.device_get(tree)) for tree in (found, expected, start))
  assert found.keys() == expected.keys()
  moved = []
  for path, value in expected.items():
    size = np.abs(value).max()
    np.testing.assert_allclose(found[path], value, rtol=0, atol=1e-9 * size, err_msg=str(path))
    moved.append(np.abs(value - start[path]).max() > 1e-6 * size)
  assert np.mean(moved) > 0.9


def assert_same_rates(how, theirs):
  lengths = task_optimiser.batches_per_step(how)
  for seen, (length, _, groups) in enumerate(theirs):
    now = task_optimiser.rates(how, jnp.asarray(seen))
    decayed, spared, biases = groups
    assert lengths[min(seen, len(lengths) - 1)] == length
    assert decayed[2] == pytest.approx(task_optimiser.weight_decay(how), rel=1e-12)
    assert spared[2] == biases[2] == 0
    for group, rate in ((decayed, now.weights), (spared, now.weights), (biases, now.biases)):
      assert group[0] == pytest.approx(float(rate), rel=1e-12, abs=1e-15)
      assert group[1] in (None, pytest.approx(float(now.momentum), rel=1e-12))


@pytest.mark.slow  # a real training in a process of its own, and YOLOv8 compiled for ours
def test_trains_as_the_real_package(trained):
  """Expected: its parameters, running statistics and their averages after six batches; each rate.

  It steps after batches 0, 1 and 3, in its warm-up, and after batch 5, at the second epoch's rate.
  It asks for 5 images a step and then takes two batches of two, with decay for 4 of 5.
  """
  folder = trained / "sgd"
  theirs = rates_of(folder)
  how = recipe_like(epochs=10, nominal_batch=5, warmup_epochs=0.75)
  assert_same_rates(how, theirs)
  start = weights(folder, "start")
  state = our_training(how, start, batches(folder, 6))
  assert [row[1] for row in theirs[:6]] == [1, 2, 2, 3, 3, 4] and int(state.t_opt.updates) == 4
  for name, found in (("end", state.params), ("ema", state.judged)):
    expected = weights(folder, name)
    assert_near(found.t, expected["params"], start["params"])
    assert_near(found.t_stats, expected["batch_stats"], start["batch_stats"])


def test_auto_chooses_as_the_real_package(trained):
  """Expected: the rates that it trains with, of AdamW in a short training."""
  theirs = rates_of(trained / "auto")
  how = recipe_like(epochs=40, rule="auto", nominal_batch=7, warmup_epochs=3.0)
  assert how.rule == "adamw" and how.learning_rate == 0.001667
  assert_same_rates(how, theirs)
