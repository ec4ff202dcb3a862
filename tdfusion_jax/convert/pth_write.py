"""Writes a state_dict as `torch.save` would, without PyTorch.

`torch.load(weights_only=True)` reads it.
"""

import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tdfusion_jax.convert.unpickle import STORAGES
from tdfusion_jax.files import atomic_write

_EPOCH = (1980, 1, 1, 0, 0, 0)  # equal weights give equal files


def write_pth(path: str | Path, state_dict: Mapping[str, np.ndarray]) -> None:
  """Writes `state_dict` ({key: array}) atomically.

  Raises:
    ValueError: an array of a dtype that PyTorch does not have.
    OSError: it could not be written.
  """
  path = Path(path)
  # Not ascontiguousarray, which makes a scalar one-dimensional.
  arrays = {key: np.asarray(value, order="C") for key, value in state_dict.items()}
  for key, array in arrays.items():
    if array.dtype not in STORAGES:
      raise ValueError(f"{key} has dtype {array.dtype}, which PyTorch does not have.")
  parts = {"data.pkl": _pickle(arrays), "byteorder": b"little"}
  for number, array in enumerate(arrays.values()):
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    parts[f"data/{number}"] = little.tobytes()
  parts["version"] = b"3\n"
  with (
    atomic_write(path) as temporary,
    zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive,
  ):
    for name, data in parts.items():
      archive.writestr(zipfile.ZipInfo(f"archive/{name}", _EPOCH), data)


def _pickle(arrays: Mapping[str, np.ndarray]) -> bytes:
  """The opcodes of pickle protocol 2 for {key: tensor}.

  Python's pickler would need PyTorch to name its functions.
  """
  out = [b"\x80\x02}("]
  for number, (key, array) in enumerate(arrays.items()):
    strides = [s // array.itemsize for s in array.strides]
    kind = _global("torch", STORAGES[array.dtype])
    storage = [_text("storage"), kind, _text(str(number)), _text("cpu"), _integer(array.size)]
    out += [_text(key), _global("torch._utils", "_rebuild_tensor_v2")]
    out += [b"(", _tuple(storage), b"Q"]  # persistent id of the storage
    out += [_integer(0)]  # offset
    out += [_tuple(map(_integer, array.shape)), _tuple(map(_integer, strides))]
    out += [b"\x89"]  # requires_grad: False
    out += [_global("collections", "OrderedDict"), b")R"]  # hooks: none
    out += [b"t", b"R"]  # the end of the arguments, and the call
  return b"".join([*out, b"u."])


def _text(value: str) -> bytes:
  data = value.encode()
  return b"X" + struct.pack("<I", len(data)) + data


def _integer(value: int) -> bytes:
  return b"J" + struct.pack("<i", value)


def _global(module: str, name: str) -> bytes:
  return f"c{module}\n{name}\n".encode()


def _tuple(parts) -> bytes:
  return b"".join([b"(", *parts, b"t"])
