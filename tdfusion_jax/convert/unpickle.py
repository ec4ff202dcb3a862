"""Unpickling without importing or calling anything that a file names."""

import pickle
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

_DTYPES = {
  "DoubleStorage": np.float64,
  "FloatStorage": np.float32,
  "HalfStorage": np.float16,
  "LongStorage": np.int64,
  "IntStorage": np.int32,
  "ShortStorage": np.int16,
  "CharStorage": np.int8,
  "ByteStorage": np.uint8,
  "BoolStorage": np.bool_,
  "BFloat16Storage": ml_dtypes.bfloat16,
}
STORAGES = {np.dtype(dtype): name for name, dtype in _DTYPES.items()}

# Constructors of plain values that real checkpoints hold beside their tensors. None is run: a call
# gives an empty object, because nothing here needs the values.
_VALUES = {
  "_codecs.encode",
  "collections.defaultdict",
  "datetime.date",
  "datetime.datetime",
  "datetime.timedelta",
  "numpy.core.multiarray._reconstruct",
  "numpy.core.multiarray.scalar",
  "numpy._core.multiarray._reconstruct",
  "numpy._core.multiarray.scalar",
  "numpy.dtype",
  "pathlib.Path",
  "pathlib.PosixPath",
  "pathlib.PurePosixPath",
  "pathlib.WindowsPath",
  "pathlib.PureWindowsPath",
  "pathlib._local.PosixPath",
  "pathlib._local.WindowsPath",
  "torch.device",
  "copyreg._reconstructor",
  "copy_reg._reconstructor",
}


class Storage(NamedTuple):
  """A block of numbers in the file."""

  dtype: Any
  key: str
  count: int


class Tensor(NamedTuple):
  """A tensor that has not been read yet: a strided view of a `Storage`, in elements."""

  storage: Storage
  offset: int
  size: tuple[int, ...]
  stride: tuple[int, ...]


class _Inert(type):
  """Classes of stubs. Making an empty instance is harmless; a call by the file is refused."""

  origin = ""

  def __call__(cls, *_):
    if cls.origin in _VALUES:
      return object.__new__(cls)
    raise pickle.UnpicklingError(f"refused: the file asks for {cls.origin} to be called")


class Stub(metaclass=_Inert):
  """In place of an object of an unknown class: its pickled state and nothing else."""

  state: Any = None

  def __new__(cls, *_, **__):
    """An empty one, whatever the file passes."""
    return object.__new__(cls)

  def __setstate__(self, state):
    self.state = state

  def __setitem__(self, key, value):  # of pickled dict subclasses
    """Forgets the value."""

  def append(self, value):  # of pickled list subclasses
    """Forgets the value."""

  def extend(self, values):  # likewise
    """Forgets the values."""


class _Dict(dict):
  __slots__ = ()

  def __setstate__(self, state):  # state_dicts carry `_metadata`, which nothing reads
    del state


def _rebuild_tensor(storage, offset, size, stride, *_):
  if not isinstance(storage, Storage) or not all(
    isinstance(n, int) for n in (offset, *size, *stride)
  ):
    raise pickle.UnpicklingError("a tensor that is not made of numbers")
  return Tensor(storage, offset, tuple(size), tuple(stride))


def _rebuild_parameter(data, *_):
  return data


def _make_set(items=()):
  return set(map(_key, items))


def _make_frozenset(items=()):
  return frozenset(map(_key, items))


def _key(value: Any) -> Any:
  """`value`, if it may be a key or a member of a set.

  Tuples within tuples could be nested so deeply that hashing them ends the process, or shared so
  often that it never ends.
  """
  parts = value if isinstance(value, tuple) else (value,)
  if any(isinstance(part, tuple) for part in parts):
    raise pickle.UnpicklingError("refused: nested tuples as a key")
  return value


_KNOWN = {
  "collections.OrderedDict": _Dict,
  "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
  "torch._utils._rebuild_tensor": _rebuild_tensor,
  "torch._utils._rebuild_parameter": _rebuild_parameter,
  "torch._utils._rebuild_parameter_with_state": _rebuild_parameter,
  "torch.Size": tuple,
  "builtins.set": _make_set,
  "__builtin__.set": _make_set,
  "builtins.frozenset": _make_frozenset,
  "__builtin__.frozenset": _make_frozenset,
}


# The one in Python, because the one in C lets nobody look at a key before it is hashed.
class Unpickler(pickle._Unpickler):
  """Plain containers, `Tensor`s, and a `Stub` for every object of another class.

  Raises:
    pickle.UnpicklingError: "refused: ..." where the file asks for a function to be called (which is
      named), for state of what has none, or for keys that cannot be hashed safely.
    Exception: of any other kind, where the pickle is damaged.
  """

  dispatch: Any = dict(pickle._Unpickler.dispatch)
  stack: Any  # of the base class, which type checkers do not know; so are these
  append: Any
  pop_mark: Any

  def _dict(self):
    items = self.pop_mark()
    self.append({_key(items[i]): items[i + 1] for i in range(0, len(items), 2)})

  def _set_item(self):
    value, key = self.stack.pop(), self.stack.pop()
    self.stack[-1][_key(key)] = value

  def _set_items(self):
    items = self.pop_mark()
    for i in range(0, len(items), 2):
      self.stack[-1][_key(items[i])] = items[i + 1]

  def _add_items(self):
    items = self.pop_mark()
    if isinstance(self.stack[-1], set):
      self.stack[-1].update(map(_key, items))

  def _frozen_set(self):
    items = self.pop_mark()  # first, since it changes what `append` appends to
    self.append(frozenset(map(_key, items)))

  def _build(self):
    state = self.stack.pop()
    # Anything else would be a way to set attributes of our own functions.
    if not isinstance(self.stack[-1], Stub | _Dict):
      raise pickle.UnpicklingError("refused: state for what has none")
    self.stack[-1].__setstate__(state)

  dispatch |= {
    pickle.DICT[0]: _dict,
    pickle.SETITEM[0]: _set_item,
    pickle.SETITEMS[0]: _set_items,
    pickle.ADDITEMS[0]: _add_items,
    pickle.FROZENSET[0]: _frozen_set,
    pickle.BUILD[0]: _build,
  }

  def find_class(self, module: str, name: str):
    """What stands for `module.name`: nothing that the file names is imported."""
    origin = f"{module}.{name}"
    if origin in _KNOWN:
      return _KNOWN[origin]
    if module == "torch" and name in _DTYPES:
      return Storage(_DTYPES[name], "", 0)
    return _Inert("Stub", (Stub,), {"origin": origin})

  def persistent_load(self, pid):
    """The `Storage` that a tensor refers to."""
    if not isinstance(pid, tuple) or len(pid) < 5:
      raise pickle.UnpicklingError("refused: an unknown kind of stored object")
    kind, storage, key, _, count = pid[:5]
    if kind != "storage" or not isinstance(storage, Storage) or not str(key).isalnum():
      raise pickle.UnpicklingError("refused: an unknown kind of stored object")
    if len(pid) > 5 and pid[5] is not None:
      raise pickle.UnpicklingError("refused: a view of a stored block, as PyTorch before 0.4 wrote")
    return Storage(storage.dtype, str(key), int(count))
