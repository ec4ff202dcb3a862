"""Files as `torch.save` writes them, of anything, without PyTorch: opcode by opcode."""

import io
import pickle
import struct
import zipfile

import numpy as np

from tdfusion_jax.convert.pth_write import _global, _integer, _text, _tuple
from tdfusion_jax.convert.unpickle import STORAGES

MAGIC = 0x1950A86A20F9469CFC6C


class Raw(bytes):
  """Opcodes that leave one value on the stack."""


class Writer:
  """Collects the arrays of what it pickles."""

  def __init__(self):
    self.arrays = []

  def value(self, value):
    """The opcodes of a value."""
    if isinstance(value, Raw):
      return bytes(value)
    if isinstance(value, np.ndarray):
      return self._tensor(value)
    if isinstance(value, dict):
      items = b"".join(self.value(part) for item in value.items() for part in item)
      return b"}(" + items + b"u"
    if isinstance(value, list):
      return b"](" + b"".join(map(self.value, value)) + b"e"
    if isinstance(value, tuple):
      return b"(" + b"".join(map(self.value, value)) + b"t"
    if isinstance(value, str):  # without a place in the memo, which other parts may count on
      return _text(value)
    return pickle.dumps(value, 2)[2:-1]

  def _tensor(self, array):
    array = np.asarray(array, order="C")
    self.arrays.append(array)
    strides = [s // array.itemsize for s in array.strides]
    number = _text(str(len(self.arrays) - 1))
    kind = _global("torch", STORAGES[array.dtype])
    parts = [_text("storage"), kind, number, _text("cpu"), _integer(array.size)]
    if self.legacy:
      parts.append(b"N")
    return b"".join(
      [
        _global("torch._utils", "_rebuild_tensor_v2"),
        b"(" + _tuple(parts) + b"Q" + _integer(0),
        _tuple(map(_integer, array.shape)) + _tuple(map(_integer, strides)),
        b"\x89" + _global("collections", "OrderedDict") + b")RtR",
      ]
    )

  legacy = False


def stub(module, name, state, *, arguments=b")"):
  """An object of a class of a project, as protocol 2 pickles it; `state` are opcodes."""
  return Raw(_global(module, name) + arguments + b"\x81" + state + b"b")


def zip_file(path, value):
  """As PyTorch 1.6 and newer write it."""
  writer = Writer()
  content = b"\x80\x02" + writer.value(value) + b"."
  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr("x/data.pkl", content)
    for number, array in enumerate(writer.arrays):
      archive.writestr(f"x/data/{number}", array.tobytes())
  return path


def legacy_file(path, value):
  """As PyTorch before 1.6 wrote it: five pickles and the blocks."""
  writer = Writer()
  writer.legacy = True
  content = b"\x80\x02" + writer.value(value) + b"."
  out = io.BytesIO()
  for part in (MAGIC, 1001, {"little_endian": True}):
    out.write(pickle.dumps(part, 2))
  out.write(content + pickle.dumps([str(n) for n in range(len(writer.arrays))], 2))
  for array in writer.arrays:
    out.write(struct.pack("<q", array.size) + array.tobytes())
  path.write_bytes(out.getvalue())
  return path
