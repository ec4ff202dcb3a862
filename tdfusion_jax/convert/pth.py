"""Reads a PyTorch state_dict file without PyTorch, and without running anything the file asks for."""

import collections
import pickle
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

_DTYPES = {
  "DoubleStorage": np.float64, "FloatStorage": np.float32, "HalfStorage": np.float16, "LongStorage": np.int64,
  "IntStorage": np.int32, "ShortStorage": np.int16, "CharStorage": np.int8, "ByteStorage": np.uint8,
  "BoolStorage": np.bool_,
}  # fmt: skip
_MAX_BYTES = 4 << 30


class WeightFileError(ValueError):
  """A weight file that cannot be read safely, with the reason."""


class _Storage(NamedTuple):
  dtype: Any
  key: str


def read_pth(path: str | Path) -> dict[str, np.ndarray]:
  """The state_dict of a file made by `torch.save` (PyTorch 1.6 or newer).

  Only tensors in plain containers are understood. Nothing is imported or called on the file's behalf: a pickle
  that names any other class or function is refused, naming it.

  Args:
    path: a `.pth` or `.pt` file holding {key: tensor}, bare or under "state_dict" or "model".

  Returns:
    {key: array} in the file's order.

  Raises:
    WeightFileError: not such a file, truncated, or it asks for something else.
  """
  path = Path(path)
  try:
    with zipfile.ZipFile(path) as archive:
      return _read(archive, path)
  except (
    OSError,
    zipfile.BadZipFile,
    EOFError,
    pickle.UnpicklingError,
    KeyError,
    IndexError,
    TypeError,
  ) as error:
    if isinstance(error, pickle.UnpicklingError) and "refused" in str(error):
      raise WeightFileError(f"{path}: {error}") from None
    raise WeightFileError(f"{path} is not a readable PyTorch weight file: {error}") from error


def _read(archive: zipfile.ZipFile, path: Path) -> dict[str, np.ndarray]:
  pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
  if len(pickles) != 1:
    raise WeightFileError(f"{path} is not a PyTorch weight file: it holds {len(pickles)} pickles.")
  if sum(info.file_size for info in archive.infolist()) > _MAX_BYTES:
    raise WeightFileError(f"{path} unpacks to more than {_MAX_BYTES >> 30} GiB.")
  root = pickles[0].removesuffix("data.pkl")
  if root + "byteorder" in archive.namelist() and archive.read(root + "byteorder") != b"little":
    raise WeightFileError(f"{path} is big-endian, which is not supported.")
  with archive.open(pickles[0]) as file:
    found = _Unpickler(file, lambda key: archive.read(f"{root}data/{key}")).load()
  for wrapper in ("state_dict", "model"):
    if isinstance(found, dict) and isinstance(found.get(wrapper), dict):
      found = found[wrapper]
  if not isinstance(found, dict) or not found or not all(isinstance(v, np.ndarray) for v in found.values()):
    raise WeightFileError(f"{path} does not hold a state_dict (names to tensors).")
  return dict(found)


class _Unpickler(pickle.Unpickler):
  def __init__(self, file, read_storage):
    super().__init__(file)
    self._read_storage = read_storage

  def find_class(self, module: str, name: str):
    if (module, name) == ("collections", "OrderedDict"):
      return collections.OrderedDict
    if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
      return self._rebuild_tensor
    if (module, name) == ("torch._utils", "_rebuild_parameter"):
      return lambda data, requires_grad, hooks: data
    if (module, name) == ("torch", "Size"):
      return tuple
    if module == "torch" and name in _DTYPES:
      return _Storage(_DTYPES[name], "")
    raise pickle.UnpicklingError(f"refused: the file asks for {module}.{name}, which is no part of a state_dict")

  def persistent_load(self, pid):
    kind, storage, key = pid[:3]
    if kind != "storage" or not isinstance(storage, _Storage) or not str(key).isalnum():
      raise pickle.UnpicklingError("refused: an unknown kind of stored object")
    return _Storage(storage.dtype, str(key))

  def _rebuild_tensor(self, storage: _Storage, offset: int, size, stride, *_):
    data = np.frombuffer(self._read_storage(storage.key), storage.dtype)
    last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    if min((offset, *stride, *size), default=0) < 0 or (0 not in size and last >= data.size):
      raise pickle.UnpicklingError(f"a tensor of size {tuple(size)} reaches beyond its stored values")
    if 0 in size:
      return np.zeros(size, storage.dtype)
    strides = [s * data.itemsize for s in stride]
    return np.lib.stride_tricks.as_strided(data[offset:], size, strides, writeable=False).copy()
