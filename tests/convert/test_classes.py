"""Rows of a pretrained classifier that are kept under the data set's names."""

import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import published
import pytest

from tdfusion_jax.cli import main
from tdfusion_jax.convert.adopt import Changes
from tdfusion_jax.convert.classes import COCO, kept
from tdfusion_jax.convert.files import convert
from tdfusion_jax.convert.pth_write import write_pth
from tdfusion_jax.networks.yolov8 import YOLOv8
from tdfusion_jax.tasks.detection import detection
from tdfusion_jax.weightfiles import CheckpointError, load_weights

WEIGHTS = Path(os.environ.get("TDFUSION_WEIGHTS", Path(__file__).parents[3] / "shared" / "weights"))
REAL = WEIGHTS / "yolov8n_coco_half.pth"


def outputs(file, images) -> tuple[Any, dict[str, Any]]:
  variables, about = load_weights(file)
  options = {k: v for k, v in about["options"].items() if k != "in_channels"}
  variables = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), variables)
  return YOLOv8(**options).apply(variables, images), about


def random_coco(path):
  """Small random weights of a network of 80 classes, whose outputs stay moderate."""
  arrays = published.random(published.yolov8(classes=80))
  for name, array in arrays.items():
    if name.endswith("conv.weight") and "dfl" not in name:
      arrays[name] = (array / np.sqrt(array[0].size)).astype(np.float32)
  write_pth(path, arrays)
  return path


REAL_FILE = pytest.param(
  "real", marks=pytest.mark.skipif(not REAL.is_file(), reason="YOLOv8n's real weights are missing")
)


@pytest.mark.parametrize("which", ["random", REAL_FILE])
def test_kept_rows_answer_as_in_the_whole_network(tmp_path, which):
  """Boxes and the logits of COCO's classes 2 and 0, to the rounding of another product's width."""
  file = REAL if which == "real" else random_coco(tmp_path / "in.pth")
  convert(file, tmp_path / "all.safetensors")
  lines = convert(
    file, tmp_path / "two.safetensors", changes=Changes(keep_classes=("car", "person"))
  )
  assert "kept of the classifier's rows: car, person" in lines
  assert "--config.task.options.class_width=80" in lines[-1]
  assert lines[-1].endswith("(for data of 2 classes: car, person)")
  images = jnp.asarray(np.random.default_rng(0).random((1, 64, 96, 3), np.float32))
  whole, _ = outputs(tmp_path / "all.safetensors", images)
  two, about = outputs(tmp_path / "two.safetensors", images)
  assert about["classes"] == ["car", "person"] and about["options"]["class_width"] == 80
  assert two.class_logits.shape[-1] == 2 and np.ptp(whole.class_logits) > 0.1
  # A product of another width sums in another order: its rounding is relative to the largest logit.
  rounding = 1e-6 * np.abs(whole.class_logits).max()
  np.testing.assert_allclose(
    two.class_logits, whole.class_logits[..., [2, 0]], rtol=1e-5, atol=rounding
  )
  np.testing.assert_array_equal(two.box_logits, whole.box_logits)
  # As T of a training: the same names and shapes.
  params, _ = jax.eval_shape(
    detection(2, in_channels=3, class_width=80).init, jax.random.key(0), images
  )
  loaded = load_weights(tmp_path / "two.safetensors")[0]["params"]
  assert jax.tree.map(lambda x: x.shape, params) == jax.tree.map(lambda x: x.shape, loaded)


def test_kept_classes_keep_their_names_and_width_on_the_way(tmp_path):
  """Kept again by the names that the file notes; to Ultralytics' names and back, the width too."""
  random_coco(tmp_path / "in.pth")
  steps = [tmp_path / f"{name}.safetensors" for name in "abc"]
  convert(tmp_path / "in.pth", steps[0], changes=Changes(keep_classes=("walker=person", "2")))
  assert load_weights(steps[0])[1]["classes"] == ["walker", "car"]
  convert(steps[0], steps[1], changes=Changes(keep_classes=("car",), in_channels=1))
  variables, about = load_weights(steps[1])
  assert about["classes"] == ["car"]
  assert about["options"] == {
    "variant": "n",
    "in_channels": 1,
    "num_classes": 1,
    "class_width": 80,
  }
  convert(steps[1], tmp_path / "back.pt", to="ultralytics")
  convert(tmp_path / "back.pt", steps[2])
  again, noted = load_weights(steps[2])
  assert noted["options"] == about["options"]
  same = jax.tree.map(lambda a, b: bool((a == b).all()), variables, again)
  assert all(jax.tree.leaves(same))
  with pytest.raises(CheckpointError, match=r"no class 'dog'; there are: walker, car\."):
    convert(steps[0], tmp_path / "x.safetensors", changes=Changes(keep_classes=("dog",)))


def test_a_wide_head_has_ultralytics_width():
  """At 365 classes Ultralytics' branch is 100 wide, by its published rule; ours would be 365."""
  from tdfusion_jax.convert.yolov8 import options_from

  shapes = published.yolov8(layers=published.UPSTREAM_LAYERS, head="", classes=365)
  found = options_from({key: np.zeros(shape, np.float16) for key, shape in shapes.items()})
  assert found["class_width"] == 100 and found["num_classes"] == 365


def test_names_numbers_and_new_names():
  assert len(COCO) == 80 == len(set(COCO))
  assert (COCO[0], COCO[2], COCO[39], COCO[79]) == ("person", "car", "bottle", "toothbrush")
  assert kept(["2", "tv=62", "dog"], 80) == [("car", 2), ("tv", 62), ("dog", 16)]
  assert kept(["a=1", "0"], 3) == [("a", 1), ("0", 0)]
  for wanted, count, message in (
    (["cra"], 80, "no class 'cra'; there are: person"),
    (["80"], 80, "no class '80'"),
    (["car"], 20, "the 20 classes have no names here; give numbers"),
    (["car", "2"], 80, "'car' is asked for twice"),
    (["a=1", "b=1"], 3, "1 is asked for twice"),
  ):
    with pytest.raises(ValueError, match=message):
      kept(wanted, count)


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (["--keep-classes=a,,b"], "write names, such as person,car"),
    (["--keep-classes=car", "--num-classes=3"], "goes with neither --num-classes"),
    (["--keep-classes=car", "--backbone-only"], "goes with neither --num-classes"),
  ],
)
def test_options_that_contradict_each_other(tmp_path, capsys, arguments, message):
  assert main(["convert", "none.pt", "--out", str(tmp_path / "x.safetensors"), *arguments]) == 2
  assert message in capsys.readouterr().err
