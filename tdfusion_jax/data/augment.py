"""What task networks are usually trained with: random scale and place, mosaics (NumPy, host).

SegFormer: the whole pair at 0.5 to 2 times the task's size, a random window of it. YOLOv8: four
pairs around a random corner, half to one and a half times the size, a random window.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from tdfusion_jax.batch import IGNORE_LABEL, Boxes, Sample
from tdfusion_jax.data.transforms import luminance, resize_bilinear, resize_target

_FILL = np.float32(114 / 255)  # around a shrunk image, as YOLOv8 is trained with
_SEG_SCALES = (0.5, 2.0)
_DET_SCALES = (0.5, 1.5)
_KEPT = 0.1  # a box of which less than this share is left is dropped
_LEAST = 2.0  # pixels, the least side of a box

View = tuple[np.ndarray, np.ndarray, Any]


def augmented_view(
  sample: Sample,
  size: tuple[int, int],
  rng: np.random.Generator,
  other: Callable[[], Sample] | None = None,
) -> View:
  """One augmented whole view: luminances [h, w] float32 of both images, and their target.

  Args:
    sample: labels or boxes decide which recipe is used.
    size: (h, w) of the result.
    rng: draws scale and place.
    other: gives further samples for a mosaic; None for none (detection's last epochs).
  """
  if not isinstance(sample.target, Boxes):
    return _segmentation(sample, size, rng)
  tiles = [sample]
  if other is not None:
    tiles += [other() for _ in range(3)]
  return _detection(tiles, size, rng)


def _scaled(sample: Sample, size: tuple[int, int]) -> View:
  ir, vi = (resize_bilinear(luminance(image), size) for image in (sample.ir, sample.vi))
  return ir, vi, resize_target(sample.target, sample.ir.shape, size)


def _segmentation(sample: Sample, size: tuple[int, int], rng: np.random.Generator) -> View:
  scale = rng.uniform(*_SEG_SCALES)
  drawn = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
  ir, vi, labels = _scaled(sample, drawn)
  rows, source_rows = _places(drawn[0], size[0], rng)
  columns, source_columns = _places(drawn[1], size[1], rng)

  def placed(image: np.ndarray, ground: int, dtype: type) -> np.ndarray:
    canvas = np.full(size, ground, dtype)
    canvas[rows, columns] = image[source_rows, source_columns]
    return canvas

  if labels is not None:
    labels = placed(labels, IGNORE_LABEL, np.uint8)  # around a shrunk pair nothing is known
  return placed(ir, 0, np.float32), placed(vi, 0, np.float32), labels


def _places(drawn: int, size: int, rng: np.random.Generator) -> tuple[slice, slice]:
  """Along one axis: (part of the window that is filled, part of the pair that is seen).

  Where the pair is smaller than the window, its place in the window is drawn; where it is larger,
  the window's place in the pair.
  """
  free = size - drawn
  start = int(rng.integers(abs(free) + 1))
  if free >= 0:
    return slice(start, start + drawn), slice(0, drawn)
  return slice(0, size), slice(start, start + size)


def _detection(tiles: list[Sample], size: tuple[int, int], rng: np.random.Generator) -> View:
  height, width = size
  views = [_scaled(tile, size) for tile in tiles]
  count = 2 if len(tiles) > 1 else 1
  canvas = [np.full((count * height, count * width), _FILL) for _ in range(2)]
  boxes, classes = [], []
  if count == 2:  # the four meet at a point between 1/4 and 3/4 of the canvas
    y, x = (int(rng.integers(n // 2, n + n // 2 + 1)) for n in size)
    corners = [(y - height, x - width), (y - height, x), (y, x - width), (y, x)]
  else:
    corners = [(0, 0)]
  for (ir, vi, target), (top, left) in zip(views, corners, strict=True):
    for place, image in zip(canvas, (ir, vi), strict=True):
      _paste(place, image, top, left)
    boxes.append(target[0] + np.array([left, top, left, top], np.float32))
    classes.append(target[1])
  return _window(canvas, Boxes(np.concatenate(boxes), np.concatenate(classes)), size, rng)


def _paste(canvas: np.ndarray, image: np.ndarray, top: int, left: int) -> None:
  height, width = image.shape
  y, x = max(top, 0), max(left, 0)
  bottom, right = min(top + height, canvas.shape[0]), min(left + width, canvas.shape[1])
  canvas[y:bottom, x:right] = image[y - top : bottom - top, x - left : right - left]


def _window(
  canvas: list[np.ndarray], objects: Boxes, size: tuple[int, int], rng: np.random.Generator
) -> View:
  """A window of the canvas, 1 / scale times as large as the result, resized to it."""
  scale = rng.uniform(*_DET_SCALES)
  seen = [max(2, round(n / scale)) for n in size]
  top, left = (_corner(full, part, rng) for full, part in zip(canvas[0].shape, seen, strict=True))
  images = []
  for image in canvas:
    cut = np.full(seen, _FILL)
    _paste(cut, image, -top, -left)
    images.append(resize_bilinear(cut, size))
  zoom = np.array([size[1] / seen[1], size[0] / seen[0]] * 2, np.float32)
  shift = np.array([left, top, left, top], np.float32)
  limit = np.array([size[1], size[0]] * 2, np.float32)
  # A tile is cut at the canvas's border before the window is.
  extent = np.array([canvas[0].shape[1], canvas[0].shape[0]] * 2, np.float32)
  seen_boxes = np.clip(objects.boxes, 0, extent)
  placed = np.clip((seen_boxes - shift) * zoom, 0, limit).astype(np.float32)
  sides = placed[:, 2:] - placed[:, :2]
  before = (objects.boxes[:, 2:] - objects.boxes[:, :2]) * zoom[:2]
  large = sides.min(axis=1, initial=np.inf) >= _LEAST
  kept = large & (sides.prod(axis=1) >= _KEPT * before.prod(axis=1))
  return images[0], images[1], Boxes(placed[kept], objects.classes[kept])


def _corner(full: int, part: int, rng: np.random.Generator) -> int:
  """Where the window begins: in the canvas, or around a smaller one; shifted by up to a tenth."""
  shift = round(rng.uniform(-0.1, 0.1) * part)
  low, high = sorted((0, full - part))
  return int(rng.integers(low, high + 1)) + shift
