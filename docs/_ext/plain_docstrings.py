"""Docstrings are written for an editor; this makes them valid reStructuredText for the reference.

A single backtick there marks code, signs such as `|` or `*` stand for themselves, and what a
function returns is a sentence in which a colon separates no type.
"""

import re
from typing import Any

# Code may run over the end of a line, not over that of a paragraph.
_CODE = re.compile(r"(?<![`:\w])`((?:[^`\n]|\n(?!\s*\n))+)`(?!`)")
_LITERAL = re.compile(r"(``[^`]+``|:[\w:]+:`[^`]+`)")
_SECTION = re.compile(r"(Args|Attributes|Raises|Returns|Yields):")
_CONTINUED = 4  # spaces before a further line of an argument's text
_BEFORE_NAPOLEON, _AFTER_NAPOLEON = 100, 900
_attributes: dict[str, list[str]] = {}


def plain(lines: list[str]) -> list[str]:
  """Lines of a docstring with code as literals and everything else escaped."""
  parts = _LITERAL.split(_CODE.sub(r"``\1``", "\n".join(lines)))
  return "".join(part if _LITERAL.fullmatch(part) else _escape(part) for part in parts).split("\n")


def _escape(text: str) -> str:
  text = re.sub(r"(?<!\\)([|`*])", r"\\\1", text)
  return re.sub(r"(?<=\w)_(?![\w`])", r"\\_", text)


def even(lines: list[str]) -> list[str]:
  """Sections with no line indented further than an argument's text: deeper would be a quotation."""
  made, inside = [], False
  for line in lines:
    if line and not line.startswith(" "):
      inside = bool(_SECTION.fullmatch(line))
    deep = inside and len(line) - len(line.lstrip()) > _CONTINUED
    made.append(" " * _CONTINUED + line.lstrip() if deep else line)
  return made


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
      made.append(f":returns: {line.strip()}" if first else f"  {line.strip()}")
      first = False
    else:
      made.append(line)
  return made


def process(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
  """Handler of `autodoc-process-docstring`; changes `lines` in place."""
  del app, obj, options
  lines[:] = returns_as_field(even(plain(lines)))
  if what in ("attribute", "data"):
    _attributes[name] = list(lines)


def restore(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
  """Undoes what napoleon does to an attribute: text before the first colon becomes a type."""
  del app, what, obj, options
  lines[:] = _attributes.pop(name, lines)


def skip(app: Any, what: str, name: str, obj: Any, skipped: bool, options: Any) -> bool | None:
  """Leaves out fields of named tuples that have no docstring of their own; the class has theirs."""
  del app, what, name, skipped, options
  return True if (obj.__doc__ or "").startswith("Alias for field number") else None


def setup(app: Any) -> dict[str, bool]:
  """Registers the handlers around napoleon's, which writes markup of its own."""
  app.connect("autodoc-process-docstring", process, priority=_BEFORE_NAPOLEON)
  app.connect("autodoc-process-docstring", restore, priority=_AFTER_NAPOLEON)
  app.connect("autodoc-skip-member", skip)
  return {"parallel_read_safe": True}
