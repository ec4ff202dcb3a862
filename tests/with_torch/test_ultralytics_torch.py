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
from tdfusion_jax.networks.yolov8 import YOLOv8, decode_boxes

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
