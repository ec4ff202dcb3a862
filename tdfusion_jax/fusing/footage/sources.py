"""Video files, folders of frames and cameras, to be read.

Needs PyAV (FFmpeg).
"""

import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tdfusion_jax.fusing.footage.pyav import VideoError, pyav
from tdfusion_jax.images.listing import EXTENSIONS
from tdfusion_jax.images.reading import Scale, read_pixels

_DEFAULT_RATE = Fraction(25)
_AS_STORED = Scale("range", 0, 1)  # the numbers are not looked at yet


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
    av = pyav()
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
    av, number = pyav(), 0
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
