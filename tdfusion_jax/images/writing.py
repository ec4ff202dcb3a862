"""Images written whole or not at all."""

from pathlib import Path

import numpy as np
from PIL import Image

from tdfusion_jax.files import atomic_write, in_words
from tdfusion_jax.images.reading import ImageError


def write_image(path: str | Path, image: np.ndarray) -> None:
  """Writes an image as 8 bits, whole or not at all.

  Args:
    path: its ending chooses the format.
    image: [H, W, 1] or [H, W, 3]: uint8 as it is, or [0, 1] to be rounded and clipped.

  Raises:
    ImageError: it could not be written.
  """
  path = Path(path)
  byte = image if image.dtype == np.uint8 else to_bytes(image)
  if byte.shape[-1] == 1:
    byte = byte[..., 0]
  try:
    with atomic_write(path) as temporary:
      # Pillow's own level 6 takes three times as long for files 4 % smaller.
      Image.fromarray(byte).save(temporary, compress_level=3)
  except OSError as error:
    raise ImageError(f"{path} cannot be written: {in_words(error)}") from error


def to_bytes(image: np.ndarray) -> np.ndarray:
  """[0, 1] as uint8, rounded and clipped."""
  return np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
