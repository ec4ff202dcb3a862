"""Directories of tags: what TIFF files consist of, and EXIF. Read and written byte for byte.

Values are copied, never interpreted, so that whatever a camera has written stays as it was.
"""

import io
import struct
from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

import numpy as np

SHORT, LONG = 3, 4
_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_SWAPPED = {3: 2, 8: 2, 4: 4, 5: 4, 9: 4, 10: 4, 11: 4, 13: 4, 12: 8}
"""Bytes of what is swapped as one in a file of the other byte order; a rational is two of four."""
_MOST_TAGS = 4096
_LONGEST = 1 << 20  # bytes of a value: enough for every tag that is copied


class Tag(NamedTuple):
  """A tag's type (TIFF 6.0, section 2) and its values as little-endian bytes."""

  kind: int
  data: bytes

  @property
  def first(self) -> int:
    """The first value of a tag of whole numbers."""
    return int.from_bytes(self.data[: _BYTES[self.kind]], "little")


Directory: TypeAlias = "Mapping[int, Tag | Directory]"
"""{number: tag, or the directory that a tag points to}."""


def shorts(*values: int) -> Tag:
  """A tag of 16-bit numbers."""
  return Tag(SHORT, struct.pack(f"<{len(values)}H", *values))


def longs(*values: int) -> Tag:
  """A tag of 32-bit numbers."""
  return Tag(LONG, struct.pack(f"<{len(values)}I", *values))


class Reader:
  """The directories of a TIFF file or of an EXIF block.

  Args:
    file: opened for reading bytes.

  Raises:
    ValueError: it does not begin as TIFF does.
    OSError: it cannot be read.
  """

  def __init__(self, file: io.BufferedIOBase):
    self._file = file
    self._size = file.seek(0, 2)
    head = self._at(0, 16)
    self._order = {b"II": "<", b"MM": ">"}.get(head[:2], "")
    version = struct.unpack(f"{self._order or '<'}H", head[2:4])[0] if len(head) >= 8 else 0
    if not self._order or version not in (42, 43):
      raise ValueError("does not begin as a TIFF file does")
    self._big = version == 43
    self.first = self._number("Q", head[8:16]) if self._big else self._number("I", head[4:8])
    """Where the first directory is."""

  def directory(self, offset: int) -> dict[int, Tag]:
    """The tags at `offset`; those that are damaged, too long or of an unknown type are left out."""
    counted, entry, place = (8, 20, 8) if self._big else (2, 12, 4)
    count = self._number("Q" if self._big else "H", self._at(offset, counted))
    found: dict[int, Tag] = {}
    for index in range(min(count, _MOST_TAGS)):
      row = self._at(offset + counted + index * entry, entry)
      if len(row) < entry:
        break
      number, kind = struct.unpack(f"{self._order}HH", row[:4])
      size = _BYTES.get(kind, 0) * self._number("Q" if self._big else "I", row[4 : entry - place])
      if not 0 < size <= min(_LONGEST, self._size):
        continue
      at = self._number("Q" if self._big else "I", row[-place:])
      data = row[-place:][:size] if size <= place else self._at(at, size)
      if len(data) == size:
        found.setdefault(number, Tag(kind, self._little(kind, data)))
    return found

  def _at(self, offset: int, size: int) -> bytes:
    if offset >= self._size:
      return b""
    self._file.seek(offset)
    return self._file.read(size)

  def _number(self, form: str, data: bytes) -> int:
    if len(data) < struct.calcsize(form):
      return 0
    return struct.unpack(self._order + form, data[: struct.calcsize(form)])[0]

  def _little(self, kind: int, data: bytes) -> bytes:
    if self._order == "<" or kind not in _SWAPPED:
      return data
    return np.frombuffer(data, f">u{_SWAPPED[kind]}").astype(f"<u{_SWAPPED[kind]}").tobytes()


def directory_bytes(tags: Directory, offset: int) -> bytes:
  """A directory as it stands at `offset` of a little-endian file, what it points to behind it."""
  rows, behind = struct.pack("<H", len(tags)), b""
  at = offset + 2 + 12 * len(tags) + 4
  for number, tag in sorted(tags.items()):
    if isinstance(tag, Tag):
      kind, count, data = tag.kind, len(tag.data) // _BYTES[tag.kind], tag.data
      where = at + len(behind)
    else:
      kind, count, where = LONG, 1, at + len(behind)
      data = directory_bytes(tag, where)
    if isinstance(tag, Tag) and len(data) <= 4:
      rows += struct.pack("<HHI", number, kind, count) + data.ljust(4, b"\0")
      continue
    rows += struct.pack("<HHII", number, kind, count, where)
    behind += data + b"\0" * (len(data) % 2)  # values begin at even places
  return rows + bytes(4) + behind
