"""Reads PyTorch weight files without PyTorch, and without running anything a file asks for."""

import io
import itertools
import math
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tdfusion_jax.convert.choose import choose
from tdfusion_jax.convert.search import Found, TooManyPartsError, find
from tdfusion_jax.convert.unpickle import Storage, Tensor, Unpickler
from tdfusion_jax.convert.values import WeightFileError
from tdfusion_jax.tensorfiles import shown

__all__ = ["WeightFileError", "read_pth", "read_sets"]

_MAX_BYTES = 4 << 30
# Tensors may share stored values, as upstream's convolutions do, but not make much of nothing.
_MAX_SHARING = 16
_ALWAYS_FITS = 64 << 20
_SMALL = 1 << 20
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


def read_pth(path: str | Path, key: str = "") -> dict[str, np.ndarray]:
  """The state_dict of a file made by `torch.save`, of any PyTorch since 0.4.

  Args:
    path: a `.pth`, `.pt`, `.ckpt` or `.bin` file.
    key: which set of tensors to take, where several are weights of our networks.

  Returns:
    {name: array} in the file's order. Where no set belongs to a network, the largest.

  Raises:
    WeightFileError: see `read_sets`; several sets that fit, which are listed.
  """
  return choose(read_sets(path), path, key).tensors


def read_sets(path: str | Path, arch: str | None = None, style: str | None = None) -> list[Found]:
  """The sets of tensors of a file made by `torch.save` that our networks know by their names.

  Nothing is imported or called on the file's behalf. Objects of unknown classes become empty stubs;
  where such a stub is a pickled module, its tensors are collected under the names that its
  `state_dict()` would have.

  Args:
    path: the file.
    arch: only of this architecture; None for any.
    style: only in these names; None for any.

  Returns:
    Sets with arrays as tensors, in the file's order; if no network knows any, the largest set.

  Raises:
    WeightFileError: not such a file, truncated, no tensors, or it asks for a function to be called,
      which is named.
  """
  path = Path(path)
  try:
    if zipfile.is_zipfile(path):
      with zipfile.ZipFile(path) as archive:
        return _collect(*_open_zip(archive, path), path, (arch, style))
    with path.open("rb") as file:
      return _collect(*_open_legacy(file), path, (arch, style))
  except WeightFileError:
    raise
  except Exception as error:  # a hostile pickle can raise anything
    what = _what(path)
    refused = isinstance(error, pickle.UnpicklingError) and str(error).startswith("refused")
    # What is no pickle in the first place asks for nothing.
    if refused and ("asks for" in str(error) or not what):
      raise WeightFileError(f"{path}: {error}") from None
    raise WeightFileError(
      f"{path} is not a readable PyTorch weight file: {what or _one_line(error)}"
    ) from error


def _what(path: Path) -> str:
  """What a file that is no PyTorch file looks like; empty for what Pickle itself should judge."""
  try:
    with path.open("rb") as file:
      start = file.read(64)
  except OSError:
    return ""
  if start.startswith(b"PK\x03\x04") and not zipfile.is_zipfile(path):
    return "a zip archive without its end, cut short in download or copying; get the file again"
  if start.startswith(b"version https://git-lfs"):
    return "a Git LFS pointer in place of the weights; fetch them with `git lfs pull`"
  if start.lstrip().lower().startswith((b"<!doctype", b"<html")):
    return "a web page, saved in place of the download"
  if not start:
    return "it is empty"
  return "" if start.startswith((b"\x80", b"PK")) else "neither a zip archive nor a pickle"


def _one_line(error: Exception) -> str:
  if isinstance(error, MemoryError):
    return "it asks for more memory than there is"
  text = " ".join(str(error).split())[:200]
  if isinstance(error, pickle.UnpicklingError | zipfile.BadZipFile) and text:
    return text
  if isinstance(error, EOFError | struct.error):
    return "pickle data was truncated"
  return f"its pickle is damaged ({type(error).__name__}{': ' * bool(text)}{text})"


ReadStorage = Callable[[Storage], bytes]
Wanted = tuple[str | None, str | None]


def _open_zip(archive: zipfile.ZipFile, path: Path) -> tuple[Any, ReadStorage]:
  """(unpickled object, reader of its storages) of PyTorch 1.6 and newer."""
  pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
  if len(pickles) != 1:
    raise WeightFileError(f"{path} is not a PyTorch weight file: it holds {len(pickles)} pickles.")
  entries = archive.infolist()
  # PyTorch stores without compression, so nothing can be larger than the file: no room for a zip
  # bomb.
  if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
    raise WeightFileError(f"{path} is compressed, which PyTorch never does; refused.")
  if sum(entry.file_size for entry in entries) > min(path.stat().st_size, _MAX_BYTES):
    raise WeightFileError(
      f"{path} unpacks to more than its own size or {_MAX_BYTES >> 30} GiB; refused."
    )
  root = pickles[0].removesuffix("data.pkl")
  if root + "byteorder" in archive.namelist() and archive.read(root + "byteorder") != b"little":
    raise WeightFileError(f"{path} is big-endian, which is not supported.")
  loaded = Unpickler(io.BytesIO(archive.read(pickles[0]))).load()
  return loaded, lambda storage: archive.read(f"{root}data/{storage.key}")


class _Bounded:
  """A file that makes no room for more than it holds, whatever the number of bytes asked for."""

  def __init__(self, file):
    self._file = file
    self._size = os.fstat(file.fileno()).st_size
    self.readline = file.readline

  def read(self, size: int) -> bytes:
    """At most `size` bytes."""
    if 0 <= size <= _SMALL:  # nearly always, and there are many
      return self._file.read(size)
    return self._file.read(max(0, min(size, self._size - self._file.tell())))


def _open_legacy(file) -> tuple[Any, ReadStorage]:
  """The same of older files: four pickles, a list of storage keys, then the storages themselves."""
  file = _Bounded(file)
  magic = Unpickler(file).load()
  if type(magic) is not int or magic != _LEGACY_MAGIC:
    raise pickle.UnpicklingError("no PyTorch header")
  Unpickler(file).load()  # protocol version
  system = Unpickler(file).load()
  if isinstance(system, dict) and system.get("little_endian") is False:
    raise pickle.UnpicklingError("big-endian, which is not supported")
  storages: dict[str, Storage] = {}

  class Noting(Unpickler):
    """Keeps the storages that are named."""

    def persistent_load(self, pid):
      storage = super().persistent_load(pid)
      if not isinstance(storage, Storage):
        raise pickle.UnpicklingError("stored blocks of a kind that cannot be read")
      storages[storage.key] = storage
      return storage

  loaded = Noting(file).load()
  blocks = {}
  keys = Unpickler(file).load()
  if not isinstance(keys, list) or not all(type(key) in (str, int) for key in keys):
    raise pickle.UnpicklingError("no list of stored blocks")
  for key in keys:
    (count,) = struct.unpack("<q", file.read(8))
    storage = storages[str(key)]
    size = storage.count * np.dtype(storage.dtype).itemsize
    if count != storage.count or count < 0:
      raise pickle.UnpicklingError(
        f"stored block {key} has {count} values by its own head, its tensor {storage.count}"
      )
    blocks[storage.key] = file.read(size)
    if len(blocks[storage.key]) != size:
      raise pickle.UnpicklingError(f"cut short: stored block {key} reaches beyond the end")
  return loaded, lambda storage: blocks[storage.key]


def _collect(loaded: Any, read: ReadStorage, path: Path, wanted: Wanted) -> list[Found]:
  try:
    sets = find(loaded, *wanted)
  except TooManyPartsError as error:
    raise WeightFileError(f"{path} holds {error}") from error
  if not sets:
    raise WeightFileError(f"{path} does not hold a state_dict (names to tensors).")
  total = 0
  for tensor in itertools.chain.from_iterable(found.tensors.values() for found in sets):
    # Python's numbers: those of NumPy would overflow where a file lies.
    total += math.prod(tensor.size) * np.dtype(tensor.storage.dtype).itemsize
  if total > _MAX_BYTES:
    raise WeightFileError(f"{path} holds tensors of more than {_MAX_BYTES >> 30} GiB; refused.")
  if total > max(_ALWAYS_FITS, _MAX_SHARING * path.stat().st_size):
    raise WeightFileError(
      f"{path} holds tensors of {total} bytes, far more than the file itself; refused."
    )
  whole = []
  for found in sets:
    arrays = {name: _array(name, tensor, read) for name, tensor in found.tensors.items()}
    whole.append(found._replace(tensors=arrays))
  return whole


def _array(name: str, tensor: Tensor, read: ReadStorage) -> np.ndarray:
  storage, offset, size, stride = tensor
  data = np.frombuffer(read(storage), storage.dtype)
  if len(size) != len(stride) or min((offset, *stride, *size), default=0) < 0:
    raise pickle.UnpicklingError(f"{shown(name)} has no valid size")
  if 0 in size:
    return np.zeros(size, storage.dtype)
  last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
  if last >= data.size:
    raise pickle.UnpicklingError(
      f"{shown(name)} of size {size} reaches beyond its {data.size} stored values"
    )
  strides = [s * data.itemsize for s in stride]
  return np.lib.stride_tricks.as_strided(data[offset:], size, strides, writeable=False).copy()
