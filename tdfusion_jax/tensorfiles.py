"""Named tensors and texts as `.safetensors` files, and how messages show names out of files.

The format is a head of JSON and the arrays behind it. It is read here rather than by its library,
which ends in errors of many kinds on files that somebody damaged or built.
"""

import hashlib
import io
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from tdfusion_jax.files import UsageError, atomic_write, in_words

# What the format calls a dtype. It has 8-bit floats too, which mean nothing without their scales.
_DTYPES = {
  "F64": np.dtype(np.float64),
  "F32": np.dtype(np.float32),
  "F16": np.dtype(np.float16),
  "BF16": np.dtype(ml_dtypes.bfloat16),
  "I64": np.dtype(np.int64),
  "I32": np.dtype(np.int32),
  "I16": np.dtype(np.int16),
  "I8": np.dtype(np.int8),
  "U64": np.dtype(np.uint64),
  "U32": np.dtype(np.uint32),
  "U16": np.dtype(np.uint16),
  "U8": np.dtype(np.uint8),
  "BOOL": np.dtype(np.bool_),
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_ABOUT = "__metadata__"
_SHA256 = "sha256"  # in the metadata: of the tensors and the other metadata
_MAX_HEAD = 100 << 20  # the library's limit too
_MAX_AXES = 32
_MAX_LISTED = 60  # lines


class CheckpointError(UsageError):
  """A checkpoint or weight file that cannot be used, with the reason."""


def shown(name: str) -> str:
  """A name out of a file for messages: cut if long, escaped if a terminal might obey it."""
  text = name if len(name) <= 100 else f"{name[:97]}..."
  return text if text.isprintable() else repr(text)


def listed(problems: list[str]) -> str:
  """Problems behind a colon: one beside it, several below each other, not endlessly many."""
  if len(problems) == 1:
    return f" {problems[0]}"
  lines = problems[:_MAX_LISTED]
  if more := len(problems) - len(lines):
    lines.append(f"and {more} more")
  return "".join(f"\n  {line}" for line in lines)


def not_finite(arrays: Mapping[str, Any]) -> list[str]:
  """The names of the arrays that hold a NaN or an infinity."""
  names = []
  for name, value in arrays.items():
    array = np.asarray(value)
    # bfloat16, which NumPy does not know, as well.
    if array.dtype.kind not in "biu" and not np.isfinite(array.astype(np.float64)).all():
      names.append(name)
  return names


def write_safetensors(
  path: str | Path, arrays: Mapping[str, Any], texts: Mapping[str, str]
) -> None:
  """Writes named arrays and texts as one `.safetensors` file, atomically, with a SHA-256 of both.

  Raises:
    CheckpointError: it cannot be written; an array of a dtype that the format does not have.
  """
  path = Path(path)
  # Not ascontiguousarray, which makes a scalar one-dimensional.
  whole = {name: np.asarray(value, order="C") for name, value in arrays.items()}
  for name, array in whole.items():
    if array.dtype not in _NAMES or name == _ABOUT:
      raise CheckpointError(
        f"could not write {path}: {shown(name)} of {array.dtype} has no place in the format."
      )
  # The widest first, so that each array begins at a multiple of its width.
  order = sorted(whole, key=lambda name: (-whole[name].dtype.itemsize, name))
  about = dict(sorted({**texts, _SHA256: _digest(whole, texts)}.items()))
  head: dict[str, Any] = {_ABOUT: about}
  end = 0
  for name in order:
    begin, end = end, end + whole[name].nbytes
    shape = list(whole[name].shape)
    head[name] = {
      "dtype": _NAMES[whole[name].dtype],
      "shape": shape,
      "data_offsets": [begin, end],
    }
  text = json.dumps(head, separators=(",", ":")).encode()
  text += b" " * (-len(text) % 8)
  try:
    with atomic_write(path) as temporary, temporary.open("wb") as file:
      file.write(len(text).to_bytes(8, "little") + text)
      for name in order:
        file.write(_bytes(whole[name]))
  except OSError as error:
    raise CheckpointError(f"could not write {in_words(error)}") from error


def read_safetensors(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
  """Named arrays and texts of a `.safetensors` file, checked against its SHA-256 if it has one.

  Raises:
    CheckpointError: missing, damaged or another kind of file.
  """
  path = Path(path)
  if not path.is_file():
    raise CheckpointError(f"weights file {path} does not exist.")
  try:
    with path.open("rb") as file:
      arrays, texts = _read(file, path.stat().st_size)
  except (OSError, ValueError, TypeError, RecursionError, OverflowError, MemoryError) as error:
    if path.suffix.lower() in (".pth", ".pt", ".bin"):
      raise CheckpointError(
        f"{path} is a PyTorch file; `tdfusion convert {path} --out FILE` makes one that can be "
        "used here."
      ) from error
    reason = str(error) if isinstance(error, _FormatError) else _in_short(error)
    raise CheckpointError(f"{path} is not a readable .safetensors file: {reason}") from error
  noted = texts.pop(_SHA256, None)
  if noted is not None and noted != _digest(arrays, texts):
    raise CheckpointError(
      f"{path} is damaged: its tensors are not those that were written, by their SHA-256. Get or "
      "make the file again."
    )
  return arrays, texts


class _FormatError(ValueError):
  """What is wrong with a file, in our words."""


def _in_short(error: BaseException) -> str:
  if isinstance(error, RecursionError):
    return "its head is nested too deeply."
  if isinstance(error, MemoryError):
    return "it asks for more memory than there is."
  return shown(" ".join(str(error).split()) or type(error).__name__)


def _read(file: io.BufferedReader, size: int) -> tuple[dict[str, np.ndarray], dict[str, str]]:
  length = int.from_bytes(file.read(8), "little")
  if size < 10 or length > size - 8:
    raise _FormatError(f"its head of {length} bytes does not fit into {size} bytes.")
  if length > _MAX_HEAD:
    raise _FormatError(f"a head of {length} bytes, more than {_MAX_HEAD >> 20} MiB; refused.")
  head = json.loads(file.read(length).decode("utf-8"), object_pairs_hook=_once)
  if not isinstance(head, dict):
    raise _FormatError("its head is no mapping of names.")
  texts = head.pop(_ABOUT, {})
  if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
    raise _FormatError("its metadata have to be text.")
  # (begin, end, name), in the order of the file
  places = sorted((*_place(name, entry), name) for name, entry in head.items())
  reached = 0
  for begin, end, name in places:
    if begin != reached:
      raise _FormatError(f"the bytes of {shown(name)} overlap others or leave a gap.")
    reached = end
  if reached != size - 8 - length:
    raise _FormatError(f"{size - 8 - length} bytes of tensors, where its head has {reached}.")
  arrays = {}
  for begin, end, name in places:
    array = np.empty(head[name]["shape"], _DTYPES[head[name]["dtype"]])
    if end > begin and file.readinto(_bytes(array)) != end - begin:
      raise _FormatError("it ends too early.")
    arrays[name] = array
  return arrays, texts


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
  """A mapping of JSON in which no name comes twice."""
  found = {}
  for key, value in pairs:
    if key in found:
      raise _FormatError(f"{shown(key)} is there twice.")
    found[key] = value
  return found


def _place(name: str, entry: Any) -> tuple[int, int]:
  """(begin, end) of a tensor's bytes, checked against its shape and dtype."""
  if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
    raise _FormatError(f"{shown(name)} has no dtype, shape and data_offsets.")
  dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
  if not isinstance(dtype, str) or dtype not in _DTYPES:
    raise _FormatError(f"{shown(name)} has dtype {shown(str(dtype))}, which is not supported.")
  if not _naturals(shape) or len(shape) > _MAX_AXES:
    raise _FormatError(f"{shown(name)} has no valid shape.")
  if not _naturals(offsets) or len(offsets) != 2:
    raise _FormatError(f"{shown(name)} has no valid data_offsets.")
  begin, end = offsets
  if math.prod(shape) * _DTYPES[dtype].itemsize != end - begin:
    raise _FormatError(f"{shown(name)} has another number of bytes than its shape needs.")
  return begin, end


def _naturals(value: Any) -> bool:
  return isinstance(value, list) and all(type(number) is int and number >= 0 for number in value)


def _bytes(array: np.ndarray) -> Any:
  return array.reshape(-1).view(np.uint8).data


def _digest(arrays: Mapping[str, np.ndarray], texts: Mapping[str, str]) -> str:
  """SHA-256 of names, dtypes, shapes, bytes and texts, whatever the order they are in."""
  names = sorted(arrays)
  tensors = [[name, _NAMES[arrays[name].dtype], list(arrays[name].shape)] for name in names]
  digest = hashlib.sha256(json.dumps([sorted(texts.items()), tensors]).encode())
  for name in names:
    digest.update(_bytes(arrays[name]))
  return digest.hexdigest()
