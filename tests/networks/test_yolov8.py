"""YOLOv8's structure, modes, task and key names; parity with the reference is in
test_goldens.py."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from tdfusion_jax.batch import DetTarget
from tdfusion_jax.convert import from_torch, rules, to_torch, yolov8
from tdfusion_jax.networks.yolov8 import (
  BINS,
  STRIDES,
  VARIANTS,
  Conv,
  Detections,
  YOLOv8,
  anchor_points,
  decode_boxes,
  decode_distances,
)
from tdfusion_jax.tasks import detection as task_module
from tdfusion_jax.tasks.detection import detection


def shapes(num_classes=1, in_channels=1, **options):
  net = yolov8.build(num_classes, in_channels=in_channels, **options)
  return jax.eval_shape(net.init, jax.random.key(0), *yolov8.sample_inputs(in_channels))


def size(tree):
  return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.fixture(scope="module")
def nano():
  task = detection(2)
  images = jax.random.uniform(jax.random.key(1), (2, 64, 96, 1))
  params, stats = task.init(jax.random.key(0), images)
  return task, params, stats, images


def test_parameter_count():
  """3,010,755 for n, one channel, one class in the public PyTorch code, with its 16 fixed taps."""
  assert size(shapes()["params"]) == 3_010_755 - BINS


PUBLISHED = {"n": 3.2, "s": 11.2, "m": 25.9, "l": 43.7, "x": 68.2}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_has_the_published_size(variant):
  """Millions of parameters, table of Ultralytics' documentation (80 classes, colour)."""
  assert size(shapes(80, 3, variant=variant)["params"]) / 1e6 == pytest.approx(
    PUBLISHED[variant], abs=0.06
  )


def test_anchors_by_hand():
  """64 x 32 pixels: 8 x 4 cells of 8, 4 x 2 of 16, 2 x 1 of 32; x runs first."""
  points, strides = anchor_points(64, 32)
  assert points.shape == (32 + 8 + 2, 2)
  np.testing.assert_array_equal(
    points[[0, 1, 4, 31, 32, 33, 34]].T, [[4, 12, 4, 28, 8, 24, 8], [4, 4, 12, 60, 8, 8, 24]]
  )
  np.testing.assert_array_equal(points[-2:], [[16, 16], [16, 48]])
  np.testing.assert_array_equal(strides, [8] * 32 + [16] * 8 + [32] * 2)


def test_distances_are_expectations_over_bins():
  """All on one bin, on two equally, on two as 1 : 3, and equal on all sixteen; left, top, right,
  bottom."""
  logits = np.full((4, BINS), -1000.0)
  logits[0, 5], logits[1, [2, 3]], logits[2, [0, 8]], logits[3] = 0, 7, (0, math.log(3)), 4
  distances = decode_distances(jnp.asarray(logits.reshape(1, 1, -1), jnp.float32))
  np.testing.assert_allclose(distances[0, 0], [5, 2.5, 6, 7.5], rtol=1e-6)
  outputs = Detections(
    jnp.asarray(logits.reshape(1, 1, -1), jnp.float32),
    jnp.zeros((1, 1, 1)),
    jnp.array([[24.0, 40.0]]),
    jnp.array([8.0]),
  )
  np.testing.assert_allclose(
    decode_boxes(outputs)[0, 0], [24 - 40, 40 - 20, 24 + 48, 40 + 60], rtol=1e-6
  )


@pytest.mark.parametrize("height_width", [(6, 8), (7, 5)])
def test_strided_convolution_pads_both_sides(height_width):
  """Against nine products over an image with zeros around; SAME would shift even sizes."""
  x = jax.random.normal(jax.random.key(0), (2, *height_width, 3))
  conv = Conv(4, 3, 2)
  variables = conv.init(jax.random.key(1), x, False)
  kernel = variables["params"]["kernel"]
  padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
  rows, columns = ((n + 1) // 2 for n in height_width)
  expected = sum(
    padded[:, i : i + 2 * rows - 1 : 2, j : j + 2 * columns - 1 : 2] @ np.asarray(kernel[i, j])
    for i in range(3)
    for j in range(3)
  )
  expected = jax.nn.silu(expected / math.sqrt(1 + 1e-3))  # fresh BatchNorm: mean 0, variance 1
  np.testing.assert_allclose(conv.apply(variables, x, False), expected, atol=1e-5)
  assert jnp.abs(expected).max() > 0.1


@pytest.mark.parametrize(
  ("options", "images", "match"),
  [({"variant": "t"}, (1, 32, 32, 1), "'t'"), ({}, (1, 32, 48, 1), "multiples of 32, not 32x48")],
)
def test_refusals(options, images, match):
  with pytest.raises(ValueError, match=match):
    jax.eval_shape(YOLOv8(2, **options).init, jax.random.key(0), jnp.zeros(images))


def test_a_fresh_network_expects_few_objects(nano):
  """Biases are 1 for bins, and for classes log(5 / classes / (640 / stride)^2), 5 objects in 640 x
  640."""
  _, params, _, _ = nano
  for level, stride in enumerate(STRIDES):
    np.testing.assert_array_equal(params[f"cv2_{level}_2"]["bias"], np.ones(4 * BINS))
    odds = np.exp(params[f"cv3_{level}_2"]["bias"])
    np.testing.assert_allclose(odds * 2 * (640 / stride) ** 2, 5, rtol=1e-5)


def test_fresh_kernels_are_pytorchs(nano):
  """Uniform within 1 / sqrt(fan in), strided or not."""
  backbone = nano[1]["backbone"]
  for kernel, fan in (
    (backbone["dark5_0"]["kernel"], 128 * 9),
    (backbone["dark5_1"]["m_0"]["cv1"]["conv"]["kernel"], 128 * 9),
    (nano[1]["cv2_0_2"]["kernel"], 64),
  ):
    assert 0.99 < jnp.abs(kernel).max() * math.sqrt(fan) <= 1
    assert float(kernel.std() * math.sqrt(3 * fan)) == pytest.approx(1, abs=0.03)


def test_modes_of_the_task(nano):
  task, params, stats, images = nano
  outputs, moved = jax.jit(lambda: task.apply(params, stats, images, train=True))()
  assert outputs.box_logits.shape == (2, 8 * 12 + 4 * 6 + 2 * 3, 64)
  assert outputs.class_logits.shape == (2, 126, 2)
  change = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), moved, stats)
  assert min(jax.tree.leaves(change)) > 0
  still, kept = jax.jit(lambda: task.apply(params, stats, images, train=False))()
  assert jnp.abs(still.box_logits - outputs.box_logits).max() > 0
  jax.tree.map(np.testing.assert_array_equal, kept, stats)


def test_every_parameter_learns_from_one_batch(nano):
  task, params, stats, images = nano
  target = DetTarget(
    jnp.array([[[4.0, 4, 60, 50]], [[0, 0, 0, 0]]]),
    jnp.array([[1], [0]]),
    jnp.array([[True], [False]]),
  )

  @jax.jit
  def slope(params):
    return jax.value_and_grad(
      lambda p: task.loss(task.apply(p, stats, images, train=True)[0], target)[0]
    )(params)

  loss, grads = slope(params)
  norms = jax.tree.map(lambda g: float(jnp.linalg.norm(g)), grads)
  assert jnp.isfinite(loss) and all(np.isfinite(norm) for norm in jax.tree.leaves(norms))
  silent = {path for path, norm in flatten_dict(norms).items() if norm == 0}
  # levels without a positive anchor have no box gradient; nothing else is silent
  assert all(path[0].startswith("cv2_") for path in silent)
  assert not all(any(path[0].startswith(f"cv2_{level}") for path in silent) for level in range(3))


def test_predict_suppresses_thresholds_and_sorts(monkeypatch):
  """The task's own selection from known outputs.

  Anchors 0 and 1 predict almost the same box for class 1, anchor 2 the same for class 0, anchor 3
  another place; anchor 4 is below the threshold.
  """
  distances = np.array([[1, 1, 3, 3], [2, 1, 2, 3], [1, 1, 3, 3], [1, 1, 1, 1], [1, 1, 1, 1]])
  points = np.array([[12, 12], [20, 12], [12, 12], [60, 60], [90, 90]], np.float32)
  box_logits = np.full((1, 5, 4, BINS), -1000.0, np.float32)
  np.put_along_axis(box_logits[0], distances[..., None], 0, axis=-1)
  odds = np.array([[0.01, 0.8], [0.01, 0.9], [0.7, 0.01], [0.01, 0.5], [0.01, 0.1]], np.float32)
  outputs = Detections(
    jnp.asarray(box_logits.reshape(1, 5, -1)),
    jnp.asarray(np.log(odds / (1 - odds)))[None],
    jnp.asarray(points),
    jnp.full(5, 8.0),
  )

  class Known:
    def __init__(self, *_):
      pass

    def apply(self, *_):
      return outputs

  monkeypatch.setattr(task_module, "YOLOv8", Known)
  found = detection(2, max_detections=4).predict({}, {}, jnp.zeros((1, 96, 96, 1)))
  np.testing.assert_array_equal(found["valid"], [[True, True, True, False]])
  np.testing.assert_array_equal(found["classes"], [[1, 0, 1, 0]])
  assert found["classes"].dtype == jnp.int32
  np.testing.assert_allclose(found["scores"], [[0.9, 0.7, 0.5, 0]], rtol=1e-5)
  expected = [[4, 4, 36, 36], [4, 4, 36, 36], [52, 52, 68, 68], [0, 0, 0, 0]]
  np.testing.assert_allclose(found["boxes"], [expected], atol=1e-4)


def test_predictions_have_static_shapes(nano):
  task, params, stats, images = nano
  found = jax.eval_shape(task.predict, params, stats, images)
  assert {name: leaf.shape for name, leaf in found.items()} == {
    "boxes": (2, 100, 4),
    "scores": (2, 100),
    "classes": (2, 100),
    "valid": (2, 100),
  }


def test_wrong_number_of_channels_raises(nano):
  task, params, stats, _ = nano
  with pytest.raises(ValueError, match="1 channel"):
    task.apply(params, stats, jnp.zeros((1, 32, 32, 3)), train=False)


def numbered(variant, in_channels):
  """A state_dict in upstream's naming with every array different."""
  flat = flatten_dict(shapes(7, in_channels, variant=variant))
  arrays = {path: np.full(leaf.shape, i, np.float32) for i, (path, leaf) in enumerate(flat.items())}
  return rules.to_theirs(arrays, yolov8.torch_key), flat


@pytest.mark.parametrize("variant", VARIANTS)
def test_options_are_read_from_names_and_shapes(variant):
  state_dict, flat = numbered(variant, 3)
  assert len(state_dict) == len(flat)  # no two paths share a key
  assert yolov8.options_from(state_dict) == {"num_classes": 7, "in_channels": 3, "variant": variant}


def test_key_names_and_round_trip():
  state_dict, _ = numbered("n", 1)
  for key, shape in {
    "backbone.stem.conv.weight": (16, 1, 3, 3),
    "backbone.dark3.1.m.1.cv2.conv.weight": (32, 32, 3, 3),
    "backbone.dark5.2.cv2.conv.weight": (256, 512, 1, 1),
    "conv3_for_upsample1.cv1.bn.running_var": (128,),
    "down_sample2.conv.weight": (128, 128, 3, 3),
    "cv2.1.0.conv.weight": (64, 128, 3, 3),
    "cv3.2.2.weight": (7, 64, 1, 1),
    "cv3.2.2.bias": (7,),
  }.items():
    assert state_dict[key].shape == shape, key
  whole = to_torch(from_torch(state_dict, "yolov8"), "yolov8")
  counters = {
    key.replace("running_mean", "num_batches_tracked")
    for key in state_dict
    if "running_mean" in key
  }
  assert whole.keys() - state_dict.keys() == counters | {"dfl.conv.weight"}
  np.testing.assert_array_equal(whole["dfl.conv.weight"].ravel(), np.arange(16))
  for key, value in state_dict.items():
    np.testing.assert_array_equal(whole[key], value)
  again = to_torch(from_torch(whole, "yolov8"), "yolov8")
  assert again.keys() == whole.keys()


def test_foreign_weights_are_refused():
  with pytest.raises(ValueError, match="not a YOLOv8"):
    yolov8.options_from({"model.0.conv.weight": np.zeros((16, 3, 3, 3))})
  state_dict, _ = numbered("n", 1)
  with pytest.raises(ValueError, match="starts with width 20"):
    yolov8.options_from(state_dict | {"backbone.stem.conv.weight": np.zeros((20, 1, 3, 3))})
  del state_dict["cv2.1.0.conv.weight"]
  with pytest.raises(ValueError, match=r"missing: cv2\.1\.0\.conv\.weight"):
    from_torch(state_dict, "yolov8")
