"""Images that Pillow opens, in all their bits."""

import io
import struct
import zlib
from typing import cast

import numpy as np
from PIL import Image, ImageFile

from tdfusion_jax.images.opening import ImageError, open_unchecked
from tdfusion_jax.images.orientation import file_of, orientation_of, turn
from tdfusion_jax.images.stored import Remark, Stored

_CONVERTED = {
  "1": "L",
  "La": "LA",
  "P": "RGB",
  "PA": "RGBA",
  "RGBa": "RGBA",
  "RGBX": "RGB",
  "CMYK": "RGB",
  "YCbCr": "RGB",
}
"""What becomes of modes that are not taken as they are."""
_KEPT = ("L", "LA", "RGB", "RGBA", "I", "F")


def read_plain(image: Image.Image, name: str, *, indices: bool, gray: bool) -> Stored:
  """All that an opened file stores, upright.

  Args:
    image: not decoded yet.
    name: for messages.
    indices: of a palette the indices in place of the colours.
    gray: of colours of 8 bits their luminance (BT.601), as Pillow computes it.

  Raises:
    ImageError: it stores more than can be read.
  """
  orientation = orientation_of(image)
  depth = _depth(image)
  if depth > 8 and image.format in ("AVIF", "JPEG2000") and image.mode != "I;16":
    raise ImageError(
      f"{name}: {depth} bits per channel, of which Pillow would give 8; convert it to a 16-bit PNG "
      "or TIFF."
    )
  if image.format == "PNG" and depth == 16 and image.mode in ("RGB", "RGBA"):
    stored = _deep_png(image)
  else:
    stored = of_pillow(image, name, indices=indices, gray=gray)
  if image.format == "JPEG2000" and depth > 8:
    # Pillow shifts the numbers up to 16 bits.
    stored = stored._replace(array=stored.array >> (16 - depth), most=2.0**depth - 1)
  return stored._replace(
    array=turn(stored.array, orientation),
    turned=orientation != 1,
    remarks=_further_images(image, name),
  )


def of_pillow(
  image: Image.Image, name: str, *, indices: bool = False, gray: bool = False
) -> Stored:
  """The numbers of an image in Pillow's own mode, as it lies; see `read_plain`."""
  mode = image.mode
  if indices and mode in ("1", "P"):
    return Stored(np.asarray(image).astype(np.uint8)[..., None], 1)
  if mode == "P" and "transparency" in image.info:
    image = image.convert("RGBA")
  elif mode in _CONVERTED:
    image = image.convert(_CONVERTED[mode])
  elif mode not in _KEPT and not mode.startswith("I;16"):
    raise ImageError(f"{name}: colours of the kind {mode} are not read; convert it to RGB.")
  if gray and image.mode == "RGB":
    image = image.convert("L")
  array = np.asarray(image)
  array = array if array.ndim == 3 else array[..., None]
  return Stored(array, 3 if array.shape[-1] > 2 else 1)


def _depth(image: Image.Image) -> int:
  """Bits per channel, of the formats that may have more than Pillow's mode says."""
  if image.format == "PNG":
    head = _head(image, 26)
    return head[24] if len(head) == 26 and head[12:16] == b"IHDR" else 8
  if image.format == "JPEG2000":
    head = _head(image, 4096)
    start = head.find(b"\xff\x4f\xff\x51")  # the codestream begins with its sizes
    channels = head[start + 42 : start + 42 + 3 * 16 : 3] if start >= 0 else b""
    count = struct.unpack_from(">H", head, start + 40)[0] if len(channels) else 0
    return max(((depth & 127) + 1 for depth in channels[:count]), default=8)
  if image.format == "AVIF":
    head = _head(image, 1 << 16)
    start = head.find(b"av1C")
    if 0 <= start < len(head) - 6:
      flags = head[start + 6]
      return (12 if flags & 0x20 else 10) if flags & 0x40 else 8
  return 8


def _head(image: Image.Image, size: int) -> bytes:
  file = file_of(image)
  if file is None:
    return b""
  here = file.tell()
  try:
    file.seek(0)
    return file.read(size)
  finally:
    file.seek(here)


def _deep_png(image: Image.Image) -> Stored:
  """16 bits of a colour PNG, or of gray and alpha, of which Pillow's own modes keep 8.

  Its decoder is asked for the first byte of every number, and then for the second.
  """
  file = file_of(image)
  assert file is not None
  file.seek(0)
  content = file.read()
  if content[25] == 4:  # gray and alpha: four bytes a pixel, as of 8-bit RGBA
    head = content[16:24] + b"\x08\x06" + content[26:29]
    check = struct.pack(">I", zlib.crc32(b"IHDR" + head))
    whole = io.BytesIO(content[:16] + head + check + content[33:])
    with open_unchecked(whole) as opened:
      byte = np.asarray(opened)
    return Stored(byte.view(">u2").astype(np.uint16), 1)
  halves = []
  for order in "BL":
    with open_unchecked(io.BytesIO(content)) as opened:
      coded = cast(ImageFile.ImageFile, opened)
      coded.tile = [tile._replace(args=f"{coded.mode};16{order}") for tile in coded.tile]
      halves.append(np.asarray(opened).astype(np.uint16))
  return Stored(halves[0] << 8 | halves[1], 3)


def _further_images(image: Image.Image, name: str) -> tuple[Remark, ...]:
  count = getattr(image, "n_frames", 1)
  if count < 2:
    return ()
  if image.format == "MPO":  # a camera's preview or second view; the first is the picture
    text = f"{name}: holds {count} pictures; the first is read"
    return (Remark("preview", text),)
  text = f"{name}: holds {count} images; the first is read (tdfusion video reads all)"
  return (Remark("extra-images", text),)
