"""From samples to arrays: luminance, resizing, cropping and flipping (NumPy, on the host)."""

from typing import Any, NamedTuple

import numpy as np

from tdfusion_jax.batch import LUMA, Boxes, Sample

_LUMA = np.array(LUMA, np.float32)


class Luminances(NamedTuple):
  """Both images of a pair at one size, with what is known about them."""

  ir: np.ndarray
  """[h, w] float32 in [0, 1]."""
  vi: np.ndarray
  """[h, w] float32 in [0, 1]."""
  w_a: np.ndarray | None = None
  """[h, w] float32 in [0, 1], see `Sample.w_a`."""

  def exchanged(self) -> "Luminances":
    """Infrared and visible in each other's place."""
    return Luminances(self.vi, self.ir, None if self.w_a is None else 1 - self.w_a)


def luminance(image: np.ndarray) -> np.ndarray:
  """[H, W] or [H, W, 3] uint8 -> [H, W] float32 in [0, 1], BT.601 full-range Y."""
  if image.ndim == 3:
    # Sum of weights in float32 may exceed one by an ulp; white must stay 1.
    return np.minimum(image.astype(np.float32) @ (_LUMA / np.float32(255)), np.float32(1))
  return image.astype(np.float32) / np.float32(255)


def _taps(size: int, target: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Lower index, upper index and weight of the upper one, half-pixel centres."""
  position = np.maximum((np.arange(target) + 0.5) * (size / target) - 0.5, 0)
  lower = np.minimum(position.astype(np.int64), size - 1)
  return lower, np.minimum(lower + 1, size - 1), (position - lower).astype(np.float32)


def resize_bilinear(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """[H, W] float32 -> [h, w] float32, two taps per axis whatever the scale.

  Equals PyTorch's `interpolate(mode="bilinear", align_corners=False)`, no antialiasing: the paper's
  resize.
  """
  if image.shape == tuple(size):
    return image
  top, bottom, weight = _taps(image.shape[0], size[0])
  left, right, across = _taps(image.shape[1], size[1])
  upper, lower = image[top], image[bottom]
  rows = upper + (lower - upper) * weight[:, None]
  first, second = rows[:, left], rows[:, right]
  return first + (second - first) * across[None, :]


def resize_nearest(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """[H, W] -> [h, w] labels: the pixel under each new one's centre, as in `resize_bilinear`."""
  if labels.shape == tuple(size):
    return labels
  rows = ((np.arange(size[0]) + 0.5) * (labels.shape[0] / size[0])).astype(np.int64)
  columns = ((np.arange(size[1]) + 0.5) * (labels.shape[1] / size[1])).astype(np.int64)
  return labels[np.ix_(rows, columns)]


def resize_target(target: Any, old: tuple[int, int], new: tuple[int, int]) -> Any:
  """`Sample.target` after a resize from `old` to `new` (height, width).

  Labels by nearest neighbour; boxes' x are scaled like the width, y like the height.
  """
  if target is None:
    return None
  if isinstance(target, Boxes):
    boxes, classes = target
    x, y = new[1] / old[1], new[0] / old[0]
    return Boxes(boxes * np.array([x, y, x, y], np.float32), classes)
  return resize_nearest(target, new)


def flip_sample(sample: Sample) -> Sample:
  """The sample mirrored left to right, boxes included."""
  target = sample.target
  if isinstance(target, Boxes):
    boxes, classes = target
    width = np.float32(sample.ir.shape[1])
    boxes = np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], axis=1)
    target = Boxes(boxes, classes)
  elif target is not None:
    target = target[:, ::-1]
  w_a = None if sample.w_a is None else sample.w_a[:, ::-1]
  ir = sample.ir[:, ::-1]
  vi = ir if sample.vi is sample.ir else sample.vi[:, ::-1]  # one image stays one
  return sample._replace(ir=ir, vi=vi, target=target, w_a=w_a)


def random_crop(sample: Sample, size: tuple[int, int], rng: np.random.Generator) -> Luminances:
  """One window [h, w], the same in both images, uniform over all positions.

  A pair smaller than `size` is first enlarged (bilinear, equal factor for both axes) until the
  window fits.
  """
  height, width = sample.ir.shape
  ir, vi, w_a = sample.ir, sample.vi, sample.w_a
  if height < size[0] or width < size[1]:
    factor = max(size[0] / height, size[1] / width)
    height, width = max(size[0], round(height * factor)), max(size[1], round(width * factor))
    ir, vi = (resize_bilinear(luminance(image), (height, width)) for image in (ir, vi))
    w_a = None if w_a is None else resize_nearest(w_a, (height, width))
  top, left = int(rng.integers(height - size[0] + 1)), int(rng.integers(width - size[1] + 1))
  window = np.s_[top : top + size[0], left : left + size[1]]
  ir, vi, w_a = ir[window], vi[window], None if w_a is None else w_a[window]
  if ir.dtype != np.float32:  # not enlarged: luminance of the window is cheaper than of the whole
    ir, vi = luminance(ir), luminance(vi)
  return Luminances(ir, vi, w_a)
