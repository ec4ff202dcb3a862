"""What the pixels of one image show: hash, brightness, colour."""

import hashlib
from typing import NamedTuple

import numpy as np
from PIL import Image

COLOUR = 1.0
"""Mean spread of the three channels, of 255, above which an image counts as coloured."""


class ImageStats(NamedTuple):
  """Measurements of one image."""

  mode: str
  size: tuple[int, int]
  """(height, width)."""
  mean: float
  """Of the luminance, 0 to 255."""
  spread: float
  """Standard deviation of the luminance."""
  chroma: float
  """Mean of the largest minus the smallest channel, 0 to 255; 0 for gray."""
  digest: str
  """Of the decoded pixels: finds the same picture in another format or with other metadata."""


def measure(image: Image.Image) -> tuple[ImageStats, np.ndarray]:
  """Measurements and the luminance [H, W] uint8 of an opened image."""
  mode = image.mode
  pixels = np.asarray(image.convert("L" if mode in ("L", "LA", "1") else "RGB"))
  chroma = 0.0
  gray = pixels
  if pixels.ndim == 3:
    coarse = pixels[::4, ::4].astype(np.int16)  # a sixteenth of the pixels is enough
    chroma = float(np.mean(coarse.max(-1) - coarse.min(-1)))
    gray = np.asarray(Image.fromarray(pixels).convert("L"))
  digest = hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).hexdigest()
  size = (gray.shape[0], gray.shape[1])
  return ImageStats(mode, size, float(gray.mean()), float(gray.std()), chroma, digest), gray


def names_digest(names: list[str]) -> str:
  """sha256 of the sorted names, one a line: equal for two lists that name the same images."""
  lines = "".join(f"{name}\n" for name in sorted(names))
  content = lines.encode("utf-8", "surrogateescape")  # as file names that are not UTF-8 come
  return hashlib.sha256(content).hexdigest()
