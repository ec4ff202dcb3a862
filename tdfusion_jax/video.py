"""Fusing videos: two files, two folders of frames, or two cameras into one file. Needs PyAV (FFmpeg).

F itself has no memory of earlier frames and none is needed: what flickers in fused videos is normalising every
frame by itself. Here each range, of the thermal input and of the result, follows the scene slowly (`SteadyRange`).
"""

import itertools
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tdfusion_jax.imageio import EXTENSIONS, ImageError, Pixels, Scale, pixels, read_pixels, to_bytes

_SECONDS = 2.0  # after which a range has followed a sudden change by two thirds
_OUTSIDE = 0.5  # percent of the pixels darker than black and brighter than white, so that single ones do not count
_DEFAULT_RATE = Fraction(25)


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
  """Frames of a video file, of a folder of images in name order, or of a camera.

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
      self._files = sorted(p for p in path.iterdir() if p.suffix.lower() in EXTENSIONS and not p.name.startswith("."))
      if not self._files:
        raise VideoError(f"{path} holds no image ({', '.join(EXTENSIONS)}).")
      self.rate = Fraction(rate).limit_denominator(1001) if rate else _DEFAULT_RATE
      self.total = len(self._files)
      return
    camera = self.name.isdecimal() and not path.exists()
    if not camera and not path.is_file():
      raise VideoError(f"{path} does not exist.")
    av = _pyav()
    try:
      self._container = av.open(f"/dev/video{source}", format="v4l2") if camera else av.open(str(path))
      self._stream = self._container.streams.video[0]
    except IndexError:
      raise VideoError(f"{path} has no video stream.") from None
    except (av.error.FFmpegError, OSError, ValueError) as error:
      raise VideoError(f"{source} cannot be opened as {'a camera' if camera else 'a video'}: {error}") from error
    self._stream.thread_type = "AUTO"
    self.rate = self._stream.average_rate or self._stream.guessed_rate or _DEFAULT_RATE
    self.total = self._stream.frames or None

  def __iter__(self) -> Iterator[Frame]:
    """Frames in order; VideoError at the first that is damaged, naming its number."""
    if self._container is None:
      for number, file in enumerate(self._files):
        yield Frame(float(number / self.rate), read_pixels(file, _AS_STORED).array)
      return
    av, number = _pyav(), 0
    try:
      for frame in self._container.decode(self._stream):
        yield Frame(frame.time if frame.time is not None else float(number / self.rate), _array(frame))
        number += 1
    except (av.error.FFmpegError, OSError, ValueError) as error:
      raise VideoError(f"{self.name}, frame {number}: {error}") from error
    if number == 0:
      raise VideoError(f"{self.name} has no frame.")

  def close(self) -> None:
    """Lets go of the file or camera."""
    if self._container is not None:
      self._container.close()


_AS_STORED = Scale("range", 0, 1)  # the numbers are not looked at yet


def _array(frame: Any) -> np.ndarray:
  deep = frame.format.components and frame.format.components[0].bits > 8
  if frame.format.name.startswith("gray"):
    return frame.to_ndarray(format="gray16le" if deep else "gray")[..., None]
  return frame.to_ndarray(format="rgb24")


class SteadyRange:
  """A range of values that follows a scene slowly: an average of each frame's, fading with time.

  Args:
    rate: frames per second.
  """

  def __init__(self, rate: float):
    self._keep = float(np.exp(-1 / (_SECONDS * rate)))
    self._ends: tuple[float, float] | None = None

  def follow(self, low: float, high: float) -> tuple[float, float]:
    """Takes in a frame's own range and returns the one to use."""
    if self._ends is None:
      self._ends = (low, high)
    pairs = zip(self._ends, (low, high), strict=True)
    self._ends = tuple(self._keep * old + (1 - self._keep) * new for old, new in pairs)  # pyright: ignore
    return self._ends  # pyright: ignore


class Done(NamedTuple):
  """What became of a video."""

  frames: int
  seconds: float
  """That it took, compilation left out."""
  notes: list[str]


def fuse_video(
  fuse: Callable,
  ir: Footage,
  vi: Footage,
  out: str | Path,
  *,
  scale: Scale = Scale(),  # noqa: B008
  stretch: bool = False,
  align: Callable | None = None,
  frames: int | None = None,
  told: Callable[[int], None] = lambda done: None,
) -> Done:
  """Fuses two videos frame by frame into one with the frame rate and the sound of the visible one, else infrared's.

  A frame of the visible video meets the infrared frame nearest to it in time. Colour as in `fusing.make_fuse_fn`.

  Args:
    fuse: from `fusing.make_fuse_fn`, without stretch.
    ir, vi: closed when done.
    out: .mp4, .mkv, .mov, .avi or .webm; complete when it appears under this name.
    scale: of infrared values; `percentile` follows the scene.
    stretch: stretch the fused brightness to the full range but for half a percent at its ends, following the scene.
    align: (ir, vi) -> the same in equal size.
    frames: stop after so many.
    told: called with the number of finished frames.

  Raises:
    VideoError: frames that cannot be read, written, or differ in size.
  """
  out, notes = Path(out), []
  if out.suffix.lower() not in _CODECS:
    raise VideoError(f"{out} should end in one of {', '.join(_CODECS)}.")
  out.parent.mkdir(parents=True, exist_ok=True)
  temporary = out.with_name(f".{out.stem}.{os.getpid()}.tmp{out.suffix}")
  unit = _Units(scale, float(vi.rate))
  bright = SteadyRange(float(vi.rate)) if stretch else None
  count, began = 0, time.monotonic()
  writer: _Writer | None = None
  try:
    with ThreadPoolExecutor(1) as decoder:
      pairs = itertools.islice(_pairs(ir, vi), frames)
      waiting, following = None, decoder.submit(next, pairs, None)
      while True:
        pair = following.result()
        if pair is not None:
          following = decoder.submit(next, pairs, None)
          a, b = unit(pair[0]), pixels(pair[1], vi.name).whole()
          if align is not None:
            a, b = align(a, b)
          if a.shape[:2] != b.shape[:2]:
            sizes = " and ".join(f"{x.shape[1]}x{x.shape[0]}" for x in (a, b))
            raise VideoError(f"{ir.name} and {vi.name} differ in size ({sizes}); register them first, or see --align.")
          if writer is not None and (b.shape[0], b.shape[1]) != writer.size:
            raise VideoError(f"{vi.name}: frame {count + 1} has another size than the first.")
          started = fuse(a[None], b[None])
        if waiting is not None:
          image = _bytes(np.asarray(waiting)[0], bright)
          if writer is None:
            writer, began = _Writer(temporary, image.shape[:2], vi, ir, notes), time.monotonic()
          writer.add(image)
          count += 1
          told(count)
        if pair is None:
          break
        waiting = started
    if writer is None:
      raise VideoError(f"{ir.name} and {vi.name} have no frames in common.")
    writer.close()
    os.replace(temporary, out)
  except KeyboardInterrupt:
    if writer is not None:  # what is done can be looked at
      writer.close()
      os.replace(temporary, out)
    raise
  finally:
    temporary.unlink(missing_ok=True)
    ir.close()
    vi.close()
  return Done(count, time.monotonic() - began, notes)


class _Units:
  """Infrared frames in [0, 1], by a range that is steady over time."""

  def __init__(self, scale: Scale, rate: float):
    self._scale, self._steady = scale, SteadyRange(rate)

  def __call__(self, array: np.ndarray) -> np.ndarray:
    found = pixels(array, "an infrared frame", self._scale)
    if self._scale.kind == "percentile":
      found = Pixels(array, *self._steady.follow(found.bottom, found.top))
    return found.whole()


def _bytes(fused: np.ndarray, bright: SteadyRange | None) -> np.ndarray:
  if bright is not None:
    gray = fused.mean(axis=-1)
    low, high = bright.follow(*(float(x) for x in np.percentile(gray, [_OUTSIDE, 100 - _OUTSIDE])))
    fused = (fused - low) / max(high - low, 1e-6)
  return to_bytes(fused)


def _pairs(ir: Footage, vi: Footage) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Of every visible frame, the infrared frame nearest in time; ends with the shorter of the two."""
  half = 0.5 / float(ir.rate)
  others = iter(ir)
  here = next(others, None)
  following = next(others, None)
  first: tuple[float, float] | None = None
  for frame in vi:
    if here is None:
      return
    if first is None:
      first = (here.seconds, frame.seconds)  # cameras and cut files start at any time
    now = frame.seconds - first[1]
    while following is not None and following.seconds - first[0] <= now + half:
      here, following = following, next(others, None)
    if following is None and now - (here.seconds - first[0]) > 2 * half:
      return
    yield here.array, frame.array


_CODECS = {
  ".mp4": ("libx264", {"crf": "18"}),
  ".mov": ("libx264", {"crf": "18"}),
  ".mkv": ("libx264", {"crf": "18"}),
  ".avi": ("mpeg4", {"qscale": "3"}),
  ".webm": ("libvpx-vp9", {"crf": "24", "b": "0", "deadline": "realtime"}),
}


class _Writer:
  """A video file, with the sound of one of the sources."""

  def __init__(self, path: Path, size: tuple[int, int], vi: Footage, ir: Footage, notes: list[str]):
    self._av, self.size, self._path, self._rate = _pyav(), size, path, vi.rate
    codec, options = _CODECS[path.suffix.lower()]
    try:
      self._out = self._av.open(str(path), "w")
      self._stream = self._out.add_stream(codec, rate=vi.rate, options=options)
    except (self._av.error.FFmpegError, OSError, ValueError) as error:
      raise VideoError(f"{path} cannot be written: {error}") from error
    # Colour at half resolution is what every player reads; it wants even sizes.
    self._stream.height, self._stream.width = (side + side % 2 for side in size)
    self._stream.pix_fmt = "yuv420p"
    if size[0] % 2 or size[1] % 2:
      notes.append("the last row or column is doubled, since video files want even sizes")
    self._frames = 0
    self._sound = _Sound(self._av, self._out, [vi, ir], notes)

  def add(self, image: np.ndarray) -> None:
    height, width = image.shape[:2]
    if height % 2 or width % 2:
      image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    if image.shape[-1] == 1:
      image = np.repeat(image, 3, axis=-1)
    frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    frame.pts, frame.time_base = self._frames, 1 / self._rate
    self._frames += 1
    try:
      self._out.mux(self._stream.encode(frame))
      self._sound.until(float(self._frames / self._rate))
    except (self._av.error.FFmpegError, OSError) as error:
      raise VideoError(f"{self._path} cannot be written: {error}") from error

  def close(self) -> None:
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
