"""Luminance, resizing, cropping and flipping, by hand."""

import numpy as np

from tdfusion_jax.batch import Boxes, Sample
from tdfusion_jax.data.transforms import (
  flip_sample,
  luminance,
  random_crop,
  resize_bilinear,
  resize_nearest,
  resize_target,
)


def test_crop_is_the_same_window_of_both_images():
  rng = np.random.default_rng(0)
  base = rng.integers(0, 255, (20, 30)).astype(np.uint8)
  sample = Sample("s", base, np.stack([base] * 3, -1))
  places = set()
  for i in range(60):
    ir, vi, _ = random_crop(sample, (5, 7), np.random.default_rng(i))
    np.testing.assert_allclose(ir, vi, atol=1e-6)
    windows = np.lib.stride_tricks.sliding_window_view(base, (5, 7))
    found = np.argwhere((windows == np.rint(ir * 255)).all((2, 3)))
    assert len(found) == 1
    places.add(tuple(found[0]))
  assert len(places) > 40 and max(p[0] for p in places) >= 13 and max(p[1] for p in places) >= 20


def test_resize_bilinear_by_hand():
  row = np.array([[0.0, 1.0, 2.0, 3.0]], np.float32)
  np.testing.assert_allclose(resize_bilinear(row, (1, 2)), [[0.5, 2.5]])
  np.testing.assert_allclose(
    resize_bilinear(row, (1, 8)), [[0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3]]
  )
  np.testing.assert_allclose(
    resize_bilinear(row.T, (8, 1))[:, 0], [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3]
  )
  # no antialias: every fourth pixel pair only
  np.testing.assert_allclose(
    resize_bilinear(np.arange(8, dtype=np.float32)[None], (1, 2)), [[1.5, 5.5]]
  )
  image = np.random.default_rng(0).random((5, 6)).astype(np.float32)
  assert (
    resize_bilinear(image, (5, 6)) is image and resize_bilinear(image, (11, 4)).dtype == np.float32
  )


def test_resize_nearest_and_targets():
  labels = np.array([[0, 1, 2, 3]], np.uint8)
  assert resize_nearest(labels, (1, 2)).tolist() == [[1, 3]]
  assert resize_nearest(labels, (2, 8)).tolist() == [[0, 0, 1, 1, 2, 2, 3, 3]] * 2
  boxes = np.array([[10, 20, 30, 40]], np.float32)
  # 100 high, 200 wide -> 50 high, 20 wide: x times 0.1, y times 0.5
  scaled, _ = resize_target(Boxes(boxes, np.array([0])), (100, 200), (50, 20))
  np.testing.assert_allclose(scaled, [[1, 10, 3, 20]], rtol=1e-6)


def test_flip():
  image = np.arange(96, dtype=np.uint8).reshape(8, 12)
  sample = Sample(
    "s", image, image, Boxes(np.array([[1, 2, 5, 6]], np.float32), np.array([0], np.int32))
  )
  flipped = flip_sample(sample)
  np.testing.assert_array_equal(flipped.ir, sample.ir[:, ::-1])
  np.testing.assert_array_equal(flipped.target[0], [[7, 2, 11, 6]])  # 12 - 5, 12 - 1
  np.testing.assert_array_equal(flip_sample(flipped).target[0], sample.target[0])


def test_luminance():
  colours = np.array(
    [[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [0, 0, 0]]], np.uint8
  )
  np.testing.assert_allclose(luminance(colours), [[0.299, 0.587, 0.114, 1, 0]], rtol=1e-6)
  assert luminance(colours).max() <= 1 and luminance(colours).dtype == np.float32
  np.testing.assert_allclose(luminance(np.array([[51]], np.uint8)), [[0.2]], rtol=1e-6)
