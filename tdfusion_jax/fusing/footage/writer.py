"""Video files, to be written.

Needs PyAV (FFmpeg).
"""

from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tdfusion_jax.fusing.footage import colour
from tdfusion_jax.fusing.footage.clock import FINE, avi_rate, fitted
from tdfusion_jax.fusing.footage.pairing import Pairing
from tdfusion_jax.fusing.footage.pyav import VideoError, open_file, pyav, reason
from tdfusion_jax.fusing.footage.sound import Sound, has_live_sound, has_sound
from tdfusion_jax.fusing.footage.sources import Footage

_LARGEST = 2**31 - 1  # of FFmpeg's fractions
CODECS = {
  ".mp4": ("libx264", {"crf": "18"}),
  ".mov": ("libx264", {"crf": "18"}),
  ".mkv": ("libx264", {"crf": "18"}),
  ".avi": ("mpeg4", {"qscale": "3"}),
  ".webm": ("libvpx-vp9", {"crf": "24", "b": "0", "deadline": "realtime"}),
  ".ts": ("libx264", {"crf": "18"}),
}
_NOT_COPIED = (
  "encoder",
  "major_brand",
  "minor_version",
  "compatible_brands",
  "duration",
  "timecode",
)


SEGMENT = "tdfusion_segment"
"""The name under which a segment's file has what it says of itself."""
_IN_BAND = (".avi", ".ts")  # containers whose pictures carry the decoder's settings themselves
_B_FRAMES = 2  # x264's delay, with B-frames that others refer to
_GLOBAL_HEADER = 1 << 22  # FFmpeg's flag of the contrary


class Place(NamedTuple):
  """What a result takes over from its sources."""

  ir: Footage
  vi: Footage
  pairing: Pairing
  """Has given a pair already."""
  name: Path
  """Under which the result will appear; for messages."""


class Writer:
  """A video file, with the sound of one of the sources.

  Colours are coded by the matrix that the file states, which is the visible video's, or else the
  one that players take for a file of this size.

  Args:
    path: what is written.
    size: height and width of all frames.
    place: what is taken over; the visible video's sound if it has any, else infrared's. The ending
      of its name, one of `CODECS`, decides how pictures are coded.
    notes: gets what the user should know.
    segment: of a part that is joined with others later: what its file says of itself. It has no
      sound.

  Raises:
    VideoError: it cannot be written.
  """

  def __init__(
    self, path: Path, size: tuple[int, int], place: Place, notes: list[str], segment: str = ""
  ):
    self._av, self._place = pyav(), place
    self._ending = place.name.suffix.lower()
    # Colour at half resolution is what every player reads; it needs even sizes.
    height, width = (side + side % 2 for side in size)
    if size[0] % 2 or size[1] % 2:
      notes.append("the last row or column is doubled, since video files need even sizes")
    self._tags = _tags(place.vi, height, width, self._ending, notes)
    rate = place.pairing.rate
    self._rate = fitted(rate, _LARGEST)
    self._ticks = FINE
    if self._ending == ".avi":
      self._rate = avi_rate(rate, place.pairing.times())
      if self._rate != fitted(rate):
        notes.append(
          "an .avi file has one rate: frames are shown to within 5 ms, at "
          f"{float(self._rate):.4g} a second with empty ones between them"
        )
      self._ticks = 1 / self._rate
    self._last, self._sound = -1, None
    try:
      # Segments keep their times to the tick, also where decoding begins before 0.
      how = {"avoid_negative_ts": "disabled"} if segment else {}
      self._out = self._av.open(str(path), "w", options=how)
      self._stream = self._add_stream(height, width)
      if segment:
        self._out.metadata[SEGMENT] = segment
      else:
        self._out.metadata.update(_metadata(place.vi))
        self._sound = self._add_sound(notes)
      self._out.start_encoding()
    except (self._av.error.FFmpegError, OSError, ValueError) as error:
      raise self._failed(error) from error

  def _add_stream(self, height: int, width: int) -> Any:
    codec, options = CODECS[self._ending]
    stream = self._out.add_stream(codec, rate=self._rate, options=options)
    stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
    context = stream.codec_context
    context.time_base = self._ticks
    if self._ending in _IN_BAND:  # also in a segment, whose container would have it elsewhere
      context.flags &= ~_GLOBAL_HEADER
    context.colorspace, context.color_range = self._tags.matrix, colour.LIMITED
    context.color_primaries, context.color_trc = self._tags.primaries, self._tags.transfer
    aspect = self._place.vi.stream and self._place.vi.stream.aspect
    if aspect:
      context.sample_aspect_ratio = aspect
    return stream

  def _add_sound(self, notes: list[str]) -> Sound | None:
    for key, source in (("vi", self._place.vi), ("ir", self._place.ir)):
      if not has_sound(source):
        continue
      assert source.stream is not None and source.stream.start is not None
      zero = source.stream.start + self._place.pairing.zero[key]
      return Sound(self._out, source, zero, self._ending, notes)
    if any(has_live_sound(source) for source in (self._place.vi, self._place.ir)):
      notes.append("no sound: that of an address is not recorded")
    return None

  def add(self, image: np.ndarray, seconds: float) -> None:
    """The next frame, [H, W, 1 or 3] uint8, shown from `seconds` on, and the sound meanwhile.

    Raises:
      VideoError: it cannot be written.
    """
    height, width = image.shape[:2]
    if height % 2 or width % 2:
      image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    if image.shape[-1] == 1:
      image = np.repeat(image, 3, axis=-1)
    frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    frame = frame.reformat(
      format="yuv420p", dst_colorspace=self._tags.scaler, dst_color_range=colour.LIMITED
    )
    self._last = max(self._last + 1, round(seconds / self._ticks))
    frame.pts, frame.time_base = self._last, self._ticks
    try:
      self._mux(self._stream.encode(frame), seconds)
    except (self._av.error.FFmpegError, OSError, ValueError) as error:
      raise self._failed(error) from error

  def _mux(self, packets: Any, seconds: float) -> None:
    """Pictures up to one that is shown from `seconds` on, and the sound meanwhile."""
    self._out.mux(packets)
    if self._sound is not None:
      self._sound.until(seconds + float(1 / self._place.pairing.rate))

  @property
  def ticks(self) -> Fraction:
    """The unit of the times of `copy`, in seconds."""
    return self._ticks

  @property
  def delay(self) -> int:
    """Pictures that one may have to wait for others before it can be shown."""
    return _B_FRAMES if self._stream.codec_context.has_b_frames else 0

  @property
  def settings(self) -> bytes:
    """What a decoder needs beside the pictures; empty where they carry it themselves."""
    own = self._ending not in _IN_BAND and self._stream.codec_context.extradata
    return bytes(own or b"")

  def copy(self, packet: Any, pts: int, dts: int) -> None:
    """The next coded picture, as `add` of another writer has coded it.

    Args:
      packet: of a segment.
      pts: when it is shown, in `ticks`.
      dts: its place in the file, likewise.

    Raises:
      VideoError: it cannot be written.
    """
    packet.stream = self._stream
    packet.pts, packet.dts, packet.time_base = pts, dts, self._ticks
    packet.duration = 0  # until the next, as the encoder leaves it
    try:
      self._mux(packet, float(pts * self._ticks))
    except (self._av.error.FFmpegError, OSError, ValueError) as error:
      raise self._failed(error) from error

  def close(self) -> None:
    """Writes what is still to come; the file is complete and can be opened.

    Raises:
      VideoError: it cannot be written, or not be read back.
    """
    try:
      try:
        self._out.mux(self._stream.encode(None))
      finally:
        self._out.close()
        if self._sound is not None:
          self._sound.close()
    except (self._av.error.FFmpegError, OSError, ValueError) as error:
      raise self._failed(error) from error

  def _failed(self, error: Exception) -> VideoError:
    return VideoError(f"{self._place.name} cannot be written: {reason(error)}")


def check_playable(path: Path) -> None:
  """Raises unless a video file has a frame that can be decoded.

  Raises:
    VideoError: it has none.
  """
  av = pyav()
  try:
    with open_file(path) as container:
      next(container.decode(container.streams.video[0]))
  except (av.error.FFmpegError, OSError, ValueError, IndexError, StopIteration) as error:
    raise VideoError("what was written cannot be read back") from error


def _tags(vi: Footage, height: int, width: int, ending: str, notes: list[str]) -> colour.Tags:
  """What is stated of the result's colours; players guess those of an .avi file."""
  plain = colour.untagged(height, width)
  stated = None if vi.stream is None else vi.stream.tags
  if stated is None:
    return plain
  if ending == ".avi":
    if stated.primaries == 9:
      notes.append("the wide colours (BT.2020) cannot be stated in an .avi file")
    return plain
  return stated


def _metadata(vi: Footage) -> dict[str, str]:
  """Title, time, place and whatever else the visible video says of itself."""
  if vi.stream is None:
    return {}
  found = vi.stream.container.metadata
  return {key: value for key, value in found.items() if key.lower() not in _NOT_COPIED}
