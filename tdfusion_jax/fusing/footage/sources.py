"""Videos to be read: files, stacks, folders of frames, cameras, addresses.

Needs PyAV (FFmpeg) for all but folders and stacks.
"""

import itertools
import os
import re
import stat
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from tdfusion_jax.fusing.footage.clock import Ascending
from tdfusion_jax.fusing.footage.decoding import DEFAULT_RATE, Index, Stream
from tdfusion_jax.fusing.footage.frames import Frame
from tdfusion_jax.fusing.footage.pyav import (
  VideoError,
  open_address,
  open_camera,
  open_file,
  scheme,
  without_secrets,
)
from tdfusion_jax.images.kinds import read_stored
from tdfusion_jax.images.listing import EXTENSIONS, list_images
from tdfusion_jax.images.pages import count_pages, kind_of, read_pages
from tdfusion_jax.images.reading import ImageError
from tdfusion_jax.images.scaling import LINEAR


class Footage:
  """Frames of a video file, a stack, an address, a camera, or a folder of images.

  Images in a folder come by their names and the numbers in them.

  Args:
    source: a file, a folder, an address such as rtsp://..., a camera's number (as text) or path.
    rate: frames per second of a folder or stack.

  Raises:
    VideoError: it cannot be opened, or PyAV is missing.
  """

  def __init__(self, source: str | Path, rate: float | None = None):
    self.name = without_secrets(str(source))
    """For messages."""
    self.total: int | None = None
    """Frames, where known."""
    self.rate: Fraction | None = None
    """Frames per second, the mean; None of images without a rate, which are paired by number."""
    self.stream: Stream | None = None
    """What FFmpeg decodes; None of folders and stacks."""
    self.scale = LINEAR
    """How its numbers become [0, 1]; set before the first frame is read."""
    self._found: dict[str, str] = {}  # remarks on images, by their kinds
    self._path = Path(source)
    self._files: list[Path] = []
    self._pages = ""
    if scheme(str(source)):
      self._open(Stream(open_address(str(source)), self.name, live=True))
    elif self.name.isdecimal() and not self._path.exists():
      device = f"/dev/video{self.name}"
      if not os.path.exists(device):
        raise VideoError(f"{self.name} is no file, and there is no camera {device}.")
      self._open(Stream(open_camera(device), self.name, camera=True))
    elif self._path.is_dir():
      self._open_folder(rate)
    else:
      self._open_path(rate)

  def _open_path(self, rate: float | None) -> None:
    path = self._path
    try:
      mode = os.stat(path).st_mode
      regular = stat.S_ISREG(mode)
      self._pages = kind_of(path) if regular else ""
    except OSError as error:
      missing = isinstance(error, FileNotFoundError)
      what = "does not exist" if missing else f"cannot be opened: {error.strerror}"
      camera = self.name.startswith("/dev/video")
      hint = " `ls /dev/video*` lists this machine's cameras." if camera else ""
      raise VideoError(f"{path} {what}.{hint}") from None
    if stat.S_ISCHR(mode):
      self._open(Stream(open_camera(self.name), self.name, camera=True))
    elif not regular:
      raise VideoError(f"{path} is a pipe or socket; name a file, a folder or an address.")
    elif self._pages:
      self._open_pages(rate)
    else:
      self._open_file()

  def _open_folder(self, rate: float | None) -> None:
    try:
      files = list_images(self._path)
    except ImageError as error:
      raise VideoError(str(error)) from None
    self._files = sorted(files.values(), key=_by_number)
    self.total, self.rate = len(self._files), _given(rate)

  def _open_pages(self, rate: float | None) -> None:
    self.total, self.rate = count_pages(self._path), _given(rate)
    if self.total < 2:
      raise VideoError(f"{self._path} is a single image, no video; tdfusion fuse takes images.")
    times = self._page_times()
    if times is not None and self.rate is None:
      self.rate = Fraction((self.total - 1) / max(times[-1], 0.01)).limit_denominator(1001)

  def _open_file(self) -> None:
    image = self._path.suffix.lower() in EXTENSIONS
    try:
      if image and self._path.suffix.lower() != ".png":  # animated ones are videos to FFmpeg
        raise VideoError("no video")
      self._open(Stream(open_file(self._path), self.name))
    except VideoError:
      if not image:
        raise
      raise VideoError(
        f"{self._path} is no video and no stack of images; tdfusion fuse takes single images."
      ) from None

  def _open(self, stream: Stream) -> None:
    self.stream, self.rate, self.total = stream, stream.rate, stream.total

  @property
  def names(self) -> list[str]:
    """Of the frames in a folder, without endings; of a file or camera, none."""
    return [file.stem for file in self._files]

  @property
  def live(self) -> bool:
    """A camera or address: nothing can be read twice."""
    return self.stream is not None and self.stream.live

  @property
  def remarks(self) -> list[str]:
    """What the user should know, of the frames that were read."""
    return list({**self._found, **(self.stream.remarks if self.stream else {})}.values())

  def say(self, *texts: str) -> None:
    """Adds to `remarks` what is not empty."""
    self._found.update({text: text for text in texts if text})

  def holds(self, path: Path) -> bool:
    """Whether `path` is this file, or lies in this folder."""
    own, path = self._path.resolve(), path.resolve()
    return own in (path, path.parent) or (path.exists() and own.exists() and own.samefile(path))

  def __iter__(self) -> Iterator[Frame]:
    """Frames in order; an ImageError at the first that is damaged names its number or file."""
    if self.stream is not None:
      yield from self.stream
    elif self._pages:
      clock = Ascending(self.rate or DEFAULT_RATE)
      for page in read_pages(self._path):
        yield self._looked_at(Frame(clock(page.seconds), page.stored))
    else:
      yield from self._images(0)

  def since(self, number: int, index: Index | None) -> Iterator[Frame]:
    """The same from frame `number` on, counted from 0; the first of all has been read once.

    Args:
      number: of the first.
      index: see `index`; needed of what FFmpeg decodes.
    """
    if self.stream is not None:
      assert index is not None
      yield from self.stream.since(index, number)
    elif self._pages:
      yield from itertools.islice(self, number, None)
    else:
      yield from self._images(number)

  def _images(self, first: int) -> Iterator[Frame]:
    for number, file in enumerate(self._files[first:], first):
      scale = self.scale
      stored = read_stored(file, counts=scale.counts, celsius=scale.celsius)
      yield self._looked_at(Frame(self._seconds(number), stored))

  def index(self) -> Index | None:
    """Where the frames of a video file are; None of images, and where that is not known."""
    return None if self.stream is None else self.stream.index(self._path)

  def moments(self, index: Index | None) -> list[float] | None:
    """`Frame.seconds` of all frames, in order, without decoding those of a video file.

    None where they are not known beforehand. The first frame has been read once.

    Args:
      index: as `index` has it.
    """
    if self.stream is not None:
      if index is None or self.stream.start is None:
        return None
      return [index.seconds(i) - self.stream.start for i in range(len(index.shown))]
    if not self._pages:
      return [self._seconds(number) for number in range(self.total or 0)]
    clock = Ascending(self.rate or DEFAULT_RATE)
    return [clock(seconds) for seconds in self._page_times() or [None] * (self.total or 0)]

  def _looked_at(self, frame: Frame) -> Frame:
    for remark in frame.stored.remarks:
      self._found.setdefault(remark.kind, remark.text)
    return frame

  def _seconds(self, number: int) -> float:
    return float(number / (self.rate or DEFAULT_RATE))

  def _page_times(self) -> list[float] | None:
    if self._pages != "webp":
      return None
    return [page.seconds or 0.0 for page in read_pages(self._path)]

  def times(self) -> list[float] | None:
    """When each frame is shown, in order, from the first on; no frame of a video is decoded.

    None where that is not known beforehand.
    """
    if self.stream is not None:
      return self.stream.times(self._path)
    if self.rate is None:
      return None
    return self._page_times() or [self._seconds(number) for number in range(self.total or 0)]

  def count(self) -> int | None:
    """Frames, counted without decoding any; None where that is not possible."""
    if self.stream is None:
      return self.total
    times = self.stream.times(self._path)
    return None if times is None else len(times)

  def close(self) -> None:
    """Lets go of the file or camera."""
    if self.stream is not None:
      self.stream.container.close()


def _given(rate: float | None) -> Fraction | None:
  if rate is None:
    return None
  if not 0.01 <= rate <= 1000:
    raise VideoError(f"{rate:g} frames per second: from 0.01 to 1000.")
  return Fraction(rate).limit_denominator(1001)


def _by_number(file: Path) -> list:
  """frame2 before frame10."""
  parts = re.split(r"(\d+)", file.name)
  return [int(part) if part.isdecimal() else part for part in parts]
