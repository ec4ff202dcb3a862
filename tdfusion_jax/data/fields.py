"""Reading single fields of label files, which are not trusted: a fault names file and field."""

import codecs
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tdfusion_jax.data.source import DatasetError

MAX_COORDINATE = 1e6
"""No image is wider; a larger number is a damaged file."""
MAX_LABEL_BYTES = 16 << 20
"""Of one XML or text file."""
MAX_COCO_BYTES = 1 << 30


def to_number(text: Any, origin: Path, what: str, limit: float = MAX_COORDINATE) -> float:
  """`text` as a finite number of at most `limit`; `what` names the field in the error."""
  if isinstance(text, bool) or not isinstance(text, (str, int, float)):
    raise DatasetError(f"{origin}: {what} is {short(text)}, not a number")
  try:
    value = float(text)
  except (ValueError, OverflowError):
    comma = isinstance(text, str) and re.fullmatch(r"\s*[-+]?\d*,\d+\s*", text)
    remedy = "; write its decimal comma as a point" if comma else ""
    raise DatasetError(f"{origin}: {what} is {short(text)}, not a number{remedy}") from None
  if not math.isfinite(value):
    raise DatasetError(f"{origin}: {what} is {short(text)}, not a finite number")
  if abs(value) > limit:
    raise DatasetError(f"{origin}: {what} is {short(text)}, beyond the limit of {limit:.0f}")
  return value


def short(value: object) -> str:
  """`value` as it may appear in a message."""
  try:
    text = repr(value)
  except ValueError:  # an integer of thousands of digits refuses to be printed
    text = "an enormous number"
  return text if len(text) <= 60 else f"{text[:57]}..."


def require_order(row: Sequence[float], origin: Path, what: str) -> None:
  """Raises for a box (x1, y1, x2, y2) that ends before it begins."""
  if row[2] < row[0] or row[3] < row[1]:
    sides = ", ".join(f"{value:g}" for value in row)
    raise DatasetError(f"{origin}: {what} is inverted: x1, y1, x2, y2 = {sides}")


def class_index(value: object, count: int, origin: Path, what: str = "class index") -> int:
  """`value` as a class index below `count`."""
  number = to_number(value, origin, what, math.inf)
  if number != int(number) or not 0 <= number < count:
    shown = short(value).strip("'")
    raise UnknownClassError(f"{origin}: {what} {shown} is not in 0 to {count - 1}")
  return int(number)


class UnknownClassError(DatasetError):
  """A class that the data set does not have."""


def read_bytes(path: Path, limit: int = MAX_LABEL_BYTES) -> bytes:
  """A file of at most `limit` bytes."""
  try:
    with open(path, "rb") as file:
      content = file.read(limit + 1)
  except (OSError, ValueError) as error:
    raise DatasetError(f"{path}: cannot be read ({error})") from None
  if len(content) > limit:
    raise DatasetError(f"{path}: larger than the limit of {limit >> 20} MiB for such a file")
  return content


def read_text(path: Path, limit: int = MAX_LABEL_BYTES) -> str:
  """A text file of at most `limit` bytes, in any encoding that `decode` knows."""
  return decode(read_bytes(path, limit), path)[0]


def decode(content: bytes, origin: Path) -> tuple[str, str]:
  """(text, encoding) of a label file's bytes: UTF-8, UTF-16 or UTF-32, else Latin-1.

  UTF-16 is known by its mark, or by every second byte being zero. Bytes that are none of these are
  taken one by one (Latin-1): digits are right then, and letters of Western European names.

  Raises:
    DatasetError: no text at all, naming `origin`.
  """
  encoding = next((name for mark, name in _MARKS if content.startswith(mark)), None)
  if encoding is None and len(content) >= 4:
    head = content[:64]
    zeros = head[0::2].count(0), head[1::2].count(0)
    half = len(head) // 2
    encoding = {(0, half): "utf-16-le", (half, 0): "utf-16-be"}.get(zeros)
  try:
    return content.decode(encoding or "utf-8"), encoding or "utf-8"
  except UnicodeDecodeError as error:
    if encoding is not None or b"\0" in content:
      raise DatasetError(f"{origin}: cannot be read as text ({error})") from None
  return content.decode("latin-1"), "latin-1"


_MARKS = (
  (codecs.BOM_UTF8, "utf-8-sig"),
  (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark is its beginning
  (codecs.BOM_UTF32_BE, "utf-32"),
  (codecs.BOM_UTF16_LE, "utf-16"),
  (codecs.BOM_UTF16_BE, "utf-16"),
)
"""(the mark at a text's beginning, its encoding)."""
