"""`--config=FILE:options --config.a.b=value`: a config file, and changes to single fields."""

import argparse
import ast
import difflib
from collections.abc import Iterator, Sequence
from typing import Any

from ml_collections import ConfigDict

from tdfusion_jax.config.fields import Config, ConfigError
from tdfusion_jax.config.file import change, read_config
from tdfusion_jax.config.typed import MAY_BE_NONE, is_open

_FIELD = "--config."
_TRUTHS = {"true": True, "1": True, "false": False, "0": False}


def parse_config(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> Any:
  """The options of `parser`, which has `--config`, with the config in that option's place.

  A field is set as `--config.a.b=value` or `--config.a.b value`; one that is true or false also as
  `--config.a.b` or `--noconfig.a.b`. A value is what the field holds: a number, a text, true or
  false, or `(64, 96)`. A factory's arguments (such as `task.options`) may have new names; their
  values are numbers, true, false, or tuples if they look so, else texts.

  Args:
    parser: knows all options but fields.
    arguments: the command line, without the program's name.

  Raises:
    ConfigError: no such file, field or option, or a value that does not fit; it names it.
  """
  options, rest = parser.parse_known_args(list(arguments))
  file, _, after_colon = options.config.partition(":")
  config = read_config(file, after_colon, {})
  for field, text in _fields(rest, config):
    change(config, field, _value(config, field, text))
  options.config = config
  return options


def _fields(rest: list[str], config: Config) -> Iterator[tuple[str, str]]:
  """(field, value as it was written) in order; a name alone says true, or false behind --no."""
  waiting = list(rest)
  while waiting:
    argument = waiting.pop(0)
    name, equals, value = argument.partition("=")
    if name.startswith("--noconfig.") and not equals:
      yield name.removeprefix("--noconfig."), "false"
    elif not name.startswith(_FIELD):
      raise ConfigError(f"unexpected argument {argument!r}.")
    elif equals:
      yield name.removeprefix(_FIELD), value
    elif isinstance(_held(config, name.removeprefix(_FIELD)), bool):
      yield name.removeprefix(_FIELD), "true"
    elif not waiting:
      raise ConfigError(f"{argument}: a value is needed, as {argument}=VALUE.")
    else:
      yield name.removeprefix(_FIELD), waiting.pop(0)


def _held(config: Config, field: str) -> Any:
  """What the config has there; None if it has no such field."""
  place: Any = config
  for part in field.split("."):
    place = place.get(part) if isinstance(place, ConfigDict) else None
  return place


def _value(config: Config, field: str, text: str) -> Any:
  """`text` as what the field holds."""
  held = _held(config, field)
  above, _, name = field.rpartition(".")
  if held is None and not is_open(above) and field not in MAY_BE_NONE:
    place = _held(config, above) if above else config
    near = difflib.get_close_matches(name, list(place), 1) if isinstance(place, ConfigDict) else []
    hint = f" Is it {near[0]}?" if near else ""
    raise ConfigError(f"config.{field}: there is no such field.{hint}")
  if isinstance(held, str):
    return text
  if field in MAY_BE_NONE and text.lower() == "none":
    return None
  if isinstance(held, ConfigDict):
    raise ConfigError(f"config.{field} holds fields: set one, as --config.{field}.NAME={text[:60]}")
  if isinstance(held, bool):
    if text.lower() not in _TRUTHS:
      raise ConfigError(f"config.{field}={text[:60]}: true or false is needed.")
    return _TRUTHS[text.lower()]
  value = _literal(text)
  if isinstance(held, tuple) and isinstance(value, int):
    value = (value,)
  if held is not None and not isinstance(value, _KINDS[type(held)]):
    raise ConfigError(f"config.{field}={text[:60]}: {_NEEDED[type(held)]} is needed.")
  return value


_KINDS: dict[type, Any] = {int: int, float: (int, float), tuple: (tuple, list, type(None))}
_NEEDED = {int: "a whole number", float: "a number", tuple: "such as '(64, 96)'"}


def _literal(text: str) -> Any:
  """A number, a truth, a tuple, if it looks so; else the text."""
  if text.lower() in ("true", "false"):
    return text.lower() == "true"
  if text.lower() in ("nan", "inf", "-inf"):
    return float(text)
  try:
    value = ast.literal_eval(text)
  except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
    return text
  return tuple(value) if isinstance(value, list) else value
