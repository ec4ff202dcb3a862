"""Unpickling without importing or calling anything that a file names."""

import pickle
import struct
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from tdfusion_jax.convert.values import STANDARD, VALUES

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

_MAX_AXES = 32
_MAX_SIZE = 1 << 62


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
  """Classes of stubs. Making an empty instance is harmless; a call by the file mostly refused."""

  module = ""
  path = ""

  def __call__(cls, *_):
    if not cls.is_value():
      raise pickle.UnpicklingError(f"refused: the file asks for {cls.origin()} to be called")
    return object.__new__(cls)

  def origin(cls) -> str:
    """Whose place it takes, `module.name`."""
    return f"{cls.module}.{cls.path}"

  def is_value(cls) -> bool:
    """Whether a call makes a value, rather than something happen, by its name.

    Either way nothing is run; but a file that asks for a function is refused by its name.
    """
    if cls.path in VALUES.get(cls.module, ()):
      return True
    if cls.module == "torch._utils" and cls.path.startswith("_rebuild_"):
      return True  # a tensor of a kind that no network here has
    return cls.is_of_others() and cls.path.rpartition(".")[2][:1].isupper()

  def is_of_others(cls) -> bool:
    """Whether it is no part of Python: a class of a project, such as an enumeration."""
    return cls.module.partition(".")[0] not in STANDARD


class Stub(metaclass=_Inert):
  """In place of an object of an unknown class: what the file puts into it, and nothing else."""

  state: Any = None
  entries: dict | None = None
  """Of pickled subclasses of dict."""
  members: list | None = None
  """Of pickled subclasses of list."""

  def __new__(cls, *_, **__):
    """An empty one, whatever the file passes."""
    return object.__new__(cls)

  def __setstate__(self, state):
    self.state = state

  def __setitem__(self, key, value):
    self.entries = self.entries or {}
    self.entries[key] = value

  def append(self, value):
    """As of a list."""
    self.extend([value])

  def extend(self, values):
    """As of a list."""
    self.members = self.members or []
    self.members.extend(values)


def _stub_class(module: str, path: str) -> _Inert:
  return _Inert("Stub", (Stub,), {"module": module, "path": path})


class _Dict(dict):
  __slots__ = ()

  def __init__(self, items=()):
    super().__init__()
    for key, value in items.items() if isinstance(items, dict) else items:
      self[_key(key)] = value

  def __setstate__(self, state):  # state_dicts carry `_metadata`, which nothing reads
    del state


def _rebuild_tensor(storage, offset, size, stride, *_):
  if isinstance(storage, Stub):  # numbers of a kind that no network here has
    return storage
  numbers = (offset, *size, *stride)
  if not isinstance(storage, Storage) or not all(type(n) is int for n in numbers):
    raise pickle.UnpicklingError("a tensor that is not made of numbers")
  if len(numbers) > 1 + 2 * _MAX_AXES or any(abs(n) > _MAX_SIZE for n in numbers):
    raise pickle.UnpicklingError("a tensor beyond all sizes")
  return Tensor(storage, offset, tuple(size), tuple(stride))


def _rebuild_from_type(rebuild, kind, arguments, *_):
  """Of a subclass of Tensor, or one with attributes of its own."""
  del kind
  if rebuild in (_rebuild_tensor, _rebuild_parameter):
    return rebuild(*arguments)
  return object.__new__(Stub)


def _get_attribute(*arguments):
  """What stands for a member of somebody's class, such as an enumeration, and for nothing else."""
  owner, name = (*arguments, None, None)[:2]
  if isinstance(owner, _Inert) and owner.is_of_others() and isinstance(name, str):
    return _stub_class(owner.module, f"{owner.path}.{name}")
  raise pickle.UnpicklingError("refused: the file asks for builtins.getattr to be called")


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
  "torch._tensor._rebuild_from_type_v2": _rebuild_from_type,
  "torch.Size": tuple,
  "builtins.getattr": _get_attribute,
  "__builtin__.getattr": _get_attribute,
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
  read: Any
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

  def _byte_array(self):
    (size,) = struct.unpack("<Q", self.read(8))
    data = self.read(size)  # what is there; Python's own makes room for `size` first
    if len(data) != size:
      raise pickle.UnpicklingError("pickle data was truncated")
    self.append(bytearray(data))

  dispatch |= {
    pickle.DICT[0]: _dict,
    pickle.SETITEM[0]: _set_item,
    pickle.SETITEMS[0]: _set_items,
    pickle.ADDITEMS[0]: _add_items,
    pickle.FROZENSET[0]: _frozen_set,
    pickle.BUILD[0]: _build,
    pickle.BYTEARRAY8[0]: _byte_array,
  }

  def find_class(self, module: str, name: str):
    """What stands for `module.name`: nothing that the file names is imported."""
    origin = f"{module}.{name}"
    if origin in _KNOWN:
      return _KNOWN[origin]
    if module == "torch" and name in _DTYPES:
      return Storage(_DTYPES[name], "", 0)
    return _stub_class(module, name)

  def persistent_load(self, pid):
    """The `Storage` that a tensor refers to."""
    if not isinstance(pid, tuple) or len(pid) < 5:
      raise pickle.UnpicklingError("refused: an unknown kind of stored object")
    kind, storage, key, _, count = pid[:5]
    # Of these types exactly: making text of anything else, such as tuples of tuples, may never end.
    known = isinstance(kind, str) and type(key) in (str, int) and type(count) is int
    if not known or kind != "storage" or not str(key).isalnum() or not 0 <= count <= _MAX_SIZE:
      raise pickle.UnpicklingError("refused: an unknown kind of stored object")
    if isinstance(storage, _Inert) and storage.path.endswith("Storage"):
      return object.__new__(storage)  # complex, quantised: a tensor of it is none here
    if not isinstance(storage, Storage):
      raise pickle.UnpicklingError("refused: an unknown kind of stored object")
    if len(pid) > 5 and pid[5] is not None:
      raise pickle.UnpicklingError("refused: a view of a stored block, as PyTorch before 0.4 wrote")
    return Storage(storage.dtype, str(key), count)
