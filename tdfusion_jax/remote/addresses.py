"""Addresses such as s3://bucket/folder: what they name, listed, fetched and stored.

A transfer that fails for the moment is tried again, after longer and longer pauses. What is stored
is there as a whole or not at all, and storing it twice is as good as once.
"""

import contextlib
import importlib
import os
import random
import re
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from tdfusion_jax.files import UsageError, first_line

LARGEST = 5 << 30
"""Bytes of a file that is fetched: more than the largest image that is read can have."""

_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]*)://", re.I)
_ATTEMPTS = 7
_PAUSE = 0.25  # seconds before the second attempt, doubled before each further one
_LONGEST = 20.0
# Object stores show what is stored when all of it has come; elsewhere it is renamed when it has.
_WHOLE = {"s3", "s3a", "gs", "gcs", "az", "abfs", "hf", "oss", "memory"}
_LASTING = (
  FileNotFoundError,
  PermissionError,
  FileExistsError,
  IsADirectoryError,
  NotADirectoryError,
  NotImplementedError,
  AttributeError,
  ImportError,
  LookupError,
  TypeError,
  ValueError,
  MemoryError,
)
_T = TypeVar("_T")


class RemoteError(UsageError):
  """An address that cannot be used, with the reason."""


def is_address(text: Any) -> bool:
  """Whether `text`, a text, path or `Address`, names something that is not on this machine."""
  return isinstance(text, Address) or _ADDRESS.match(os.fspath(text)) is not None


class Address:
  """A file or folder that is elsewhere. Equal if the texts are; can be sent to other processes.

  Args:
    text: such as "s3://bucket/folder".

  Raises:
    RemoteError: it is none, or several in one ("zip://a::s3://b").
  """

  def __init__(self, text: str):
    found = _ADDRESS.match(text)
    if found is None or "::" in text:
      raise RemoteError(f"{text}: an address is PROTOCOL://PLACE, such as s3://bucket/folder.")
    self.text = text.rstrip("/") if text.rstrip("/") != text[: found.end() - 2] else text
    self.protocol = found[1].lower()
    self._pure = PurePosixPath(self.text[found.end() :])

  @property
  def name(self) -> str:
    """The last part."""
    return self._pure.name

  @property
  def stem(self) -> str:
    """`name` without its ending."""
    return self._pure.stem

  @property
  def suffix(self) -> str:
    """The ending of `name`."""
    return self._pure.suffix

  @property
  def parent(self) -> "Address":
    """The folder that it is in."""
    return Address(self.text.rpartition("/")[0])

  def __truediv__(self, name: str) -> "Address":
    return Address(f"{self.text}/{name}")

  def __str__(self) -> str:
    return self.text

  def __repr__(self) -> str:
    return f"Address({self.text!r})"

  def __eq__(self, other: object) -> bool:
    return isinstance(other, Address) and other.text == self.text

  def __hash__(self) -> int:
    return hash(self.text)

  def names(self) -> dict[str, bool]:
    """{name: whether it is a file} of a folder; nothing of one that is not there.

    Raises:
      RemoteError: it cannot be listed.
    """

    def work() -> dict[str, bool]:
      system = _system(self.protocol)
      system.invalidate_cache()
      found = system.ls(self.text, detail=True)
      own = system._strip_protocol(self.text).strip("/")  # S3 may list a folder in itself
      others = [entry for entry in found if entry["name"].strip("/") != own]
      return {PurePosixPath(entry["name"]).name: entry["type"] == "file" for entry in others}

    try:
      return self._tried(work)
    except FileNotFoundError:
      return {}

  def read(self) -> bytes:
    """What the file holds.

    Raises:
      FileNotFoundError: it is missing.
      RemoteError: it is too large, or cannot be had after several attempts.
    """

    def work() -> bytes:
      system = _system(self.protocol)
      system.invalidate_cache()
      size = system.info(self.text).get("size")
      if size is not None and size > LARGEST:
        raise RemoteError(f"{self} has {size >> 20} MiB, more than any image that is read.")
      content = system.cat_file(self.text)
      if size is not None and len(content) != size:
        raise OSError(f"{len(content)} of {size} bytes have come")
      return content

    return self._tried(work)

  def fetch(self, path: Path) -> None:
    """Writes the file to `path`.

    Raises:
      RemoteError: it is missing, or as `read`.
      OSError: `path` cannot be written.
    """
    try:
      content = self.read()
    except FileNotFoundError:
      raise RemoteError(f"{self} does not exist.") from None
    path.write_bytes(content)

  def remove(self) -> None:
    """Removes the file; one that is not there is as good.

    Raises:
      RemoteError: it cannot be removed after several attempts.
    """
    with contextlib.suppress(FileNotFoundError):
      self._tried(lambda: _system(self.protocol).rm_file(self.text))

  def store(self, content: bytes) -> None:
    """Puts `content` in the place of what is there, as a whole or not at all.

    Raises:
      RemoteError: it cannot be stored after several attempts.
    """

    def work() -> None:
      system = _system(self.protocol)
      if self.protocol in _WHOLE:
        system.pipe_file(self.text, content)
        return
      temporary = f"{self.text}.{random.getrandbits(63)}.tmp"
      system.makedirs(self.text.rpartition("/")[0], exist_ok=True)
      system.pipe_file(temporary, content)
      system.mv(temporary, self.text)

    try:
      self._tried(work)
    except FileNotFoundError as error:  # no such bucket
      raise RemoteError(f"{self} cannot be stored: {first_line(error)}") from error

  def _tried(self, work: Callable[[], _T]) -> _T:
    """`work()`, again where it fails for the moment."""
    for attempt in range(1, _ATTEMPTS + 1):
      try:
        return work()
      except (RemoteError, FileNotFoundError):
        raise
      except Exception as error:
        # What libraries raise for a connection has no root in common: what lasts is listed.
        lasts = isinstance(error, _LASTING) or "Credential" in type(error).__name__
        if lasts or attempt == _ATTEMPTS:
          times = f" ({attempt} attempts)" if attempt > 1 else ""
          raise RemoteError(f"{self}: {first_line(error)}{times}") from error
      # Uneven, so that many workers do not come back at one moment.
      time.sleep(min(_PAUSE * 2 ** (attempt - 1), _LONGEST) * random.uniform(0.5, 1.0))
    raise AssertionError


def place_of(text: "str | Path | Address") -> "Path | Address":
  """What `text` names: an `Address` such as s3://bucket/folder, or a `Path`."""
  if isinstance(text, Address):
    return text
  return Address(str(text)) if is_address(text) else Path(text)


@cache
def _system(protocol: str) -> Any:
  """The fsspec file system of a protocol, set up by its usual variables and files."""
  try:
    fsspec = importlib.import_module("fsspec")
    return fsspec.filesystem(protocol)
  except ImportError as error:
    raise RemoteError(
      f"{protocol}:// needs packages: pip install 'tdfusion-jax[remote]' ({first_line(error)})"
    ) from error
  except ValueError as error:
    raise RemoteError(f"{protocol}://: {first_line(error)}") from error
