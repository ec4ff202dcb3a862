"""Docstrings are written to be read in an editor; this makes them valid reStructuredText for the reference.

A single backtick there marks code, and signs such as `|` or `*` stand for themselves.
"""

import re
from typing import Any

_CODE = re.compile(r"(?<![`:\w])`([^`]+)`(?!`)")
_LITERAL = re.compile(r"(``[^`]+``|:\w+:`[^`]+`)")
_FIELD = re.compile(r"^(\s*:[^:]*:)(.*)$")


def plain_line(line: str) -> str:
  """A line of a docstring with code as literals and everything else escaped."""
  line = _CODE.sub(r"``\1``", line)
  parts = _LITERAL.split(line)
  return "".join(part if _LITERAL.fullmatch(part) else _escape(part) for part in parts)


def _escape(text: str) -> str:
  text = re.sub(r"(?<!\\)([|`])", r"\\\1", text)
  text = re.sub(r"(?<![\\*\w])(\*{1,2})(?=\w)(?![^*]*\*)", r"\\\1", text)
  return re.sub(r"(?<=\w)_(?![\w`])", r"\\_", text)


def process(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
  """Handler of `autodoc-process-docstring`; changes `lines` in place."""
  del app, what, name, obj, options
  for at, line in enumerate(lines):
    field = _FIELD.match(line)
    if field:  # napoleon has written the field's name, which is markup already
      lines[at] = field[1] + plain_line(field[2])
    elif not line.lstrip().startswith(".. "):
      lines[at] = plain_line(line)


def setup(app: Any) -> dict[str, bool]:
  """Registers the handler, after napoleon's."""
  app.connect("autodoc-process-docstring", process, priority=900)
  return {"parallel_read_safe": True}
