"""Pictures of a run: contact sheets of validation pairs and curves of its metrics."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from tdfusion_jax.files import atomic_write

_TITLE = 14  # height of the line of text above each column, pixels
_GAP = 4
_LETTER = 6  # width of a letter, pixels
_PALETTE = np.array(
  [
    (0, 0, 0),
    (230, 60, 60),
    (70, 130, 250),
    (250, 200, 50),
    (80, 200, 120),
    (180, 90, 220),
    (250, 140, 60),
    (90, 210, 220),
    (240, 120, 180),
    (150, 150, 80),
    (120, 120, 200),
    (200, 220, 120),
    (140, 80, 60),
    (60, 160, 90),
    (220, 220, 220),
  ],
  np.uint8,
)


def gray(image: np.ndarray) -> np.ndarray:
  """[H, W] in [0, 1] -> [H, W, 3] uint8."""
  byte = np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
  return np.repeat(byte[..., None], 3, axis=-1)


def heat(weights: np.ndarray) -> np.ndarray:
  """[H, W] in [0, 1] -> [H, W, 3] uint8: blue 0, white 1/2 (an even weight is neutral), red 1."""
  distance = (np.clip(weights, 0, 1) - 0.5) * 2
  red, blue = 1 - np.clip(-distance, 0, 1), 1 - np.clip(distance, 0, 1)
  return np.round(255 * np.stack([red, np.minimum(red, blue), blue], axis=-1)).astype(np.uint8)


def with_boxes(image: np.ndarray, boxes: np.ndarray, classes: np.ndarray) -> np.ndarray:
  """Draws boxes [K, 4] xyxy in pixels on an RGB uint8 image."""
  canvas = Image.fromarray(image)
  draw = ImageDraw.Draw(canvas)
  for (x1, y1, x2, y2), label in zip(boxes, classes, strict=True):
    color = tuple(int(v) for v in _PALETTE[1 + int(label) % (len(_PALETTE) - 1)])
    draw.rectangle(
      (float(x1), float(y1), max(float(x1), float(x2) - 1), max(float(y1), float(y2) - 1)),
      outline=color,
    )
  return np.asarray(canvas)


def with_labels(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Tints an RGB uint8 image by class labels [H, W]; not class 0 and unknown pixels."""
  known = (labels > 0) & (labels < 255)
  color = _PALETTE[np.where(known, (labels - 1) % (len(_PALETTE) - 1) + 1, 0)]
  mixed = np.round(0.5 * image + 0.5 * color).astype(np.uint8)
  return np.where(known[..., None], mixed, image)


def sheet(rows: Sequence[Mapping[str, np.ndarray]], caption: Sequence[str] = ()) -> np.ndarray:
  """Puts rows of equally named, equally large RGB images under one line of titles.

  Args:
    rows: {title: image}.
    caption: lines to put below, broken where they are too long.
  """
  titles = list(rows[0])
  height, width = rows[0][titles[0]].shape[:2]
  across = len(titles) * (width + _GAP) - _GAP
  below = [part for line in caption for part in textwrap.wrap(line, max(across // _LETTER, 12))]
  top = _TITLE + len(rows) * (height + _GAP) - _GAP
  canvas = Image.new("RGB", (across, top + len(below) * _TITLE), (24, 24, 24))
  draw = ImageDraw.Draw(canvas)
  for column, title in enumerate(titles):
    draw.text((column * (width + _GAP) + 3, 1), title, fill=(235, 235, 235))
    for row, images in enumerate(rows):
      canvas.paste(
        Image.fromarray(images[title]), (column * (width + _GAP), _TITLE + row * (height + _GAP))
      )
  for number, line in enumerate(below):
    draw.text((3, top + number * _TITLE + 1), line, fill=(200, 200, 200))
  return np.asarray(canvas)


def save(path: Path, image: np.ndarray) -> None:
  """Writes a PNG atomically."""
  with atomic_write(path) as temporary:
    Image.fromarray(image).save(temporary, format="PNG")
