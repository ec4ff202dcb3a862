"""What the pixels of one image show: hash, brightness, colour."""

import hashlib
from typing import NamedTuple

import numpy as np

from tdfusion_jax.data.images import luminance_of
from tdfusion_jax.images.colour import chroma
from tdfusion_jax.images.stored import Stored

COLOUR = 1.0
"""Mean spread of the three channels, of 255, above which an image counts as coloured."""
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}

IMAGE_HINTS = {
  "unreadable-image": (
    "copy the file again from the original distribution; it is damaged, or no image of a known kind"
  ),
  "bit-depth": (
    "convert to 8 bits, all images of a camera with one fixed range of values, not each with "
    "its own"
  ),
  "no-data": "fill pixels without data (NaN, or GDAL's no-data value) when converting to 8 bits",
  "extra-images": "store the one image of the file that is meant, as a file of its own",
  "dropped-channel": (
    "store the channels that are meant as an image of their own: the picture without alpha, or "
    "the further channel as the infrared image"
  ),
  "false-colours": (
    "use the camera's gray (white hot) or radiometric images: in a rainbow the hottest is not the "
    "brightest"
  ),
  "turned": "nothing: the image is read as viewers show it, and labels must fit it so",
  "preview": "nothing: the first picture of the file is the full one",
  "radiometric": "nothing, or convert the sensor's counts to 8 bits with one fixed range",
  "passed-over": "convert what is an image to PNG, or move away what is none",
}
"""How to repair each kind of finding about images; see `labels.HINTS`."""


class ImageStats(NamedTuple):
  """Measurements of one image."""

  mode: str
  """Channels of the file: L, LA, RGB, RGBA or their number."""
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
  turned: bool = False
  """Whether the file says to turn it, which is done."""


def measure(shown: np.ndarray, stored: Stored) -> tuple[ImageStats, np.ndarray]:
  """Measurements and the luminance [H, W] uint8 of an image.

  Args:
    shown: [H, W, 1 or 3] uint8.
    stored: what the file holds besides.
  """
  channels = stored.array.shape[-1]
  mode = _MODES.get(channels, f"{channels} channels")
  gray = luminance_of(shown)
  pixels = shown[..., 0] if shown.shape[-1] == 1 else shown
  digest = hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).hexdigest()
  stats = ImageStats(
    mode,
    (gray.shape[0], gray.shape[1]),
    mean=float(gray.mean()),
    spread=float(gray.std()),
    chroma=chroma(shown),
    digest=digest,
    turned=stored.turned,
  )
  return stats, gray


def names_digest(names: list[str]) -> str:
  """sha256 of the sorted names, one a line: equal for two lists that name the same images."""
  lines = "".join(f"{name}\n" for name in sorted(names))
  content = lines.encode("utf-8", "surrogateescape")  # as file names that are not UTF-8 come
  return hashlib.sha256(content).hexdigest()
