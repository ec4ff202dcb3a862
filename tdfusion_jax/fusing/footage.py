"""Video files, folders of frames and cameras, to be read; video files, to be written.

Needs PyAV (FFmpeg).
"""

import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tdfusion_jax.images.listing import EXTENSIONS
from tdfusion_jax.images.reading import ImageError, Scale, read_pixels

_DEFAULT_RATE = Fraction(25)
_TICKS = Fraction(1, 90000)  # of a second: frame times that fit all usual rates
_AS_STORED = Scale("range", 0, 1)  # the numbers are not looked at yet

CODECS = {
  ".mp4": ("libx264", {"crf": "18"}),
  ".mov": ("libx264", {"crf": "18"}),
  ".mkv": ("libx264", {"crf": "18"}),
  ".avi": ("mpeg4", {"qscale": "3"}),
  ".webm": ("libvpx-vp9", {"crf": "24", "b": "0", "deadline": "realtime"}),
}


class VideoError(ImageError):
  """A video that cannot be read or written, and why."""


def _pyav() -> Any:
  try:
    import av
  except ImportError:
    raise VideoError("videos need PyAV: pip install 'tdfusion-jax[video]'") from None
  return av


class Frame(NamedTuple):
  """One image of a video."""

  seconds: float
  """From the start."""
  array: np.ndarray
  """[H, W, 1 or 3] uint8 or uint16."""


class Footage:
  """Frames of a video file, of a camera, or of a folder of images by names and numbers in them.

  Args:
    source: a file, a folder, or a camera's number (as text).
    rate: frames per second of a folder; None: 25.

  Raises:
    VideoError: it cannot be opened, or PyAV is missing.
  """

  def __init__(self, source: str | Path, rate: float | None = None):
    self.name = str(source)
    self._container: Any = None
    self._files: list[Path] = []
    self.total: int | None = None
    """Frames, where known."""
    path = Path(source)
    if path.is_dir():
      found = [
        p for p in path.iterdir() if p.suffix.lower() in EXTENSIONS and not p.name.startswith(".")
      ]
      self._files = sorted(found, key=_by_number)
      if not self._files:
        raise VideoError(f"{path} holds no image ({', '.join(EXTENSIONS)}).")
      if rate is not None and not 0.01 <= rate <= 1000:
        raise VideoError(f"{rate:g} frames per second: from 0.01 to 1000.")
      self.rate = _DEFAULT_RATE if rate is None else Fraction(rate).limit_denominator(1001)
      self.total = len(self._files)
      return
    camera = self.name.isdecimal() and not path.exists()
    if not camera and not path.is_file():
      raise VideoError(f"{path} does not exist.")
    av = _pyav()
    try:
      self._container = (
        av.open(f"/dev/video{source}", format="v4l2") if camera else av.open(str(path))
      )
      self._stream = self._container.streams.video[0]
    except IndexError:
      raise VideoError(f"{path} has no video stream.") from None
    except (av.error.FFmpegError, OSError, ValueError) as error:
      raise VideoError(
        f"{source} cannot be opened as {'a camera' if camera else 'a video'}: {error}"
      ) from error
    self._stream.thread_type = "AUTO"
    self.rate = self._stream.average_rate or self._stream.guessed_rate or _DEFAULT_RATE
    self.total = self._stream.frames or None

  @property
  def names(self) -> list[str]:
    """Of the frames in a folder, without endings; of a file or camera, none."""
    return [file.stem for file in self._files]

  def holds(self, path: Path) -> bool:
    """Whether `path` is this file, or lies in this folder."""
    own, path = Path(self.name).resolve(), path.resolve()
    return own in (path, path.parent) or (path.exists() and own.exists() and own.samefile(path))

  def __iter__(self) -> Iterator[Frame]:
    """Frames in order; VideoError at the first that is damaged, naming its number."""
    if self._container is None:
      for number, file in enumerate(self._files):
        yield Frame(float(number / self.rate), read_pixels(file, _AS_STORED).array)
      return
    av, number = _pyav(), 0
    try:
      for frame in self._container.decode(self._stream):
        yield Frame(
          frame.time if frame.time is not None else float(number / self.rate), _array(frame)
        )
        number += 1
    except (av.error.FFmpegError, OSError, ValueError) as error:
      raise VideoError(f"{self.name}, frame {number}: {error}") from error
    if number == 0:
      raise VideoError(f"{self.name} has no frame.")

  def close(self) -> None:
    """Lets go of the file or camera."""
    if self._container is not None:
      self._container.close()


def _by_number(file: Path) -> list:
  """frame2 before frame10."""
  parts = re.split(r"(\d+)", file.name)
  return [int(part) if part.isdecimal() else part for part in parts]


def _array(frame: Any) -> np.ndarray:
  deep = frame.format.components and frame.format.components[0].bits > 8
  if frame.format.name.startswith("gray"):
    return frame.to_ndarray(format="gray16le" if deep else "gray")[..., None]
  return frame.to_ndarray(format="rgb24")


class Writer:
  """A video file, with the sound of one of the sources.

  Args:
    path: its ending, one of `CODECS`, decides how it is coded.
    size: height and width of all frames.
    vi: gives its sound if it has any, and the frame rate of .avi, which knows no other times.
    ir: gives its sound otherwise.
    notes: gets what the user should know.

  Raises:
    VideoError: it cannot be written.
  """

  def __init__(self, path: Path, size: tuple[int, int], vi: Footage, ir: Footage, notes: list[str]):
    self._av, self.size, self._path, self._rate = _pyav(), size, path, vi.rate
    codec, options = CODECS[path.suffix.lower()]
    try:
      self._out = self._av.open(str(path), "w")
      self._stream = self._out.add_stream(codec, rate=vi.rate, options=options)
    except (self._av.error.FFmpegError, OSError, ValueError) as error:
      raise VideoError(f"{path} cannot be written: {error}") from error
    # Colour at half resolution is what every player reads; it needs even sizes.
    self._stream.height, self._stream.width = (side + side % 2 for side in size)
    self._stream.pix_fmt = "yuv420p"
    if size[0] % 2 or size[1] % 2:
      notes.append("the last row or column is doubled, since video files need even sizes")
    self._ticks = 1 / self._rate if path.suffix.lower() == ".avi" else _TICKS
    self._stream.codec_context.time_base = self._ticks
    self._frames, self._last = 0, -1
    self._sound = _Sound(self._av, self._out, [vi, ir], notes)

  def add(self, image: np.ndarray, seconds: float) -> None:
    """The next frame, [H, W, 1 or 3] uint8, shown from `seconds` on, and the sound meanwhile."""
    height, width = image.shape[:2]
    if height % 2 or width % 2:
      image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    if image.shape[-1] == 1:
      image = np.repeat(image, 3, axis=-1)
    frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    if self._ticks != _TICKS:
      seconds = float(self._frames / self._rate)
    self._last = max(self._last + 1, round(seconds / self._ticks))
    frame.pts, frame.time_base = self._last, self._ticks
    self._frames += 1
    try:
      self._out.mux(self._stream.encode(frame))
      self._sound.until(seconds + float(1 / self._rate))
    except (self._av.error.FFmpegError, OSError) as error:
      raise VideoError(f"{self._path} cannot be written: {error}") from error

  def close(self) -> None:
    """Writes what is still to come; the file is complete."""
    try:
      self._out.mux(self._stream.encode(None))
      self._out.close()
    except (self._av.error.FFmpegError, OSError) as error:
      raise VideoError(f"{self._path} cannot be written: {error}") from error


class _Sound:
  """Sound packets of the first source that has any, copied as they are."""

  def __init__(self, av: Any, out: Any, sources: list[Footage], notes: list[str]):
    self._av, self._out, self._packets = av, out, iter(())
    self._waiting: Any = None
    for source in sources:
      if source._container is None or not source._container.streams.audio:
        continue
      # Opened once more: the packets of one container cannot be read at two places.
      self._file = av.open(source.name)
      stream = self._file.streams.audio[0]
      try:
        self._stream = out.add_stream_from_template(stream)
      except (av.error.FFmpegError, ValueError) as error:
        notes.append(f"no sound: {stream.codec_context.name} does not fit the file ({error})")
        return
      self._packets = self._file.demux(stream)
      return

  def until(self, seconds: float) -> None:
    """Copies what is heard before this time."""
    while True:
      packet = next(self._packets, None) if self._waiting is None else self._waiting
      self._waiting = None
      if packet is None:
        return
      if packet.dts is None:
        continue
      if float(packet.dts * packet.time_base) >= seconds:
        self._waiting = packet
        return
      packet.stream = self._stream
      self._out.mux(packet)
