"""Images written whole or not at all."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tdfusion_jax.files import atomic_write, reason
from tdfusion_jax.images.encoding import WRITERS
from tdfusion_jax.images.opening import ImageError
from tdfusion_jax.images.origin import Origin

_JPEG = (".jpg", ".jpeg")
_MOST_EXIF = 65_533 - 6  # bytes: JPEG counts a segment's in 16 bits


def write_image(
  path: str | Path,
  image: np.ndarray,
  *,
  dtype: type = np.uint8,
  origin: Origin = Origin(),  # noqa: B008
) -> None:
  """Writes an image, whole or not at all.

  Args:
    path: its ending chooses the format.
    image: [H, W, 1] or [H, W, 3]: of `dtype` as it is, or [0, 1] to be `quantised`.
    dtype: uint8; uint16 for .png and .tif; float32 for .tif.
    origin: what the file shall say besides its pixels, as far as the format has a place for it.

  Raises:
    ImageError: it could not be written.
  """
  path = Path(path)
  stored = image if image.dtype == dtype and image.dtype != np.float32 else quantised(image, dtype)
  suffix = path.suffix.lower()
  ours = WRITERS.get(suffix) if dtype != np.uint8 or suffix in (".tif", ".tiff") else None
  if ours is None and dtype != np.uint8:
    raise ImageError(f"{path}: {suffix} has 8 bits; name a .png or .tif file for more.")
  try:
    with atomic_write(path) as temporary:
      if ours is None:
        temporary.write_bytes(_by_pillow(suffix, stored, origin))
      else:
        with temporary.open("wb") as file:
          ours(file, stored, origin)
  except OSError as error:
    raise ImageError(f"{path} cannot be written: {reason(error)}") from error


def _by_pillow(suffix: str, image: np.ndarray, origin: Origin) -> bytes:
  """A file's bytes: Pillow, writing them itself, has no words for a full disk."""
  channels = image.shape[-1]
  about: dict[str, Any] = {}
  if exif := origin.exif():
    about["exif"] = exif
  if profile := origin.profile_of(channels):
    about["icc_profile"] = profile
  if suffix in _JPEG:
    if len(exif) > _MOST_EXIF:
      del about["exif"]
    about |= {"quality": 95, "subsampling": 0}
  # Pillow's own level 6 takes three times as long for files 4 % smaller.
  about |= {"format": _format_of(suffix), "compress_level": 3}
  file = io.BytesIO()
  Image.fromarray(image[..., 0] if channels == 1 else image).save(file, **about)
  return file.getvalue()


def _format_of(suffix: str) -> str:
  Image.preinit()  # the usual formats; all of them take longer to load than an image to be written
  return Image.EXTENSION.get(suffix) or Image.registered_extensions()[suffix]


def quantised(image: np.ndarray, dtype: type = np.uint8) -> np.ndarray:
  """[0, 1] as whole numbers of all `dtype`'s bits, rounded and clipped; or clipped float32."""
  unit = np.clip(image, 0, 1)
  if np.dtype(dtype).kind == "f":
    return unit.astype(dtype)
  return np.round(unit * np.iinfo(dtype).max).astype(dtype)


def to_bytes(image: np.ndarray) -> np.ndarray:
  """[0, 1] as uint8, rounded and clipped."""
  return quantised(image)
