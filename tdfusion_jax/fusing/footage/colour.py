"""Which matrix makes colours of a video's numbers, and what the result says of its own."""

from typing import Any, NamedTuple

_UNKNOWN = 2
# FFmpeg's numbers of matrices (ITU-T H.273): the one that its scaler converts by.
_SCALER = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}
_BT709, _BT601, _BT2020 = 1, 6, 9
_PRIMARIES = frozenset((1, 4, 5, 6, 7, 8, 9, 10, 11, 12, 22))
_TRANSFERS = frozenset((1, *range(4, 19)))
LIMITED = 1  # FFmpeg's number of the range from 16 to 235


class Tags(NamedTuple):
  """How the numbers of a video are colours: FFmpeg's numbers, which are those of ITU-T H.273."""

  matrix: int
  primaries: int = _UNKNOWN
  transfer: int = _UNKNOWN

  @property
  def scaler(self) -> int:
    """The matrix by the number that FFmpeg's scaler has for it."""
    return _SCALER[self.matrix]


def guess(height: int, width: int) -> int:
  """The matrix that players take where a file states none: BT.709 for HD, BT.601 below."""
  return _BT709 if width >= 1280 or height > 576 else _BT601


def matrix_of(frame: Any) -> int:
  """The scaler's number of the matrix that a frame is coded by."""
  stated = int(frame.colorspace)
  if stated in _SCALER:
    return _SCALER[stated]
  return _SCALER[guess(frame.height, frame.width)]


def tags_of(frame: Any, context: Any) -> Tags:
  """What the result of fusing this visible frame should state.

  Args:
    frame: the first one.
    context: of its decoder.
  """
  stated = int(frame.colorspace)
  matrix = stated if stated in _SCALER else guess(frame.height, frame.width)
  if matrix == 10:  # constant luminance, which the scaler has no way back to
    matrix = _BT2020
  primaries, transfer = int(context.color_primaries), int(context.color_trc)
  return Tags(
    matrix,
    primaries if primaries in _PRIMARIES else _UNKNOWN,
    transfer if transfer in _TRANSFERS else _UNKNOWN,
  )


def untagged(height: int, width: int) -> Tags:
  """Of a file that cannot state anything, or pictures that state nothing."""
  return Tags(guess(height, width))
