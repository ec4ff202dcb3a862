"""The sound of a video, copied into another as it is, at its place to the pictures."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tdfusion_jax.fusing.footage.pyav import VideoError, open_file, pyav, reason
from tdfusion_jax.fusing.footage.sources import Footage

# Containers that can say that sound starts before the pictures or after them.
_PLACED = (".mp4", ".mov", ".mkv", ".webm", ".ts")
_EDGE = 0.001  # seconds by which a packet may end before the first picture: rounding
_UNHEARD = 0.045  # seconds that sound may be off in a container without times
_PAUSE = 0.1


class Sound:
  """Sound packets of a source, shifted so that second 0 is that of the first picture.

  Args:
    out: FFmpeg's container that is written; no packet of it has been written yet.
    source: has sound.
    zero: seconds of the source's own clock at which the result begins.
    ending: of the container that is written.
    notes: gets what the user should know.
  """

  def __init__(self, out: Any, source: Footage, zero: float, ending: str, notes: list[str]):
    self._out, self._placed, self._notes = out, ending in _PLACED, notes
    self._name = source.name
    self._stream: Any = None
    self._waiting: Any = None
    self._last: int | None = None
    self._end: float | None = None
    # Opened once more: the packets of one container cannot be read at two places.
    self._file = open_file(Path(source.name))
    stream = self._file.streams.audio[0]
    self._packets = self._placed_packets(stream, zero)
    self._waiting = next(self._packets, None)
    if self._waiting is None:
      notes.append(f"no sound: that of {source.name} ends before the first picture")
      return
    late = float(self._waiting.pts * self._waiting.time_base)
    if not self._placed and late > _UNHEARD:
      notes.append(
        f"no sound: it starts {late:.2f} s after the pictures, which {ending} cannot say; "
        "name an .mkv file"
      )
      return
    problem = _misfit(source, ending)
    if problem:
      codec = stream.codec_context.name
      notes.append(f"no sound: {codec} does not fit an {ending} file ({problem})")
      return
    self._stream = out.add_stream_from_template(stream)
    if len(self._file.streams.audio) > 1:
      notes.append(f"of {len(self._file.streams.audio)} sounds in {source.name} the first is kept")

  def _read(self, stream: Any) -> Iterator[Any]:
    """The packets, up to where the file is damaged."""
    av = pyav()
    try:
      for packet in self._file.demux(stream):
        if packet.dts is not None and packet.pts is not None and packet.size:
          yield packet
    except (av.error.FFmpegError, OSError) as error:
      self._notes.append(f"the sound of {self._name} ends early: {reason(error)}")

  def _placed_packets(self, stream: Any, zero: float) -> Iterator[Any]:
    """Those heard from second 0 on, at their new times."""
    for packet in self._read(stream):
      shift = round(zero / packet.time_base)
      packet.pts -= shift
      packet.dts -= shift
      start = float(packet.pts * packet.time_base)
      length = float((packet.duration or 0) * packet.time_base)
      # One that has begun before is kept where its start can be said, or most of it is heard.
      heard = start + length >= -_EDGE if self._placed else start >= -length / 2
      if not self._placed and packet.dts < 0:  # it would move the pictures
        packet.pts = packet.dts = 0
      if heard and (self._last is None or packet.dts > self._last):
        self._last = packet.dts
        self._watch(start, length)
        yield packet

  def _watch(self, start: float, length: float) -> None:
    """Says of the first pause that it is lost in a container without times."""
    pause = 0.0 if self._end is None else start - self._end
    if not self._placed and pause > _PAUSE:
      self._notes.append(
        f"the sound pauses for {pause:.2f} s at {start:.2f} s, which the file cannot say: it is "
        "early from there on; name an .mkv file"
      )
      self._end = float("inf")  # once is enough
    else:
      self._end = max(self._end or 0.0, start + length)

  def until(self, seconds: float) -> None:
    """Copies what is heard before this time.

    Raises:
      FFmpegError, OSError: it cannot be written.
    """
    while self._stream is not None:
      packet = next(self._packets, None) if self._waiting is None else self._waiting
      self._waiting = None
      if packet is None:
        return
      if float(packet.pts * packet.time_base) >= seconds:
        self._waiting = packet
        return
      packet.stream = self._stream
      self._out.mux(packet)

  def close(self) -> None:
    """Lets go of the source."""
    self._file.close()


def has_sound(source: Footage) -> bool:
  """Whether there is sound that can be copied: of a file."""
  return not source.live and _sounds(source) > 0


def has_live_sound(source: Footage) -> bool:
  """Whether there is sound that comes once only, and is not copied."""
  return source.live and _sounds(source) > 0


def _sounds(source: Footage) -> int:
  return 0 if source.stream is None else len(source.stream.container.streams.audio)


def _misfit(source: Footage, ending: str) -> str:
  """Why the sound does not fit into a container; empty if it does, as a trial shows."""
  av = pyav()
  formats = {".mkv": "matroska", ".ts": "mpegts"}
  try:
    with (
      open_file(Path(source.name)) as file,
      av.open(io.BytesIO(), "w", format=formats.get(ending, ending[1:])) as trial,
    ):
      stream = file.streams.audio[0]
      copy = trial.add_stream_from_template(stream)
      kept = 0
      for packet in file.demux(stream):
        if packet.dts is None or not packet.size:
          continue
        packet.stream = copy
        trial.mux(packet)
        kept += 1
        if kept == 3:
          break
  except (av.error.FFmpegError, VideoError, OSError, ValueError) as error:
    text = str(error)
    return "refused by FFmpeg" if "<none>" in text else text
  return ""
