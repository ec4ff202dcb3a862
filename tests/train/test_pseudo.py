"""Pseudo-labels: what a T is sure of on either image, merged; expected values are closed forms."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from runs import TINY, rows
from tiny import SHORT_RUN, compile_quickly

from configs import load
from tdfusion_jax import weightfiles
from tdfusion_jax.batch import IGNORE_LABEL, UNKNOWN_CLASS, Boxes, Sample
from tdfusion_jax.config import ConfigError
from tdfusion_jax.data.letterbox import VIEWS, of_pair, whole_view
from tdfusion_jax.data.pseudo import PseudoSource
from tdfusion_jax.losses.segmentation import cross_entropy
from tdfusion_jax.tasks import Task
from tdfusion_jax.train import build, pseudo
from tdfusion_jax.train.loop import train

LIFT = 2.0  # of the tiny T's logits


def detecting(found) -> Task:
  """A T that finds the same in all images: {"boxes" [2, K, 4], ...}, by image."""
  return Task(
    init=lambda key, images: ({}, {}),
    apply=lambda *a, **k: (None, {}),
    loss=lambda *a: (0.0, {}),
    predict=lambda params, stats, images: jax.tree.map(jnp.asarray, found),
  )


def test_boxes_of_both_images_are_merged_within_a_class():
  # IoU of the first boxes: 90 / 110 = .82, one object; the surer one (visible) stays. The second
  # ones lie at the same place and are of two classes; the third of visible is no detection.
  person, shifted, car = [0, 0, 10, 10], [1, 0, 11, 10], [20, 20, 30, 24]
  found = {
    "boxes": np.array([[person, car, person], [shifted, car, car]], np.float32),
    "scores": np.array([[0.6, 0.7, 0.0], [0.9, 0.8, 0.0]], np.float32),
    "classes": np.array([[0, 1, 0], [0, 0, 0]], np.int32),
    "valid": np.array([[1, 1, 0], [1, 1, 0]], bool),
  }
  merged = pseudo._boxes(detecting(found), {}, {}, jnp.zeros((2, 32, 32, 1)), 0.5)
  kept = np.asarray(merged["valid"])
  assert kept.sum() == 3
  got = [
    (*box, int(c))
    for box, c in zip(np.asarray(merged["boxes"])[kept].tolist(), merged["classes"], strict=False)
  ]
  assert got == [(*shifted, 0), (*car, 0), (*car, 1)]
  # Above a threshold of .75 are .9 and .8; the third is neither an object nor background.
  unsure = pseudo._boxes(detecting(found), {}, {}, jnp.zeros((2, 32, 32, 1)), 0.75)
  assert np.asarray(unsure["classes"])[kept].tolist() == [0, 0, UNKNOWN_CLASS]


def test_a_box_is_back_in_its_pair_cut_at_the_border_and_dropped_beyond_it():
  # A pair of 64x64 lies in a view of 32x48 at half its size, 8 pixels from the left.
  found = Boxes(np.array([[0, 2, 18, 40], [41, 0, 48, 9], [9, 1, 10, 9]], np.float32), np.arange(3))
  back = of_pair(found, (64, 64), (32, 48), "letterbox")
  assert back.boxes.tolist() == [[0, 4, 20, 64], [2, 2, 4, 18]]
  assert back.classes.tolist() == [0, 2]


@pytest.mark.parametrize("how", VIEWS)
def test_a_mask_is_back_in_its_pair(how):
  labels = np.arange(64, dtype=np.uint8).reshape(8, 8)
  pair = Sample("a", np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint8), labels)
  view = whole_view(pair, (16, 48), how)[2]
  np.testing.assert_array_equal(of_pair(view, (8, 8), (16, 48), how), labels)


def bright(num_classes, variant="b0", **options) -> Task:
  """A T of one parameter: class 1 where its image is brighter than 1/2, class 0 elsewhere."""
  del variant, options

  def apply(params, stats, images, *, train, key=None):
    del train, key
    side = params["lift"] * (images - 0.5)
    return jnp.concatenate(
      [-side, side] + [jnp.full_like(side, -99)] * (num_classes - 2), -1
    ), stats

  return Task(
    init=lambda key, images: ({"lift": jnp.float32(1.0)}, {}),
    apply=apply,
    loss=cross_entropy,
    predict=lambda p, s, x: {"labels": jnp.argmax(apply(p, s, x, train=False)[0], -1)},
    labels="segmentation",
  )


def test_the_surer_image_labels_a_pixel_and_none_where_neither_is_sure():
  # Probability of the surer class: sigmoid(2 * 2 * |x - 1/2|), .5 < p at x = .5 only.
  ir = np.array([[1.0, 0.5, 0.9]], np.float32)
  vi = np.array([[0.2, 0.5, 0.0]], np.float32)
  images = jnp.stack([ir, vi])[..., None]
  labels = pseudo._pixels(bright(2), {"lift": jnp.float32(LIFT)}, {}, images, 0.6)["labels"]
  assert np.asarray(labels).tolist() == [[1, IGNORE_LABEL, 0]]


@pytest.fixture
def settings(tmp_path, monkeypatch):
  monkeypatch.setitem(build.TASKS, "segmentation", bright)
  file = tmp_path / "t.safetensors"
  weightfiles.save_weights(file, {"params": {"lift": np.float32(LIFT)}}, {"arch": "bright"})
  config = load("synthetic_seg")
  changes = {
    **TINY,
    **SHORT_RUN,
    "task.kind": "segmentation",
    "task.frozen": True,
    "task.labels": "pseudo",
    "task.pseudo_threshold": 0.7,
    "init.t": str(file),
    "meta.steps": 1,
    "train.epochs": 1,
    "log.pictures": 0,
    "log.validate_every": 0,
  }
  config.update_from_flattened_dict(changes)
  return config


def test_a_run_learns_from_them_and_keeps_them_for_its_next_start(
  settings, tmp_path, monkeypatch, caplog
):
  caplog.set_level(logging.INFO, "tdfusion_jax")
  compile_quickly(monkeypatch)
  train(settings, tmp_path / "run")
  assert rows(tmp_path / "run")
  assert "pseudo-labels: 8 pairs, " in caplog.text and "labels are made again" not in caplog.text
  made, val = labelled(settings, tmp_path / "fresh")
  sample, plain = made[3], build.source(settings, "train")[3]
  sides = [np.abs(image.astype(float) / 255 - 0.5) for image in (plain.ir, luminance(plain.vi))]
  surer = np.where(sides[0] >= sides[1], plain.ir, luminance(plain.vi))
  sure = 1 / (1 + np.exp(-2 * LIFT * np.maximum(*sides))) >= 0.7
  assert 0.05 < sure.mean() < 0.999
  agree = sample.target == np.where(sure, surer > 127, IGNORE_LABEL)
  assert agree.mean() > 0.98  # the rest lies on the threshold, within a rounding of 1/255
  assert not np.array_equal(val[0].target, made[0].target) and val.kind == "segmentation"

  def never(*arguments):
    raise AssertionError("made again")

  monkeypatch.setattr(pseudo, "_made", never)
  again, _ = labelled(settings, tmp_path / "run")
  for one, other in zip(again.targets, made.targets, strict=True):
    np.testing.assert_array_equal(one, other)
  settings.task.pseudo_threshold = 0.8
  with pytest.raises(ConfigError, match=r"task\.pseudo_threshold"):
    pseudo.labelled(settings, tmp_path / "run")
  (tmp_path / "run" / "config.json").unlink()
  with pytest.raises(AssertionError, match="made again"):
    pseudo.labelled(settings, tmp_path / "run")
  monkeypatch.undo()


def labelled(settings, workdir):
  pairs = pseudo.labelled(settings, workdir)
  assert pairs is not None and isinstance(pairs[0], PseudoSource)
  return pairs[0], pairs[1]


def luminance(rgb):
  return rgb if rgb.ndim == 2 else rgb.astype(float) @ [0.299, 0.587, 0.114]


@pytest.mark.parametrize(
  ("field", "value"),
  [
    ("init.t", ""),
    ("task.pseudo_threshold", 0.0),
    ("task.pseudo_threshold", 1.0),
    ("task.pseudo_unsure", 0.1),  # of masks
    ("task.labels", "guessed"),
    ("task.kind", "none"),
  ],
)
def test_settings_that_cannot_give_labels_are_named(settings, tmp_path, field, value):
  settings.update_from_flattened_dict({"task.frozen": False, field: value})
  named = "task.labels" if field in ("init.t", "task.kind") else field
  with pytest.raises(ConfigError, match=f"config.{named}"):
    build.experiment(settings)


@pytest.mark.parametrize("unsure", [0.0, 0.8])
def test_unsure_boxes_lie_below_the_sure_ones(settings, unsure):
  settings.update_from_flattened_dict({"task.kind": "detection", "task.pseudo_unsure": unsure})
  with pytest.raises(ConfigError, match=r"config\.task\.pseudo_unsure=.*at most task\.pseudo_t"):
    build.experiment(settings)


def test_a_damaged_file_of_labels_is_made_again(settings, tmp_path, caplog):
  (tmp_path / "run").mkdir()
  (tmp_path / "run" / pseudo.FILE).write_bytes(b"no zip")
  made, _ = labelled(settings, tmp_path / "run")
  assert len(made) == 8 and "the labels are made again" in caplog.text
