"""Images read for fusion: any kind of file as [0, 1], or as stored and converted later."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from tdfusion_jax.images.kinds import image_size as image_size
from tdfusion_jax.images.kinds import read_stored
from tdfusion_jax.images.opening import MAX_PIXELS as MAX_PIXELS
from tdfusion_jax.images.opening import MAX_SIDE as MAX_SIDE
from tdfusion_jax.images.opening import ImageError as ImageError
from tdfusion_jax.images.opening import check_size, named
from tdfusion_jax.images.orientation import TAG
from tdfusion_jax.images.plain import of_pillow
from tdfusion_jax.images.scaling import LINEAR, Pixels, Scale, pixels
from tdfusion_jax.images.scaling import parse_scale as parse_scale
from tdfusion_jax.images.scaling import to_unit as to_unit
from tdfusion_jax.images.stored import picture


def read_image(path: str | Path, scale: Scale = LINEAR) -> np.ndarray:
  """[H, W, 1] or [H, W, 3] float32 in [0, 1] from a file.

  Gray files stay gray, colour and palette become RGB; further channels are left out, and the image
  stands upright (`read_pixels` says what was left out).

  Args:
    path: any of `listing.EXTENSIONS`, whatever it is called.
    scale: by default 8 bits are divided by 255, more whole bits by 65535 or by the largest number
      that the file's form allows, and floats must lie in [0, 1].

  Raises:
    ImageError: missing, damaged, no regular file, larger than 200 megapixels, stored in a way that
      cannot be read in full, no-data values that `scale` does not fill, or values that it does not
      fit.
  """
  return read_pixels(path, scale).whole()


def read_pixels(path: str | Path, scale: Scale = LINEAR) -> Pixels:
  """`read_image` without converting: a quarter of the memory for 8 bits."""

  def work() -> Pixels:
    stored = read_stored(path, counts=scale.counts, celsius=scale.celsius)
    shown = picture(stored, str(path), scale.channels)
    found = pixels(shown.array, str(path), scale, most=shown.most, nodata=shown.nodata)
    return found._replace(remarks=tuple(remark.text for remark in shown.remarks))

  return named(path, work)


def from_pil(image: Image.Image, name: str, scale: Scale = LINEAR) -> np.ndarray:
  """A PIL image as `read_image` gives it; `name` is for errors. The image itself stays as it is."""
  check_size(*image.size, name)
  if image.getexif().get(TAG, 1) != 1:
    image = ImageOps.exif_transpose(image)
  stored = picture(of_pillow(image, name), name, scale.channels)
  return pixels(stored.array, name, scale).whole()
