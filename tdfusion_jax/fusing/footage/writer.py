"""Video files, to be written.

Needs PyAV (FFmpeg).
"""

from fractions import Fraction
from pathlib import Path

import numpy as np

from tdfusion_jax.fusing.footage.pyav import VideoError, pyav
from tdfusion_jax.fusing.footage.sound import Sound
from tdfusion_jax.fusing.footage.sources import Footage

_TICKS = Fraction(1, 90000)  # of a second: frame times that fit all usual rates

CODECS = {
  ".mp4": ("libx264", {"crf": "18"}),
  ".mov": ("libx264", {"crf": "18"}),
  ".mkv": ("libx264", {"crf": "18"}),
  ".avi": ("mpeg4", {"qscale": "3"}),
  ".webm": ("libvpx-vp9", {"crf": "24", "b": "0", "deadline": "realtime"}),
}


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
    self._av, self.size, self._path, self._rate = pyav(), size, path, vi.rate
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
    self._sound = Sound(self._av, self._out, [vi, ir], notes)

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
