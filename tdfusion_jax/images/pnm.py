"""PGM and PPM files of other depths than 8 bits, in their own numbers.

Pillow stretches them to 8 or 16 bits, and cuts colour to 8.
"""

import re
from typing import NamedTuple

import numpy as np

from tdfusion_jax.images.opening import check_size
from tdfusion_jax.images.stored import Stored

_KINDS = {b"P2": 1, b"P3": 3, b"P5": 1, b"P6": 3}
_HEAD = re.compile(rb"(P[2356])" + rb"(?:\s|#[^\r\n]*[\r\n])+(\d{1,9})" * 3 + rb"\s")


class _Head(NamedTuple):
  kind: bytes
  width: int
  height: int
  most: int
  end: int


def _head(content: bytes) -> _Head | None:
  found = _HEAD.match(content)
  if found is None:
    return None
  return _Head(found[1], int(found[2]), int(found[3]), int(found[4]), found.end())


def is_deep(start: bytes) -> bool:
  """Whether a file that starts so is a PGM or PPM whose largest number is not 255."""
  head = _head(start)
  return head is not None and head.most != 255


def read_deep(content: bytes, name: str) -> Stored:
  """Its numbers.

  Raises:
    ImageError: too large.
    ValueError: damaged.
  """
  head = _head(content)
  if head is None or not 0 < head.most < 65536 or not head.width * head.height:
    raise ValueError("its head is damaged")
  check_size(head.width, head.height, name)
  channels = _KINDS[head.kind]
  count = head.width * head.height * channels
  dtype = np.uint8 if head.most < 256 else np.uint16
  if head.kind in (b"P2", b"P3"):
    words = re.sub(rb"#[^\r\n]*", b"", content[head.end :]).split(maxsplit=count)[:count]
    values = np.array(words, np.int64)
  else:
    stored = np.uint8 if head.most < 256 else np.dtype(">u2")
    values = np.frombuffer(content, stored, count, head.end)
  if len(values) != count or values.max() > head.most:
    raise ValueError(f"{count} numbers from 0 to {head.most} are needed")
  array = values.astype(dtype).reshape(head.height, head.width, channels)
  return Stored(array, channels, most=None if head.most == 65535 else float(head.most))
