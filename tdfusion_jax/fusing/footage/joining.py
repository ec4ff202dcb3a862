"""Segments of one video joined into a file: coded pictures are copied, none is coded again.

Needs PyAV (FFmpeg).
"""

import json
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from tdfusion_jax.fusing.footage.pyav import VideoError, open_file, pyav, reason
from tdfusion_jax.fusing.footage.writer import SEGMENT, Writer


def read_about(file: Path) -> dict[str, Any]:
  """What a segment says of itself.

  Raises:
    VideoError: it cannot be read, or is none.
  """
  with open_file(file) as container:
    text = container.metadata.get(SEGMENT, "")
  try:
    found = json.loads(text)
  except ValueError:
    found = None
  if not isinstance(found, dict):
    raise VideoError(f"{file} is no segment of a video; remove it, and start its shard again.")
  return found


def join(writer: Writer, files: Sequence[Path], frames: Sequence[int]) -> None:
  """Copies the pictures of segments.

  Args:
    writer: of the whole; nothing has been written yet.
    files: segments, in order.
    frames: that each has.

  Raises:
    VideoError: a segment is damaged, or has other pictures than it should, or was coded in a way
      that cannot be joined; the whole cannot be written.
  """
  coded = []  # when each is shown, in the order of the file
  for file, count in zip(files, frames, strict=True):
    own = [_ticks(packet, writer.ticks) for packet in _packets(file, writer.settings)]
    if len(own) != count or len(set(own)) != count:
      raise VideoError(
        f"{file} has {len(own)} frames in place of {count}; remove it, and start its shard again."
      )
    coded.append(own)
  shown = iter(_ascending([sorted(own) for own in coded]))
  times = [dict(zip(sorted(own), shown, strict=False)) for own in coded]
  order = [of[pts] for own, of in zip(coded, times, strict=True) for pts in own]
  places = iter(_places(order, writer.delay))
  for file, of in zip(files, times, strict=True):
    for packet in _packets(file, writer.settings):
      writer.copy(packet, of[_ticks(packet, writer.ticks)], next(places))


def _ascending(blocks: Sequence[Sequence[int]]) -> list[int]:
  """Times of frames, moved on where one would not be after the last, as `Writer.add` does."""
  found: list[int] = []
  for block in blocks:
    for time in block:
      found.append(max(found[-1] + 1, time) if found else time)
  return found


def _places(order: Sequence[int], least: int) -> list[int]:
  """The decoding times of pictures: rising, and none after its picture is shown.

  As x264 has them: the times of all pictures in the order shown, later by as many pictures as one
  may have to wait for others.

  Args:
    order: when each is shown, in the order of the file.
    least: pictures that the codec says one may have to wait.
  """
  shown = sorted(order)
  rank = {time: number for number, time in enumerate(shown)}
  wait = max((number - rank[time] for number, time in enumerate(order)), default=0)
  wait = min(max(wait, least), len(shown) - 1)
  before = [time - (shown[wait] - shown[0]) for time in shown[:wait]]
  return before + shown[: len(shown) - wait]


def _ticks(packet: Any, unit: Fraction) -> int:
  return round(packet.pts * packet.time_base / unit)


def _packets(file: Path, settings: bytes) -> Iterator[Any]:
  """The coded pictures of a segment; the first is a key frame.

  Args:
    file: the segment.
    settings: what a decoder of the whole will have.
  """
  av = pyav()
  try:
    with open_file(file) as container:
      stream = container.streams.video[0]
      if settings and bytes(stream.codec_context.extradata or b"") != settings:
        raise VideoError(
          f"{file} was coded by another version of FFmpeg or x264 than the one here; install the "
          "same version of PyAV on all machines."
        )
      for packet in container.demux(stream):
        if packet.size and packet.pts is not None:
          yield packet
  except (av.error.FFmpegError, OSError, ValueError, LookupError) as error:
    if isinstance(error, VideoError):
      raise
    raise VideoError(f"{file} cannot be read: {reason(error)}") from error
