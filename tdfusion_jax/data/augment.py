"""What task networks are usually trained with: random scale and place, mosaics (NumPy, host).

SegFormer: the whole pair at 0.5 to 2 times the task's size, a random window of it. YOLOv8: four
pairs around a random corner, half to one and a half times the size, a random window.
"""

from collections.abc import Callable

import numpy as np

from tdfusion_jax.batch import IGNORE_LABEL, Boxes, Sample
from tdfusion_jax.data.letterbox import GRAY, Size, View, frame, scaled
from tdfusion_jax.data.transforms import resize_bilinear

_SEG_SCALES = (0.5, 2.0)
_DET_SCALES = (0.5, 1.5)
_KEPT = 0.1  # a box of which less than this share is left is dropped
_LEAST = 2.0  # pixels, the least side of a box

_TRIES = 10  # windows that are drawn where one class fills too much


def augmented_view(
  sample: Sample,
  size: Size,
  rng: np.random.Generator,
  other: Callable[[], Sample] | None = None,
  *,
  view: str = "resize",
  window: Size | None = None,
  cat_max_ratio: float = 1.0,
) -> View:
  """One augmented whole view: luminances [h, w] float32 of both images, and their target.

  Args:
    sample: labels or boxes decide which recipe is used.
    size: (h, w) of the whole pair at scale 1, and of the result.
    rng: draws scale and place.
    other: gives further samples for a mosaic; None for none (detection's last epochs).
    view: "letterbox" keeps the pairs' proportions, and a window of boxes lies about the middle,
      shifted by up to a tenth, as Ultralytics draws it; "resize" gives every pair the size, and
      the window lies anywhere.
    window: (h, w) of the result for pairs with masks, in the place of `size`.
    cat_max_ratio: a window of masks is drawn again, up to ten times, while one class fills this
      share of its known pixels or more (mmsegmentation's `RandomCrop`; the field's 0.75); 1 never.
  """
  if not isinstance(sample.target, Boxes):
    whole = frame(sample.ir.shape, size, view).size
    return _segmentation(sample, whole, window or size, rng, cat_max_ratio)
  tiles = [sample]
  if other is not None:
    tiles += [other() for _ in range(3)]
  return _detection(tiles, size, rng, view)


def _segmentation(
  sample: Sample, whole: Size, size: Size, rng: np.random.Generator, cat_max_ratio: float
) -> View:
  scale = rng.uniform(*_SEG_SCALES)
  drawn = (max(1, round(whole[0] * scale)), max(1, round(whole[1] * scale)))
  ir, vi, labels = scaled(sample, drawn)
  for _ in range(_TRIES):
    rows, source_rows = _places(drawn[0], size[0], rng)
    columns, source_columns = _places(drawn[1], size[1], rng)
    if cat_max_ratio >= 1 or labels is None:
      break
    if _largest_share(labels[source_rows, source_columns]) < cat_max_ratio:
      break

  def placed(image: np.ndarray, ground: int, dtype: type) -> np.ndarray:
    canvas = np.full(size, ground, dtype)
    canvas[rows, columns] = image[source_rows, source_columns]
    return canvas

  if labels is not None:
    labels = placed(labels, IGNORE_LABEL, np.uint8)  # around a shrunk pair nothing is known
  seen = placed(ir, 0, np.float32)
  return seen, seen if vi is ir else placed(vi, 0, np.float32), labels


def _largest_share(labels: np.ndarray) -> float:
  """Of the class that fills most of the known pixels; 1 where none is known."""
  counts = np.bincount(labels[labels != IGNORE_LABEL].ravel(), minlength=1)
  return float(counts.max() / max(counts.sum(), 1)) if counts.any() else 1.0


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


def _detection(tiles: list[Sample], size: Size, rng: np.random.Generator, view: str) -> View:
  height, width = size
  places = [frame(tile.ir.shape, size, view) for tile in tiles]
  views = [scaled(tile, place.size) for tile, place in zip(tiles, places, strict=True)]
  one_image = all(ir is vi for ir, vi, _ in views)
  count = 2 if len(tiles) > 1 else 1
  full = (count * height, count * width)
  canvas = [np.full(full, GRAY) for _ in range(1 if one_image else 2)]
  boxes, classes = [], []
  if count == 2:  # the four meet at a point between 1/4 and 3/4 of the canvas
    y, x = (int(rng.integers(n // 2, n + n // 2 + 1)) for n in size)
    sides = [(1, 1), (1, 0), (0, 1), (0, 0)]  # whether a tile lies above and left of that point
    corners = [
      (y - above * place.size[0], x - left * place.size[1])
      for (above, left), place in zip(sides, places, strict=True)
    ]
  else:
    corners = [(places[0].top, places[0].left)]
  for (ir, vi, target), (top, left) in zip(views, corners, strict=True):
    for place, image in zip(canvas, (ir, vi), strict=False):
      _paste(place, image, top, left)
    boxes.append(target[0] + np.array([left, top, left, top], np.float32))
    classes.append(target[1])
  objects = Boxes(np.concatenate(boxes), np.concatenate(classes))
  draw = _corner if view == "resize" else _middle
  images, seen = _window(canvas, objects, size, rng, draw)
  return images[0], images[-1], seen


def _paste(canvas: np.ndarray, image: np.ndarray, top: int, left: int) -> None:
  height, width = image.shape
  y, x = max(top, 0), max(left, 0)
  bottom, right = min(top + height, canvas.shape[0]), min(left + width, canvas.shape[1])
  canvas[y:bottom, x:right] = image[y - top : bottom - top, x - left : right - left]


def _window(
  canvas: list[np.ndarray],
  objects: Boxes,
  size: Size,
  rng: np.random.Generator,
  draw: Callable[[int, int, np.random.Generator], int],
) -> tuple[list[np.ndarray], Boxes]:
  """A window of the canvas, 1 / scale times as large as the result, resized to it."""
  scale = rng.uniform(*_DET_SCALES)
  seen = [max(2, round(n / scale)) for n in size]
  top, left = (draw(full, part, rng) for full, part in zip(canvas[0].shape, seen, strict=True))
  images = []
  for image in canvas:
    cut = np.full(seen, GRAY)
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
  return images, Boxes(placed[kept], objects.classes[kept])


def _corner(full: int, part: int, rng: np.random.Generator) -> int:
  """Where the window begins: in the canvas, or around a smaller one; shifted by up to a tenth."""
  shift = round(rng.uniform(-0.1, 0.1) * part)
  low, high = sorted((0, full - part))
  return int(rng.integers(low, high + 1)) + shift


def _middle(full: int, part: int, rng: np.random.Generator) -> int:
  """Where a window in the middle of the canvas begins, shifted by up to a tenth of the window."""
  return round((full - part) / 2 + rng.uniform(-0.1, 0.1) * part)
