"""Decoded pairs kept in memory, or on disk for further epochs, runs and worker processes."""

import contextlib
import hashlib
import json
import logging
import os
import threading
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tdfusion_jax.batch import Boxes, Sample
from tdfusion_jax.data.source import DatasetError, Kind, Source, checked_index, find
from tdfusion_jax.files import atomic_write


class CachedSource:
  """Keeps decoded samples of another source in memory, up to `max_bytes`.

  Samples are admitted until the budget is spent and then never evicted: training visits every pair
  once per pass in random order, where a least-recently-used rule would evict each sample just
  before its use. Cached arrays are read-only. Every loader worker process holds its own cache.

  Args:
    source: any `Source`.
    max_bytes: budget for pixel, label and box arrays.
  """

  def __init__(self, source: Source, max_bytes: int = 2 << 30):
    if max_bytes < 0:
      raise ValueError(f"max_bytes must be >= 0, got {max_bytes}")
    self.source = source
    self.max_bytes = max_bytes
    self.names = source.names
    self.classes = source.classes
    self.kind: Kind | None = source.kind
    self._reset()

  def _reset(self) -> None:
    self._samples: dict[int, Sample] = {}
    self.used_bytes = 0
    self._lock = threading.Lock()

  def __getstate__(self):
    state = self.__dict__.copy()
    for key in ("_samples", "_lock", "used_bytes"):
      del state[key]
    return state

  def __setstate__(self, state):
    self.__dict__.update(state)
    self._reset()

  def __len__(self) -> int:
    return len(self.source)

  def __getitem__(self, index: int) -> Sample:
    index = checked_index(index, len(self))
    sample = self._samples.get(index)
    if sample is not None:
      return sample
    sample = self.source[index]
    targets = sample.target if isinstance(sample.target, Boxes) else (sample.target,)
    arrays = [a for a in (sample.ir, sample.vi, *targets) if isinstance(a, np.ndarray)]
    size = sum(a.nbytes for a in arrays)
    with self._lock:
      if index not in self._samples and self.used_bytes + size <= self.max_bytes:
        for array in arrays:
          array.flags.writeable = False
        self._samples[index] = sample
        self.used_bytes += size
    return sample

  def describe(self) -> str:
    """The pairs, and the budget in memory."""
    return f"{self.source.describe()}, cached in memory (up to {self.max_bytes / 2**20:.0f} MiB)"


log = logging.getLogger(__name__)

_MAGIC = b"tdfusion pair 2\n"  # another number when a reader gives other pixels for the same file
_LEDGER = "sizes.txt"


class DiskCachedSource:
  """Keeps decoded samples of another source as files of raw pixels.

  A pair is admitted while the folder holds less than `max_bytes` of pairs, and then stays: see
  `CachedSource`. The budget counts what all processes and data sets keep in the folder. Entries are
  written whole or not at all, carry a checksum, and belong to the source (name, options, list of
  pairs) and to the size and time of each image and label file: whatever is damaged or no longer
  fits is decoded again. Arrays that come from the cache are read-only.

  A stand-in for an unreadable pair (`SkippingSource`) is never kept, so every run reports it anew.
  To free the space, delete the folder, whole.

  Args:
    source: any `Source`.
    folder: of the cache; may be shared by data sets and processes.
    max_bytes: budget of the whole folder.
    identity: what else makes the source's samples what they are: its name, root and options, as
      JSON values.

  Raises:
    DatasetError: the folder cannot be made or written.
  """

  def __init__(
    self, source: Source, folder: str | Path, max_bytes: int, identity: Mapping[str, Any]
  ):
    if max_bytes < 0:
      raise ValueError(f"max_bytes must be >= 0, got {max_bytes}")
    self.source, self.max_bytes = source, max_bytes
    self.names, self.classes = source.names, source.classes
    self.kind: Kind | None = source.kind
    self.root = Path(folder).expanduser().absolute()
    about = {
      **identity,
      "kind": source.kind,
      "classes": list(source.classes),
      "names": source.names,
    }
    key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
    self.folder = self.root / f"{identity.get('name', 'pairs')}-{key[:16]}"
    self._full = False
    try:
      self.folder.mkdir(parents=True, exist_ok=True)
      with (self.root / _LEDGER).open("a"):
        pass
    except OSError as error:
      raise DatasetError(f"{self.root}: cannot be used to cache decoded pairs ({error})") from None

  def __len__(self) -> int:
    return len(self.source)

  def __getitem__(self, index: int) -> Sample:
    index = checked_index(index, len(self))
    stamp = _stamp(self.source, index)
    file = self.folder / f"{index}.pair"
    old = _read(file)
    if old is not None:
      sample = _unpack(old, stamp)
      if sample is not None:
        return sample
      log.info("%s: damaged or out of date, decoded again", file)
    sample = self.source[index]
    if sample.name == self.names[index]:
      self._keep(file, sample, stamp, None if old is None else len(old))
    return sample

  def _keep(self, file: Path, sample: Sample, stamp: list, replaced: int | None) -> None:
    if replaced is None and (self._full or file.exists()):
      return
    content = _pack(sample, stamp)
    try:
      if self._reserve(len(content) - (replaced or 0)):
        with atomic_write(file) as temporary:
          temporary.write_bytes(content)
        return
      log.info(
        "%s is full (%d MiB); further pairs are decoded each time", self.root, self.max_bytes >> 20
      )
    except OSError as error:  # a full disk is no reason to stop a training
      log.warning("%s: decoded pairs are no longer cached (%s)", file, error)
    self._full = True

  def _reserve(self, size: int) -> bool:
    """Notes `size` bytes in the folder's ledger if the budget allows.

    Lines of all processes count in their order.
    """
    with (self.root / _LEDGER).open("a+b", buffering=0) as file:
      file.write(f"{size:+d}\n".encode())
      end = file.tell()
      file.seek(0)
      used = sum(_number(line) for line in file.read(end).splitlines())
      if used <= self.max_bytes or size <= 0:
        return True
      file.write(f"{-size:+d}\n".encode())
    return False

  def describe(self) -> str:
    """The pairs, the folder and its budget."""
    return (
      f"{self.source.describe()}, cached in {self.folder} (up to {self.max_bytes / 2**20:.0f} MiB)"
    )


def _stamp(source: Any, index: int) -> list:
  """[path, bytes, time] of each file behind a pair, where the source has files.

  A missing file is left to its reader.
  """
  files = find(source, "files")
  stamp = []
  for path in files(index) if files is not None else ():
    with contextlib.suppress(OSError):
      found = os.stat(path)
      stamp.append([str(path), found.st_size, found.st_mtime_ns])
  return stamp


def _pack(sample: Sample, stamp: list) -> bytes:
  arrays = {"ir": sample.ir, "vi": sample.vi}
  if isinstance(sample.target, Boxes):
    arrays["boxes"], arrays["classes"] = sample.target
  elif sample.target is not None:
    arrays["labels"] = sample.target
  shapes = [[key, array.dtype.str, list(array.shape)] for key, array in arrays.items()]
  head = json.dumps({"name": sample.name, "stamp": stamp, "arrays": shapes}).encode() + b"\n"
  body = b"".join([head, *(np.ascontiguousarray(array).tobytes() for array in arrays.values())])
  return _MAGIC + zlib.crc32(body).to_bytes(4, "little") + body


def _unpack(content: bytes, stamp: list) -> Sample | None:
  """The sample, or None if the content is damaged or belongs to files that have changed since."""
  start = len(_MAGIC) + 4
  body = memoryview(content)[start:]
  checksum = zlib.crc32(body).to_bytes(4, "little")
  if content[:start] != _MAGIC + checksum:
    return None
  try:
    end = content.index(b"\n", start)
    head = json.loads(content[start:end])
    if head["stamp"] != stamp:
      return None
    arrays, offset = {}, end + 1
    for key, dtype, shape in head["arrays"]:
      kind, count = np.dtype(dtype), int(np.prod(shape))
      arrays[key] = np.frombuffer(content, kind, count, offset).reshape(shape)
      offset += count * kind.itemsize
    target = arrays.get("labels")
    if "boxes" in arrays:
      target = Boxes(arrays["boxes"], arrays["classes"])
    return Sample(head["name"], arrays["ir"], arrays["vi"], target)
  except (KeyError, TypeError, ValueError):  # right checksum, but not what this version writes
    return None


def _read(file: Path) -> bytes | None:
  try:
    return file.read_bytes()
  except OSError:
    return None


def _number(text: bytes) -> int:
  try:
    return int(text)
  except ValueError:  # the end of a line that a killed process wrote
    return 0
