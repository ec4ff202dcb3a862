"""What travels through the house: a batch of registered pairs and what is known about them."""

from typing import Any, NamedTuple

import numpy as np

Array = Any  # np.ndarray on the host, jax.Array on the device

IGNORE_LABEL = 255
"""Class of a pixel of which nobody knows what it is."""
UNKNOWN_CLASS = -255
"""Class of a box in which there may be an object: it is taught neither as one nor as background.

Not -1, which a failed look-up gives as well: that stays an error.
"""
LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the luminance (ITU-R BT.601)."""


class Boxes(NamedTuple):
  """The labelled objects of one image."""

  boxes: Array
  """[K, 4] float32, (x1, y1, x2, y2) in pixels of the image."""
  classes: Array
  """[K] int32 in [0, num_classes), or `UNKNOWN_CLASS`."""


class SegTarget(NamedTuple):
  """Per-pixel classes."""

  labels: Array
  """[B, H, W] int32 in [0, num_classes), or `IGNORE_LABEL` where the class is unknown."""


class DetTarget(NamedTuple):
  """Boxes, padded to a fixed number `M` per image so that shapes are static under jit."""

  boxes: Array
  """[B, M, 4] float32, (x1, y1, x2, y2) in pixels of the batch's own images; zeros where not valid.
  """
  classes: Array
  """[B, M] int32 in [0, num_classes), or `UNKNOWN_CLASS`; zero where not valid."""
  valid: Array
  """[B, M] bool, False for padding. An image without objects has no valid row."""


class Pair(NamedTuple):
  """A batch of registered infrared/visible pairs."""

  ir: Array
  """[B, H, W, 1] float32 in [0, 1], infrared (modality `a` in the paper)."""
  vi: Array
  """[B, H, W, 1] float32 in [0, 1], BT.601 luminance of the visible image (modality `b`)."""
  target: Any = None
  """`SegTarget`, `DetTarget`, any pytree a custom task understands, or None without labels."""
  valid: Array | None = None
  """[B] bool, False for rows that only fill up the last batch; None means all are real."""
  weights: Array | None = None
  """[B, H, W, 2] float32, the (w_a, w_b) of the fusion loss where they are known; None asks G."""
  exchanged: Array | None = None
  """[B] bool, rows whose `ir` is the visible image and whose `vi` the infrared; None means none."""


class Views(NamedTuple):
  """The two views of the same scenes that one training step sees."""

  crop: Pair
  """Random crops at full resolution without target: what the fusion loss compares."""
  whole: Pair
  """The whole pairs, resized for the task network, with their target: what the task loss judges."""


class Sample(NamedTuple):
  """One pair as a data source hands it out, before any resize or crop (NumPy, on the host)."""

  name: str
  """File stem, unique within its source and split."""
  ir: np.ndarray
  """[H, W] uint8 infrared."""
  vi: np.ndarray
  """[H, W] uint8 BT.601 luminance, or [H, W, 3] uint8 RGB."""
  target: Any = None
  """[H, W] uint8 labels; or `Boxes`; or None for an unlabelled pair."""
  w_a: np.ndarray | None = None
  """[H, W] float32 in [0, 1], infrared's weight in the fusion loss where it is known; else None."""
