"""What can be told from the pixels of a pair: hashes, brightness, colour, displacement."""

import hashlib
from typing import NamedTuple

import numpy as np
from PIL import Image

COLOUR = 1.0
"""Mean spread of the three channels, of 255, above which an image counts as coloured."""
_SIDE = 256


class Look(NamedTuple):
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
  """Of the decoded pixels: the same picture in another file format or with other metadata is found.
  """


def look_at(image: Image.Image) -> tuple[Look, np.ndarray]:
  """Measurements and the luminance [H, W] uint8 of an opened image."""
  mode = image.mode
  pixels = np.asarray(image.convert("L" if mode in ("L", "LA", "1") else "RGB"))
  chroma = 0.0
  gray = pixels
  if pixels.ndim == 3:
    coarse = pixels[::4, ::4].astype(np.int16)
    chroma = float(np.mean(coarse.max(-1) - coarse.min(-1)))
    gray = np.asarray(Image.fromarray(pixels).convert("L"))
  digest = hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).hexdigest()
  return Look(
    mode, (gray.shape[0], gray.shape[1]), float(gray.mean()), float(gray.std()), chroma, digest
  ), gray


def displacement(first: np.ndarray, second: np.ndarray) -> tuple[float, float, float]:
  """By how many pixels (down, right) `second` shows what `first` shows, and how sure that is.

  Phase correlation of gradient magnitudes at reduced size, since edges are what both modalities
  share. The third value is the peak's height over the standard deviation of the correlation; below
  about 8 the peak is likely chance. A summary of a whole set means something, a single pair's value
  may not.

  Args:
    first: [H, W] uint8.
    second: [H, W] uint8, same size.
  """
  factor = max(1.0, max(first.shape) / _SIDE)
  size = (max(8, round(first.shape[1] / factor)), max(8, round(first.shape[0] / factor)))
  a, b = (
    _edges(Image.fromarray(image).resize(size, Image.Resampling.BOX)) for image in (first, second)
  )
  product = np.conj(np.fft.rfft2(a)) * np.fft.rfft2(b)
  surface = np.fft.irfft2(product / np.maximum(np.abs(product), 1e-9), s=a.shape)
  row, column = np.unravel_index(int(surface.argmax()), surface.shape)
  down, right = (
    int(v) - n if v > n // 2 else int(v) for v, n in ((row, a.shape[0]), (column, a.shape[1]))
  )
  deviation = float(surface.std())
  return down * factor, right * factor, float(surface.max()) / deviation if deviation else 0.0


def _edges(image: Image.Image) -> np.ndarray:
  values = np.asarray(image, np.float64)
  down, right = np.gradient(values)
  edges = np.hypot(down, right)
  # A window: otherwise the image's own border, the same in both, pins the peak to zero.
  window = np.hanning(values.shape[0])[:, None] * np.hanning(values.shape[1])[None, :]
  return (edges - edges.mean()) * window


def names_digest(names: list[str]) -> str:
  """sha256 of the sorted names, one a line: says whether two lists name the same images."""
  lines = "".join(f"{name}\n" for name in sorted(names))
  return hashlib.sha256(
    lines.encode("utf-8", "surrogateescape")
  ).hexdigest()  # bytes of names that are not UTF-8
