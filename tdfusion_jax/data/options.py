"""Options of the readers, checked before anything is read: a typing error ends in one line."""

import ast
import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from tdfusion_jax.data.source import DatasetError


def check_options(name: str, reader: Callable, options: Mapping[str, Any]) -> None:
  """Checks the options of a reader against its annotations.

  Args:
    name: of the data set, for the message.
    reader: its arguments after the first two (root and split) are the options.
    options: what a user gave.

  Raises:
    DatasetError: an option that `reader` does not have, or a value of another type.
  """
  hints = _hints(reader.__init__ if isinstance(reader, type) else reader)
  arguments = list(inspect.signature(reader).parameters.values())[2:]
  takes_any = any(argument.kind is argument.VAR_KEYWORD for argument in arguments)
  known = [p.name for p in arguments if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]
  for option, value in options.items():
    if option not in known and not takes_any:
      raise DatasetError(
        f"data set {name!r} has no option {option!r}; known: {', '.join(known) or 'none'}"
      )
    if not _fits(value, hints.get(option, Any)):
      raise DatasetError(f"data set {name!r}: {option}={value!r} is not {_words(hints[option])}")


def _hints(function: Callable) -> dict[str, Any]:
  try:
    return get_type_hints(function)
  except (NameError, TypeError):
    return {}  # a user's reader may name types that are imported for type checkers only


def _fits(value: Any, hint: Any) -> bool:
  if hint is Any:
    return True
  origin, parts = get_origin(hint), get_args(hint)
  if origin in (Union, types.UnionType):
    return any(_fits(value, part) for part in parts)
  if origin is tuple:
    return (
      isinstance(value, (tuple, list))
      and len(value) == len(parts)
      and all(map(_fits, value, parts))
    )
  if origin is Sequence:  # a text is a sequence of its letters, which nobody means
    return isinstance(value, (tuple, list)) and all(_fits(item, parts[0]) for item in value)
  if origin is Literal:
    return value in parts
  if hint in (int, float):
    return isinstance(value, (int, hint)) and not isinstance(value, bool)
  try:
    return isinstance(value, hint)
  except TypeError:  # a hint that cannot be asked, such as list[int], of a user's reader
    return True


def _words(hint: Any) -> str:
  """What a value must be, as in "is not a whole number"."""
  origin, parts = get_origin(hint), get_args(hint)
  if origin in (Union, types.UnionType):
    return " or ".join(dict.fromkeys(_words(part) for part in parts if part is not type(None)))
  if origin is tuple:
    return f"{len(parts)} values, such as {tuple([96] * len(parts))}"
  if origin is Sequence:
    return "a list of names, such as ['person', 'car']"
  if origin is Literal:
    return f"one of {', '.join(map(repr, parts))}"
  words = {
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    str: "a path",
    Path: "a path",
  }
  return words.get(hint, getattr(hint, "__name__", str(hint)))


def split_names(text: str | None) -> tuple[str, ...] | None:
  """("a", "b") of "a, b"; None without a text."""
  if not text:
    return None
  return tuple(name.strip() for name in text.split(",") if name.strip())


def parse_options(items: Sequence[str], field: str = "--option") -> dict[str, dict[str, Any]]:
  """Reader options by split from `[SPLIT:]NAME=VALUE`; under "" those of every split.

  Args:
    items: as given.
    field: what named them, for messages.

  Raises:
    DatasetError: an item of another form.
  """
  found: dict[str, dict[str, Any]] = {}
  for item in items:
    name, separator, text = item.partition("=")
    split, _, option = name.rpartition(":")
    if not separator or not option:
      raise DatasetError(f"{field}={item}: [SPLIT:]NAME=VALUE is needed, such as every=10")
    value = split_names(text) if option == "classes" else _value(text)
    found.setdefault(split, {})[option] = value
  return found


def _value(text: str) -> Any:
  try:
    return ast.literal_eval(text)
  except (ValueError, SyntaxError):
    return text
