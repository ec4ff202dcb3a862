"""The pictures of a video file, address or camera, decoded by FFmpeg."""

import bisect
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from tdfusion_jax.fusing.footage import colour, frames
from tdfusion_jax.fusing.footage.clock import Ascending
from tdfusion_jax.fusing.footage.frames import Frame
from tdfusion_jax.fusing.footage.pyav import VideoError, open_file, pyav, reason
from tdfusion_jax.images.reading import MAX_PIXELS, MAX_SIDE

DEFAULT_RATE = Fraction(25)
# Seconds by which the first picture may follow a file's start and still count as its start: sound
# begins a packet early in most files.
_TOGETHER = 0.1
_REORDERED = 40  # frames by which the order of a file may differ from the order shown; codecs: 16


class Index(NamedTuple):
  """Where the frames of a file are, from its packets; nothing is decoded for it."""

  shown: list[int]
  """When each frame is shown, in units of the file's clock, in that order; all differ."""
  keys: list[tuple[int, int]]
  """(when it is shown, where to seek) of the frames at which decoding can begin, in order."""
  unit: Fraction
  """Of the clock, in seconds."""

  def seconds(self, number: int) -> float:
    """When a frame is shown, by the file's clock, as its decoder says it."""
    return float(self.shown[number]) * float(self.unit.numerator) / float(self.unit.denominator)


class Stream:
  """The pictures of an opened container.

  Args:
    container: FFmpeg's.
    name: for messages.
    live: a camera or address, of which nothing can be read twice.
    camera: a camera of this machine, whose times are the machine's.

  Raises:
    VideoError: it has no pictures, or too large ones.
  """

  def __init__(self, container: Any, name: str, *, live: bool = False, camera: bool = False):
    self.container, self.live, self.camera = container, live or camera, camera
    self.start: float | None = None
    """The time of the file's own clock that counts as 0, known from the first frame on."""
    self.tags: colour.Tags | None = None
    """What the colours are, known from the first frame on."""
    self.aspect: Fraction | None = None
    """Width of a pixel by its height, as shown, where stated; known from the first frame on."""
    self.remarks: dict[str, str] = {}
    """What the user should know, by what it is about."""
    self._name = name
    stream = next((s for s in container.streams.video if not _is_cover(s)), None)
    if stream is None:
      raise VideoError(f"{name} has no video stream.")
    context = stream.codec_context
    if context is None:
      raise VideoError(f"{name}: its pictures are coded in a way that FFmpeg does not know.")
    if context.width * context.height > MAX_PIXELS or max(context.width, context.height) > MAX_SIDE:
      raise VideoError(
        f"{name}: {context.width}x{context.height} pixels, more than the limit of "
        f"{MAX_PIXELS // 10**6} million."
      )
    context.options = {"max_pixels": str(MAX_PIXELS)}
    stream.thread_type = "AUTO"
    self._stream, self._index = stream, stream.index  # a closed container has no index
    rate = stream.average_rate or stream.guessed_rate
    self.rate = rate if rate and 0.001 <= rate <= 100_000 else DEFAULT_RATE
    """Frames per second, the mean."""
    self.total: int | None = stream.frames or None
    """Frames, where the file says."""

  def __iter__(self) -> Iterator[Frame]:
    """Frames in order; VideoError at the first that is damaged, naming its number."""
    av, number, clock = pyav(), 0, Ascending(self.rate)
    try:
      for frame in self.container.decode(self._stream):
        now = clock(frame.time)
        if self.start is None:
          self.start = self._start(now)
        number += 1
        if number == 1:
          self._look_at(frame)
        self._watch(frame, number)
        self._watch_clock(number, clock)
        yield Frame(now - self.start, frames.stored_of(frame))
    except (av.error.FFmpegError, OSError, ValueError) as error:
      raise VideoError(f"{self._name}, frame {number}: {reason(error)}") from error
    if number == 0:
      raise VideoError(f"{self._name} has no frame.")

  def _start(self, first: float) -> float:
    """When the file starts, by its sound or its first picture."""
    start = self.container.start_time
    if start is None or self.live:
      return first
    lead = first - start / 1e6
    if lead < _TOGETHER:
      return first
    self.remarks["lead"] = (
      f"{self._name}: its pictures start {lead:.2f} s after its sound; frames are paired by that, "
      "see --shift"
    )
    return start / 1e6

  def _look_at(self, frame: Any) -> None:
    """What the first frame says about all."""
    self.tags = colour.tags_of(frame, self._stream.codec_context)
    aspect = self._stream.sample_aspect_ratio
    if aspect:
      self.aspect = 1 / aspect if frames.is_turned(frame) else aspect
    if frames.is_tilted(frame):
      self.remarks["tilt"] = f"{self._name} is to be shown at an angle; it is fused as it is stored"
    if frame.interlaced_frame:
      self.remarks["interlaced"] = (
        f"{self._name} is interlaced, and fused so; deinterlace it before, where moving edges look "
        "combed (FFmpeg's filter bwdif)"
      )

  def _watch(self, frame: Any, number: int) -> None:
    if frame.is_corrupt:
      self.remarks.setdefault(
        "damage", f"{self._name}: from frame {number} on the decoder had to mend damaged ones"
      )

  def _watch_clock(self, number: int, clock: Ascending) -> None:
    if clock.jumps:
      self.remarks.setdefault(
        "clock",
        f"{self._name}: the clock jumps back at frame {number}; it goes on at "
        f"{float(self.rate):.4g} frames a second",
      )

  def times(self, path: Path) -> list[float] | None:
    """When each frame is shown, in order, from the first on, without decoding any.

    None where they cannot be known.

    Args:
      path: the file, which is read once more.
    """
    if self.live:
      return None
    found = sorted(float(packet.pts * packet.time_base) for packet in self._packets(path))
    return [seconds - found[0] for seconds in found] or None

  def index(self, path: Path) -> Index | None:
    """Where each frame is; None where its packets do not say when each is shown.

    Args:
      path: the file, which is read once more.
    """
    found = self._packets(path)
    numbers = [packet.pts for packet in found]
    shown = sorted(set(numbers))
    places = {pts: place for place, pts in enumerate(shown)}
    orderly = all(abs(places[pts] - i) <= _REORDERED for i, pts in enumerate(numbers))
    if not found or len(shown) < len(found) or not orderly:  # a clock that stands or jumps
      return None
    keys = sorted((p.pts, p.pts if p.dts is None else p.dts) for p in found if p.is_keyframe)
    return Index(shown, keys, found[0].time_base)

  def _packets(self, path: Path) -> list["_Packet"]:
    """What is known of the packets of pictures that are shown; none where that is not known."""
    if self.live:
      return []
    av, found = pyav(), []
    try:
      with open_file(path) as container:
        for packet in container.demux(container.streams[self._index]):
          if packet.pts is not None and packet.size and not packet.is_discard:
            found.append(_Packet(packet.pts, packet.dts, packet.is_keyframe, packet.time_base))
    except (VideoError, av.error.FFmpegError, OSError, ValueError, LookupError):
      return []  # what is damaged there is told when it is decoded
    return found

  def since(self, index: Index, number: int) -> Iterator[Frame]:
    """Frames from `number` on, counted from 0, as `__iter__` gives them.

    Decoding begins at the key frame before; what is shown earlier is dropped. The first frame of
    the file must have been read once.

    Args:
      index: of this file.
      number: of the first.

    Raises:
      VideoError: one is damaged, or is not where the index says.
    """
    assert self.start is not None
    av = pyav()
    try:
      for frame in self._decoded_since(index, number):
        if frame.pts is not None and frame.pts < index.shown[number]:
          continue
        if frame.pts != index.shown[number]:
          raise VideoError(
            f"{self._name}: frame {number + 1} is not at the time that the file states, so that "
            "the video cannot be divided; fuse it without --shard and --cluster."
          )
        number += 1
        self._watch(frame, number)
        yield Frame(index.seconds(number - 1) - self.start, frames.stored_of(frame))
        if number == len(index.shown):
          return
    except (av.error.FFmpegError, OSError, ValueError) as error:
      if isinstance(error, VideoError):
        raise
      raise VideoError(f"{self._name}, frame {number}: {reason(error)}") from error

  def _decoded_since(self, index: Index, number: int) -> Iterator[Any]:
    """What is decoded from the nearest key frame on that is shown no later than a frame."""
    wanted = index.shown[number]
    last = bisect.bisect_right(index.keys, wanted, key=lambda key: key[0])
    # Where a container seeks to is its own affair: what is too late is tried again from earlier.
    for _, place in reversed(index.keys[:last]):
      self.container.seek(place, stream=self._stream)
      begun = False
      for packet in self.container.demux(self._stream):
        if not begun and not packet.is_keyframe:
          continue
        if not begun and (packet.pts is None or packet.pts > wanted):
          break
        begun = True
        yield from packet.decode()
      if begun:
        return


class _Packet(NamedTuple):
  pts: int
  dts: int | None
  is_keyframe: bool
  time_base: Fraction


def _is_cover(stream: Any) -> bool:
  """Whether it is a still picture that players show beside the sound."""
  disposition = stream.disposition
  return bool(disposition & type(disposition).attached_pic)
