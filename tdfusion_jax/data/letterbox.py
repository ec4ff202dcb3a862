"""A pair inside the task's view: resized to it, or with its proportions kept (NumPy, host)."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tdfusion_jax.batch import IGNORE_LABEL, Boxes, Sample
from tdfusion_jax.data.transforms import luminance, resize_bilinear, resize_target

VIEWS = ("resize", "letterbox")
GRAY = np.float32(114 / 255)
"""Of the border, as YOLOv8 is trained with."""

Size = tuple[int, int]
View = tuple[np.ndarray, np.ndarray, Any]


class Frame(NamedTuple):
  """Where a pair lies in a view."""

  size: Size
  """(h, w) of the resized pair."""
  top: int
  left: int


def frame(pair: Size, view: Size, how: str) -> Frame:
  """Where a pair of (h, w) lies in a view of (h, w).

  Args:
    pair: size of the images.
    view: size of the view.
    how: "resize" fills the view, whatever the proportions; "letterbox" is the largest copy of equal
      proportions that fits, to whole pixels, in the middle; an odd pixel of border is at the bottom
      or at the right.
  """
  if how == "resize":
    return Frame(view, 0, 0)
  scale = min(view[0] / pair[0], view[1] / pair[1])
  height, width = (max(1, round(side * scale)) for side in pair)
  return Frame((height, width), (view[0] - height) // 2, (view[1] - width) // 2)


def both_images(
  sample: Sample, make: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
  """`make` of both luminances, once where infrared and visible are one image (`FusedSource`)."""
  ir = make(luminance(sample.ir))
  return (ir, ir) if sample.vi is sample.ir else (ir, make(luminance(sample.vi)))


def scaled(sample: Sample, size: Size) -> View:
  """Luminances [h, w] of a pair resized to `size`, and the target that belongs to them."""
  ir, vi = both_images(sample, lambda image: resize_bilinear(image, size))
  return ir, vi, resize_target(sample.target, sample.ir.shape, size)


def whole_view(sample: Sample, size: Size, how: str = "resize") -> View:
  """Luminances [h, w] of the whole pair in a view of `size`, and the target that belongs to them.

  Boxes move with the pair. Scaling and moving all boxes alike leaves every overlap as it was, so
  average precision in such a view equals that in the pair's own pixels.

  Args:
    sample: the pair.
    size: (h, w) of the view.
    how: one of `VIEWS`. Around a letterboxed pair is gray, and labels are unknown.
  """
  place = frame(sample.ir.shape, size, how)
  view = scaled(sample, place.size)
  if place.size == tuple(size):
    return view
  ir, vi, target = view
  gray = _framed(ir, size, place, GRAY)
  other = gray if vi is ir else _framed(vi, size, place, GRAY)
  return gray, other, framed_target(target, size, place)


def framed_target(target: Any, size: Size, place: Frame) -> Any:
  """The target of a resized pair after it has been put into a view of `size`."""
  if target is None:
    return None
  if isinstance(target, Boxes):
    shift = np.array([place.left, place.top] * 2, np.float32)
    return Boxes(target.boxes + shift, target.classes)
  return _framed(target, size, place, IGNORE_LABEL)


def of_pair(target: Any, pair: Size, size: Size, how: str) -> Any:
  """A target that was found in `whole_view`, in pixels of the pair again.

  Args:
    target: of the view; boxes are cut at the pair's border, and dropped beyond it.
    pair: (h, w) of the images.
    size: (h, w) of the view.
    how: one of `VIEWS`.
  """
  (height, width), top, left = frame(pair, size, how)
  if not isinstance(target, Boxes):
    return resize_target(target[top : top + height, left : left + width], (height, width), pair)
  boxes = target.boxes - np.array([left, top] * 2, np.float32)
  boxes = np.clip(boxes, 0, np.array([width, height] * 2, np.float32))
  kept = (boxes[:, 2:] - boxes[:, :2] >= 1).all(axis=1)
  return resize_target(Boxes(boxes[kept], target.classes[kept]), (height, width), pair)


def _framed(
  image: np.ndarray, size: Size, place: Frame, ground: float | int | np.float32
) -> np.ndarray:
  canvas = np.full(size, ground, image.dtype)
  height, width = place.size
  canvas[place.top : place.top + height, place.left : place.left + width] = image
  return canvas
