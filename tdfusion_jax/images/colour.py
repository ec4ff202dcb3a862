"""Whether an image is coloured: thermal images in false colours lose their temperatures."""

import numpy as np

from tdfusion_jax.images.scaling import Pixels

FALSE_COLOURS = 4.0
"""Mean spread of the three channels, of 255, above which a thermal image is in false colours: the
colour noise of a gray JPEG stays below 2."""


def chroma(array: np.ndarray) -> float:
  """Mean spread of the channels of [H, W, 1 or 3] uint8: largest minus smallest, 0 for gray."""
  if array.shape[-1] == 1:
    return 0.0
  coarse = array[::4, ::4].astype(np.int16)  # a sixteenth of the pixels is enough
  return float(np.mean(coarse.max(-1) - coarse.min(-1)))


def spread_of(image: Pixels) -> float:
  """`chroma` of an image in its file's own numbers."""
  if image.array.shape[-1] == 1:
    return 0.0
  coarse = image._replace(array=image.array[::4, ::4])
  return float(np.mean(np.ptp(coarse.whole(), axis=-1))) * 255


def false_colours(spread: float, name: str) -> str:
  """What is wrong with an infrared image of this chroma; empty if nothing is."""
  if spread <= FALSE_COLOURS:
    return ""
  return (
    f"{name}: in colours (mean spread of the channels {spread:.0f} of 255): if they stand for "
    "temperatures, brightness does not; use the camera's gray (white hot) or radiometric image"
  )
