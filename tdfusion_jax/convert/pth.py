"""Reads PyTorch weight files without PyTorch, and without running anything a file asks for."""

import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tdfusion_jax.convert.unpickle import Storage, Stub, Tensor, Unpickler
from tdfusion_jax.files import UsageError

_MAX_BYTES = 4 << 30
_MAX_MODULES = 100_000
# Tensors may share stored values, as upstream's convolutions do, but not make much of nothing.
_MAX_SHARING = 16
_ALWAYS_FITS = 64 << 20
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
# Where the weights may be: Ultralytics prefers its moving average, and writes None for what is not
# there.
_WRAPPERS = ("ema", "state_dict", "model", "model_state_dict")


class WeightFileError(UsageError):
  """A weight file that cannot be read safely, with the reason."""


def read_pth(path: str | Path) -> dict[str, np.ndarray]:
  """The state_dict of a file made by `torch.save`, of any PyTorch since 0.4.

  Nothing is imported or called on the file's behalf. Objects of unknown classes become empty stubs;
  where such a stub is a pickled module, its tensors are collected under the names that its
  `state_dict()` would have.

  Args:
    path: a `.pth`, `.pt` or `.bin` file holding {key: tensor} or a module, bare or under "ema",
      "state_dict", "model" or "model_state_dict".

  Returns:
    {key: array} in the file's order.

  Raises:
    WeightFileError: not such a file, truncated, or it asks for a function to be called, which is
      named.
  """
  path = Path(path)
  try:
    if zipfile.is_zipfile(path):
      with zipfile.ZipFile(path) as archive:
        return _collect(*_open_zip(archive, path), path)
    with path.open("rb") as file:
      return _collect(*_open_legacy(file, path), path)
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
  with archive.open(pickles[0]) as file:
    loaded = Unpickler(file).load()
  return loaded, lambda storage: archive.read(f"{root}data/{storage.key}")


def _open_legacy(file, path: Path) -> tuple[Any, ReadStorage]:
  """The same of older files: four pickles, a list of storage keys, then the storages themselves."""
  if Unpickler(file).load() != _LEGACY_MAGIC:
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
      storages[storage.key] = storage
      return storage

  loaded = Noting(file).load()
  blocks = {}
  for key in Unpickler(file).load():
    (count,) = struct.unpack("<q", file.read(8))
    storage = storages[str(key)]
    size = storage.count * np.dtype(storage.dtype).itemsize
    if count != storage.count or count < 0:
      raise pickle.UnpicklingError(
        f"stored block {key} has {count} values by its own head, its tensor {storage.count}"
      )
    if size > path.stat().st_size - file.tell():
      raise pickle.UnpicklingError(f"cut short: stored block {key} reaches beyond the end")
    blocks[storage.key] = file.read(size)
  return loaded, lambda storage: blocks[storage.key]


def _collect(loaded: Any, read: ReadStorage, path: Path) -> dict[str, np.ndarray]:
  tensors = _tensors_of(loaded)
  if not tensors:
    raise WeightFileError(f"{path} does not hold a state_dict (names to tensors).")
  total = 0
  for tensor in tensors.values():
    # Python's numbers: those of NumPy would overflow where a file lies.
    count = int(np.prod(tensor.size, dtype=object))
    total += count * np.dtype(tensor.storage.dtype).itemsize
  if total > _MAX_BYTES:
    raise WeightFileError(f"{path} holds tensors of more than {_MAX_BYTES >> 30} GiB; refused.")
  if total > max(_ALWAYS_FITS, _MAX_SHARING * path.stat().st_size):
    raise WeightFileError(
      f"{path} holds tensors of {total} bytes, far more than the file itself; refused."
    )
  return {name: _array(name, tensor, read) for name, tensor in tensors.items()}


def _tensors_of(loaded: Any) -> dict[str, Tensor] | None:
  """Names to tensors, from a state_dict, a module, or a dict around one; None if it is neither."""
  if isinstance(loaded, Stub):
    return _walk(loaded)
  if not isinstance(loaded, dict) or not loaded:
    return None
  if all(isinstance(k, str) and isinstance(v, Tensor) for k, v in loaded.items()):
    return dict(loaded)
  for wrapper in _WRAPPERS:
    inner = loaded.get(wrapper)
    if isinstance(inner, dict | Stub):
      return _tensors_of(inner)
  return None


def _walk(module: Stub) -> dict[str, Tensor]:
  """The tensors of a pickled `torch.nn.Module` and its children, named as in its state_dict."""
  tensors: dict[str, Tensor] = {}
  seen = 0
  # A stack with a limit: a hostile file may nest modules in a circle.
  waiting: list[tuple[str, Any]] = [("", module)]
  while waiting:
    prefix, part = waiting.pop()
    seen += 1
    if seen > _MAX_MODULES:
      raise WeightFileError(f"a model of more than {_MAX_MODULES} modules; refused.")
    state = part.state if isinstance(part, Stub) else None
    if not isinstance(state, dict):
      continue
    hidden = state.get("_non_persistent_buffers_set") or ()
    own = {**(state.get("_parameters") or {}), **(state.get("_buffers") or {})}
    for name, value in own.items():
      if isinstance(value, Tensor) and name not in hidden:
        tensors[f"{prefix}{name}"] = value
    children = list((state.get("_modules") or {}).items())
    waiting += [(f"{prefix}{name}.", child) for name, child in reversed(children)]
  return tensors


def _array(name: str, tensor: Tensor, read: ReadStorage) -> np.ndarray:
  storage, offset, size, stride = tensor
  data = np.frombuffer(read(storage), storage.dtype)
  if len(size) != len(stride) or min((offset, *stride, *size), default=0) < 0:
    raise pickle.UnpicklingError(f"{name} has no valid size")
  if 0 in size:
    return np.zeros(size, storage.dtype)
  last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
  if last >= data.size:
    raise pickle.UnpicklingError(
      f"{name} of size {size} reaches beyond its {data.size} stored values"
    )
  strides = [s * data.itemsize for s in stride]
  return np.lib.stride_tricks.as_strided(data[offset:], size, strides, writeable=False).copy()
