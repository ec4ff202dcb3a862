"""What validation shows of a pair."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

from configs import load
from tdfusion_jax.batch import IGNORE_LABEL, DetTarget, Pair
from tdfusion_jax.data import CachedSource, DiskCachedSource, SyntheticSource, val_batches
from tdfusion_jax.tasks import Task
from tdfusion_jax.train import build
from tdfusion_jax.train import validate as validation
from tdfusion_jax.train.scores import Scores
from tdfusion_jax.train.validate import inspect_pair, validate


def average(params, ir, vi):
  return jnp.sum(
    toy.weigh(params, ir, vi) * jnp.concatenate([ir, vi], axis=-1), axis=-1, keepdims=True
  )


def seen(method, params):
  ir, vi = np.random.default_rng(0).random((2, 1, 6, 5, 1))
  pair = Pair(jnp.asarray(ir), jnp.asarray(vi), target=jnp.zeros(1))
  return inspect_pair(method, params, pair), ir, vi


def test_weights_and_fusion_loss_are_of_g(x64):
  params = toy.state(toy.adams()).params
  found, ir, vi = seen(toy.method(), params)
  np.testing.assert_allclose(found["weights"], toy.weigh(params.g, ir, vi), rtol=1e-12)
  assert set(found["losses"]) == {"fusion_loss", "task_loss"} and np.ptp(found["weights"]) > 0.05


def test_in_ablation_v_the_weights_are_those_of_f(x64):
  """Its fused image is `w_a a + w_b b`, by hand from the weights that are shown."""
  assert build.method(load("synthetic_seg", "ablation=V"), None).f_weighs
  assert not build.method(load("synthetic_seg", "ablation=IV"), None).f_weighs
  params = toy.state(toy.adams()).params
  params = params._replace(f=params.g, g={"p": 9.0, "q": 9.0, "r": 9.0})
  found, ir, vi = seen(toy.method(fuse=average, fusion_loss=None, f_weighs=True), params)
  w_a = np.asarray(found["weights"])[..., :1]
  np.testing.assert_allclose(found["fused"], w_a * ir + (1 - w_a) * vi, rtol=1e-12)
  assert set(found["losses"]) == {"task_loss"}


def test_the_masks_of_a_scene_are_found_through_both_caches(tmp_path):
  """Expected values: the scene's own masks; a look one wrapper deep found none behind two."""
  world = SyntheticSource("segmentation", size=(32, 48), count=2)
  about = {"name": "synthetic_seg", "where": "", "split": "test", "options": {}}
  wrapped = CachedSource(DiskCachedSource(world, tmp_path, 1 << 20, about), 1 << 20)
  sizes = {"task_size": (32, 48), "max_boxes": 4, "limit": 2, "num_pictures": 0}
  method = toy.method(task=None)
  measured, _ = validate(method, toy.state(toy.adams(), np.float32).params, wrapped, **sizes)
  masks = np.stack([world.scene(i)["ir_only"] for i in range(2)])
  (pair,) = val_batches(world, batch_size=2, task_size=(32, 48))
  weights = toy.weigh(toy.state(toy.adams(), np.float32).params.g, pair.ir, pair.vi)
  expected = np.asarray(weights)[..., 0][masks].mean()
  assert masks.any() and abs(expected - 0.5) > 0.01
  np.testing.assert_allclose(measured["val/w_a_ir_only"], expected, rtol=1e-5)


def test_scores_come_from_the_same_look_at_the_pairs():
  """All pixels are called background: its IoU is its share, those of the other classes are 0."""
  world = SyntheticSource("segmentation", size=(32, 48), count=2)
  size = (32, 48)
  (pair,) = val_batches(world, batch_size=2, task_size=size)
  task = Task(
    init=lambda key, images: ({}, {}),
    apply=lambda params, stats, images, *, train, key=None: (images, stats),
    loss=lambda outputs, target: (outputs.mean(), {}),
    predict=lambda params, stats, images: {"labels": jnp.zeros(images.shape[:3], jnp.int32)},
    labels="segmentation",
  )
  method = toy.method(task=task)
  measured, _ = validate(
    method,
    toy.state(toy.adams(), np.float32).params,
    world,
    task_size=size,
    max_boxes=4,
    limit=2,
    num_pictures=0,
  )
  labels = np.asarray(pair.target.labels)
  known = labels[labels != IGNORE_LABEL]
  expected = (known == 0).mean() / len(np.unique(known))
  assert 0.05 < expected < 0.9
  np.testing.assert_allclose(measured["val/mIoU"], expected, rtol=1e-6)


def test_weights_that_are_the_same_everywhere_have_no_panels():
  """Three panels of 20 pixels and gaps of 4 remain of five; a pixel that differs keeps its own."""
  even = np.full((8, 20, 3), (255, 153, 153), np.uint8)  # w_a = 0.7
  row = dict.fromkeys(("infrared", "visible", "fused", *validation.WEIGHTS), even)
  assert validation._sheet([row, row]).shape[1] == 3 * 24 - 4
  moved = even.copy()
  moved[0, 0] = 0
  assert validation._sheet([row, {**row, validation.WEIGHTS[0]: moved}]).shape[1] == 4 * 24 - 4


def test_unlikely_boxes_count_and_are_not_drawn():
  """Two objects, found with .9 and .01: the score is 1, and one box is in the picture."""
  boxes = np.array([[[2, 2, 10, 10], [14, 4, 22, 12]]], np.float32)
  classes, ok = np.zeros((1, 2), np.int32), np.ones((1, 2), bool)
  ir = np.full((1, 24, 32, 1), 0.5, np.float32)
  pair = Pair(ir, ir, target=DetTarget(boxes, classes, ok))
  predictions = {"boxes": boxes, "classes": classes, "valid": ok}
  predictions["scores"] = np.array([[0.9, 0.01]], np.float32)
  scores = Scores(("person",))
  scores.add(predictions, pair.target)
  assert scores.measured()["AP50"] == pytest.approx(1.0)
  rows = [
    validation.pictures_of(pair, {"fused": ir, "predictions": predictions}, least)
    for least in (0.0, 0.25)
  ]
  np.testing.assert_array_equal(rows[0]["predicted"], rows[0]["true"])
  drawn = rows[1]["predicted"] != rows[1]["fused"]
  assert drawn[:, :12].any() and not drawn[:, 12:].any()


def test_a_detector_of_ours_is_scored_by_its_whole_curve():
  config = load("synthetic_det")
  scored = build.scored(config).task.options
  assert (scored.score_threshold, scored.max_detections) == (0.001, 300)
  assert "score_threshold" not in config.task.options
  assert build.scored(load("synthetic_seg")) == load("synthetic_seg")
  made, image = build.experiment(config), jnp.zeros((1, 96, 128, 1))
  params, stats = jax.eval_shape(made.method.task.init, jax.random.key(0), image)
  found = jax.eval_shape(made.method.task.predict, params, stats, image)
  assert found["boxes"].shape == (1, 300, 4) and made.drawn == 0.25
  # Boxes of a T of one's own are drawn as it gives them.
  assert build.experiment(config, judge=made.method.task).drawn == 0
