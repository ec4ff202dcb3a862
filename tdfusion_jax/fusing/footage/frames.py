"""One image of a video: its numbers as stored, upright, in the right colours."""

from typing import Any, NamedTuple

import numpy as np

from tdfusion_jax.fusing.footage import colour
from tdfusion_jax.images.scaling import Pixels, Scale, pixels
from tdfusion_jax.images.stored import Stored, picture


class Frame(NamedTuple):
  """One image of a video."""

  seconds: float
  """From the start."""
  stored: Stored
  """In the units of the file, upright."""

  @property
  def array(self) -> np.ndarray:
    """[H, W, C] as stored."""
    return self.stored.array

  def pixels(self, name: str, scale: Scale) -> Pixels:
    """The picture, with the numbers that become 0 and 1.

    Raises:
      ImageError: see `images.scaling.pixels`.
    """
    shown = picture(self.stored, name, scale.channels)
    found = pixels(shown.array, name, scale, most=shown.most, nodata=shown.nodata)
    return found._replace(remarks=tuple(remark.text for remark in shown.remarks))


def upright(array: np.ndarray, frame: Any) -> np.ndarray:
  """`array` [H, W, C] turned and mirrored as players show it, by the frame's display matrix."""
  across, down, turned = _orientation(frame)
  if turned:
    array = array.swapaxes(0, 1)
  if across:
    array = array[:, ::-1]
  if down:
    array = array[::-1]
  return np.ascontiguousarray(array)


def is_turned(frame: Any) -> bool:
  """Whether `upright` makes rows of columns, so that pixel shapes turn too."""
  return _orientation(frame)[2]


def is_tilted(frame: Any) -> bool:
  """Whether it is to be shown at an angle that is no multiple of 90 degrees, which is not done."""
  matrix = _display_matrix(frame)
  return matrix is not None and int(np.count_nonzero(matrix[[0, 1, 3, 4]])) > 2


def _orientation(frame: Any) -> tuple[bool, bool, bool]:
  """(mirrored across, mirrored down, rows and columns exchanged before that)."""
  matrix = _display_matrix(frame)
  if matrix is None or is_tilted(frame):
    return False, False, False
  # A pixel at column p, row q is shown at column a p + c q, row b p + d q.
  a, b, c, d = (int(matrix[i]) for i in (0, 1, 3, 4))
  return (c < 0, b < 0, True) if b and c else (a < 0, d < 0, False)


def _display_matrix(frame: Any) -> np.ndarray | None:
  """Of 3x3 numbers, row by row."""
  for data in frame.side_data:
    if data.type.name == "DISPLAYMATRIX":
      return np.frombuffer(bytes(data), np.int32)
  return None


def stored_of(frame: Any) -> Stored:
  """The picture of a frame as it is stored, upright, and the number of white.

  Gray stays as it is at any depth. Colours become R'G'B' of the file's depth, by the matrix and
  range that the frame states; without a statement by those that players take for its size.

  Raises:
    ValueError, FFmpegError: a form of pixels that cannot be converted.
  """
  array, most = _array_of(frame)
  return Stored(upright(array, frame), array.shape[-1], most=most)


def _array_of(frame: Any) -> tuple[np.ndarray, float | None]:
  parts = frame.format.components
  name, bits = frame.format.name, max((part.bits for part in parts), default=8)
  if name.startswith("grayf"):
    return frame.to_ndarray()[..., None].astype(np.float32, copy=False), None
  if name.startswith("gray"):
    return frame.to_ndarray()[..., None], 2.0**bits - 1
  if name.startswith(("ya", "mono")):  # gray with alpha, and a bit per pixel
    return frame.to_ndarray(format="gray16le" if bits > 8 else "gray")[..., None], None
  matrix = colour.matrix_of(frame)
  if bits <= 8:
    return frame.to_ndarray(format="rgb24", src_colorspace=matrix), 255.0
  bits = min(bits, 16)
  found = frame.to_ndarray(format="rgb48le", src_colorspace=matrix)
  return found >> (16 - bits), 2.0**bits - 1
