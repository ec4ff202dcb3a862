"""The pictures of a video file, address or camera, decoded by FFmpeg."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from tdfusion_jax.fusing.footage import colour, frames
from tdfusion_jax.fusing.footage.clock import Ascending
from tdfusion_jax.fusing.footage.frames import Frame
from tdfusion_jax.fusing.footage.pyav import VideoError, open_file, pyav, reason
from tdfusion_jax.images.reading import MAX_PIXELS, MAX_SIDE

DEFAULT_RATE = Fraction(25)
# Seconds by which the first picture may follow a file's start and still count as its start: sound
# begins a packet early in most files.
_TOGETHER = 0.1


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
        self._watch(frame, number, clock)
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

  def _watch(self, frame: Any, number: int, clock: Ascending) -> None:
    if frame.is_corrupt:
      self.remarks.setdefault(
        "damage", f"{self._name}: from frame {number} on the decoder had to mend damaged ones"
      )
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
    av, found = pyav(), []
    try:
      with open_file(path) as container:
        for packet in container.demux(container.streams[self._index]):
          if packet.pts is not None and packet.size and not packet.is_discard:
            found.append(float(packet.pts * packet.time_base))
    except (VideoError, av.error.FFmpegError, OSError, ValueError, LookupError):
      return None  # what is damaged there is told when it is decoded
    found.sort()
    return [seconds - found[0] for seconds in found] or None


def _is_cover(stream: Any) -> bool:
  """Whether it is a still picture that players show beside the sound."""
  disposition = stream.disposition
  return bool(disposition & type(disposition).attached_pic)
