"""Docstrings are written for an editor; this makes them valid reStructuredText for the reference.

A single backtick there marks code, signs such as `|` or `*` stand for themselves, and what a
function returns is a sentence in which a colon separates no type.
"""

import re
from typing import Any

_CODE = re.compile(r"(?<![`:\w])`([^`]+)`(?!`)")
_LITERAL = re.compile(r"(``[^`]+``|:[\w:]+:`[^`]+`)")
_BEFORE_NAPOLEON, _AFTER_NAPOLEON = 100, 900
_attributes: dict[str, list[str]] = {}


def plain_line(line: str) -> str:
  """A line of a docstring with code as literals and everything else escaped."""
  line = _CODE.sub(r"``\1``", line)
  parts = _LITERAL.split(line)
  return "".join(part if _LITERAL.fullmatch(part) else _escape(part) for part in parts)


def _escape(text: str) -> str:
  text = re.sub(r"(?<!\\)([|`*])", r"\\\1", text)
  return re.sub(r"(?<=\w)_(?![\w`])", r"\\_", text)


def returns_as_field(lines: list[str]) -> list[str]:
  """`Returns:` and its text as a field; napoleon would cut the text at its first colon."""
  made: list[str] = []
  inside = False
  for line in lines:
    if line in ("Returns:", "Yields:"):
      inside, first = True, True
      made.append("")
      continue
    if inside and line and not line.startswith(" "):
      inside = False
    if inside and line.strip():
      made.append(f":returns: {line.strip()}" if first else f"  {line}")
      first = False
    else:
      made.append(line)
  return made


def process(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
  """Handler of `autodoc-process-docstring`; changes `lines` in place."""
  del app, obj, options
  lines[:] = returns_as_field([plain_line(line) for line in lines])
  if what in ("attribute", "data"):
    _attributes[name] = list(lines)


def restore(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
  """Undoes what napoleon does to an attribute: text before the first colon becomes a type."""
  del app, what, obj, options
  lines[:] = _attributes.pop(name, lines)


def setup(app: Any) -> dict[str, bool]:
  """Registers the handlers around napoleon's, which writes markup of its own."""
  app.connect("autodoc-process-docstring", process, priority=_BEFORE_NAPOLEON)
  app.connect("autodoc-process-docstring", restore, priority=_AFTER_NAPOLEON)
  return {"parallel_read_safe": True}
