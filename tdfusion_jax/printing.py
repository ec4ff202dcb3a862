"""What is printed: any text, on any console, without obeying what a file smuggles into it.

File names, names of tensors, metadata and the errors of libraries come from outside. A terminal
would carry out the escape sequences in them, and a console of few characters would end the program
at one that it lacks. `guard` puts one filter before both outputs, so no verb has to think of it.
"""

import codecs
import os
import re
import sys
from typing import Any

_OBEYED = re.compile(
  # All that moves the cursor, rings, colours, renames the window or turns the reading direction;
  # and the halves of surrogate pairs, by which Python carries bytes of names that are no UTF-8.
  "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
_LOOKS_LIKE = {"↑": "^", "↓": "v", "±": "+-", "→": "->", "×": "x"}
_ERRORS = "tdfusion"


def plain(text: str) -> str:
  r"""`text` with what a terminal would obey written out, such as `\x1b`; lines and tabs stay.

  A byte of a file's name that is no UTF-8 becomes `\xff`. The result can be encoded as UTF-8.
  """
  return _OBEYED.sub(_written_out, text)


def _written_out(found: re.Match[str]) -> str:
  code = ord(found.group())
  if 0xDC80 <= code <= 0xDCFF:  # PEP 383: a byte
    code -= 0xDC00
  return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _replaced(error: UnicodeError) -> tuple[str, int]:
  """An error handler of encoders: something that every console has."""
  assert isinstance(error, UnicodeEncodeError)
  missing = error.object[error.start : error.end]
  texts = [_LOOKS_LIKE.get(c) or c.encode("ascii", "backslashreplace").decode() for c in missing]
  return "".join(texts), error.end


class Guarded:
  """A text stream before which `plain` stands; all but writing is the stream's own."""

  def __init__(self, stream: Any):
    self.stream = stream

  def __getattr__(self, name: str) -> Any:
    return getattr(self.stream, name)

  def write(self, text: str) -> int:
    """Writes `plain(text)`; returns the length of `text`, as streams do."""
    self.stream.write(plain(text))
    return len(text)

  def writelines(self, lines: Any) -> None:
    """Writes each of `lines`."""
    for line in lines:
      self.write(line)


def guard() -> None:
  """Guards standard output and standard error from here on; twice is as good as once.

  A process that was started without one of them, as by `>&-`, gets somewhere to write.
  """
  codecs.register_error(_ERRORS, _replaced)
  os.environ["PYTHON_COLORS"] = "0"  # Python's own colours, in usage and tracebacks from 3.13 on
  for name in ("stdout", "stderr"):
    stream = getattr(sys, name)
    if isinstance(stream, Guarded):
      continue
    if stream is None:
      stream = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - as long as the process
    if hasattr(stream, "reconfigure"):
      stream.reconfigure(errors=_ERRORS)
    setattr(sys, name, Guarded(stream))


def unguarded(stream: Any) -> Any:
  """The stream behind the filter: for our own display, which moves the cursor itself."""
  return stream.stream if isinstance(stream, Guarded) else stream
