"""YOLOv8 against the real Ultralytics package, if it is installed (dependencies need not be)."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tdfusion_jax import weightfiles
from tdfusion_jax.batch import DetTarget
from tdfusion_jax.convert.files import convert
from tdfusion_jax.losses.detection import assign
from tdfusion_jax.metrics.detection import average_precision
from tdfusion_jax.metrics.interpolated import interpolated_precision
from tdfusion_jax.networks.yolov8 import YOLOv8, decode_boxes
from tdfusion_jax.ops.boxes import best_boxes

_NEEDS = ("torch", "ultralytics", "torchvision", "cv2", "yaml", "requests", "psutil")
_MISSING = [name for name in _NEEDS if importlib.util.find_spec(name) is None]
pytestmark = [
  pytest.mark.torch,
  pytest.mark.skipif(bool(_MISSING), reason=f"the Ultralytics package needs {', '.join(_MISSING)}"),
]


def run(how, variant, where, config):
  script = Path(__file__).with_name("ultralytics_script.py")
  environment = {**os.environ, "YOLO_CONFIG_DIR": str(config)}
  command = [sys.executable, str(script), how, variant, str(where)]
  ran = subprocess.run(
    command, capture_output=True, text=True, env=environment, timeout=300, cwd=config
  )
  assert ran.returncode == 0, ran.stderr
  return ran.stdout.split("digest ")[1].split()[0]


@pytest.mark.slow  # compiles YOLOv8, and imports PyTorch in two further processes
@pytest.mark.parametrize("variant", ["n", "s"])
def test_a_real_checkpoint_gives_the_real_answers_and_goes_back(tmp_path, variant):
  """Expected: what Ultralytics' own model answered: logits, boxes (centre, size), scores."""
  digest = run("make", variant, tmp_path, tmp_path)
  convert(tmp_path / "yolo.pt", tmp_path / "t.safetensors")
  weights, about = weightfiles.load_weights(tmp_path / "t.safetensors")
  assert about["arch"] == "yolov8" and weights["params"]
  with np.load(tmp_path / "answers.npz") as answers:
    expected = {key: answers[key] for key in answers.files}
  images = jnp.asarray(expected["images"].transpose(0, 2, 3, 1))
  found = jax.jit(YOLOv8(80, variant).apply)(weights, images)
  np.testing.assert_allclose(found.box_logits, expected["boxes"].transpose(0, 2, 1), atol=1e-4)
  np.testing.assert_allclose(found.class_logits, expected["scores"].transpose(0, 2, 1), atol=1e-4)
  assert expected["boxes"].std() > 0.05
  x1, y1, x2, y2 = np.moveaxis(np.asarray(decode_boxes(found)), -1, 0)
  centre_and_size = np.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], axis=1)
  np.testing.assert_allclose(centre_and_size, expected["decoded"][:, :4], atol=1e-2)  # pixels
  convert(tmp_path / "t.safetensors", tmp_path / "back.pt", to="ultralytics")
  assert run("load", variant, tmp_path / "back.pt", tmp_path) == digest


def assigner_inputs(rng):
  """Predictions near true boxes of 2 to 60 pixels on 128x96, at all three strides."""
  grids = []
  for stride in (8, 16, 32):
    y, x = np.mgrid[: 96 // stride, : 128 // stride]
    grids.append((np.stack([x.ravel(), y.ravel()], axis=-1) + 0.5) * stride)
  points = np.concatenate(grids)
  centre, size = rng.uniform(5, 90, (3, 12, 2)), np.exp(rng.uniform(0.7, 4.1, (3, 12, 2)))
  true = np.concatenate([centre - size / 2, centre + size / 2], axis=-1)
  reach = np.exp(rng.normal(2.5, 0.7, (3, len(points), 4)))
  return {
    "scores": rng.random((3, len(points), 4)),
    "boxes": np.concatenate([points - reach[..., :2], points + reach[..., 2:]], axis=-1),
    "points": points,
    "true_boxes": np.clip(true, 0, [128, 96, 128, 96]),
    "true_classes": rng.integers(0, 4, (3, 12)),
    "valid": rng.random((3, 12)) < 0.8,
  }


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("seed", [0, 1])
def test_assigns_as_the_current_package(tmp_path, seed):
  """Expected: the package's own assigner, which enlarges sides under 16 pixels."""
  inputs = assigner_inputs(np.random.default_rng(seed))
  np.savez(tmp_path / "inputs.npz", **inputs)
  run("assign", "4", tmp_path / "inputs.npz", tmp_path)
  with np.load(tmp_path / "assigned.npz") as answers:
    scores, boxes = answers["scores"], answers["boxes"]
  args = [jnp.asarray(inputs[key]) for key in ("scores", "boxes", "points")]
  true = [jnp.asarray(inputs[key]) for key in ("true_boxes", "true_classes", "valid")]
  ours = assign(*args, DetTarget(*true), least_side=16.0)
  np.testing.assert_allclose(ours.scores, scores, atol=1e-12)
  taught = scores.sum(axis=-1) > 0
  np.testing.assert_allclose(np.asarray(ours.boxes)[taught], boxes[taught], atol=1e-12)
  older = assign(*args, DetTarget(*true))
  assert taught.sum() > (np.asarray(older.scores).sum(axis=-1) > 0).sum() > 10


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("how", ["single", "multi"])
def test_selects_as_the_package_does_when_it_validates(tmp_path, how):
  """Expected: its non-maximum suppression, of 400 boxes in 12 heaps, with 3 classes."""
  rng = np.random.default_rng(3)
  heaps = rng.uniform(20, 200, (2, 12, 2))[:, rng.integers(0, 12, 400)]
  middle, side = heaps + rng.normal(0, 3, heaps.shape), np.exp(rng.normal(3, 0.2, heaps.shape))
  boxes = np.concatenate([middle - side / 2, middle + side / 2], axis=-1)
  probabilities = rng.random((2, 400, 3)) ** 6
  np.savez(tmp_path / "inputs.npz", boxes=boxes, probabilities=probabilities)
  run("select", how, tmp_path / "inputs.npz", tmp_path)
  with np.load(tmp_path / "selected.npz") as answers:
    counts, found = answers["counts"], np.split(answers["found"], np.cumsum(answers["counts"])[:-1])
  asked = {"score_threshold": 0.001, "iou_threshold": 0.7, "max_detections": 300}
  select = jax.jit(
    lambda *args: best_boxes(*args, **asked, multi_label=how == "multi", candidates=2000)
  )
  for image in range(2):
    ours = jax.device_get(select(jnp.asarray(boxes[image]), jnp.asarray(probabilities[image])))
    assert ours["valid"].sum() == counts[image] > 100
    kept = {name: ours[name][ours["valid"]] for name in ("boxes", "scores", "classes")}
    np.testing.assert_allclose(kept["boxes"], found[image][:, :4], atol=1e-10)
    np.testing.assert_allclose(kept["scores"], found[image][:, 4], atol=1e-12)
    np.testing.assert_array_equal(kept["classes"], found[image][:, 5])
  assert how == "single" or counts.max() == 300  # more than it may be


def detections(rng, images=40, classes=3):
  """True boxes in crowds, found with errors, twice, or not; and false alarms."""
  true, found = [], []
  for _ in range(images):
    corner, side = rng.uniform(0, 60, (8, 2)), rng.uniform(10, 40, (8, 2))
    boxes, kinds = np.concatenate([corner, corner + side], axis=1), rng.integers(0, classes, 8)
    true.append({"boxes": boxes, "classes": kinds})
    again = rng.integers(0, 8, 14)
    near = boxes[again] + rng.normal(0, 2.5, (14, 4))
    named = np.where(rng.random(14) < 0.85, kinds[again], rng.integers(0, classes, 14))
    found.append({"boxes": near, "classes": named, "scores": rng.random(14)})
  return found, true


@pytest.mark.parametrize("seed", [0, 1])
def test_measures_average_precision_as_the_package_does(tmp_path, seed):
  """Expected: its matching and its `ap_per_class`. COCO's definition differs in the third digit."""
  found, true = detections(np.random.default_rng(seed))
  order = [np.argsort(-image["scores"]) for image in found]
  rows = {
    name: np.concatenate([image[name][by] for image, by in zip(found, order, strict=True)])
    for name in ("boxes", "scores", "classes")
  }
  rows["images"] = np.repeat(np.arange(len(found)), [len(by) for by in order])
  for name in ("boxes", "classes"):
    rows[f"true_{name}"] = np.concatenate([image[name] for image in true])
  rows["true_images"] = np.repeat(np.arange(len(true)), [len(image["classes"]) for image in true])
  np.savez(tmp_path / "inputs.npz", **rows)
  run("measure", "3", tmp_path / "inputs.npz", tmp_path)
  with np.load(tmp_path / "measured.npz") as answers:
    precisions = answers["precisions"]  # [classes, IoU thresholds]
  ours = interpolated_precision(found, true, ["a", "b", "c"])
  expected = {
    "AP50": precisions[:, 0].mean(),
    "AP75": precisions[:, 5].mean(),
    "mAP": precisions.mean(),
  }
  coco = average_precision(found, true, ["a", "b", "c"])
  for name, value in expected.items():
    assert 0.05 < value < 0.95
    assert ours[name] == pytest.approx(value, abs=1e-9), name
    assert coco[name] == pytest.approx(value, abs=0.005), name
