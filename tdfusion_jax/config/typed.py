"""What kind of value a field takes: that of its default."""

import math
import numbers
from collections.abc import Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict

from tdfusion_jax.config.fields import Config, ConfigError, base

MAY_BE_NONE = ("data.crop_size", "data.crop_view")
"""Fields that may be None, for none of what they hold."""
_LARGEST = 2**32  # of whole numbers: enough for a seed, and for anything that is counted
_MOST = 1e300  # of other numbers
_LONGEST = 4096  # characters of a text: as long as a path may be
_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def is_open(field: str) -> bool:
  """Whether `field` holds a factory's arguments, which may have any names.

  Those are the fields that are empty in `base`, such as "task.options".
  """
  place: Any = base()
  for part in field.split("."):
    place = place.get(part) if isinstance(place, ConfigDict) else None
  return isinstance(place, ConfigDict) and not place


def open_options(config: Config) -> None:
  """Lets new names into fields that hold a factory's arguments, in a config that is locked."""
  for field, default in _leaves(base().to_dict()):
    if default == {}:
      place = config
      for part in field.split("."):
        place = place[part]
      place.unlock()


def require_types(config: Config, where: str = "", *, only_known: bool = True) -> None:
  """Raises ConfigError for a field that is missing, unknown, or of another kind than its default.

  Args:
    config: of a run, or of a file; plain values will do.
    where: in front of the message: a file that holds it.
    only_known: whether an unknown field is an error; runs of other versions may have some.
  """
  values = config.to_dict() if isinstance(config, ConfigDict) else config
  for field, why in _mistakes(values, base().to_dict(), "", only_known):
    raise ConfigError(f"{where}config.{field}{why}")


def _mistakes(
  values: Mapping[str, Any], defaults: Mapping[str, Any], above: str, only_known: bool
) -> Iterator[tuple[str, str]]:
  """(field, what is wrong) of each that is not as its default."""
  for name in sorted(values.keys() - defaults.keys()) if only_known else ():
    yield f"{above}{name}", ": there is no such field."
  for name, default in defaults.items():
    field = f"{above}{name}"
    if name not in values:
      yield field, " is missing."
    elif isinstance(default, dict) and not isinstance(values[name], Mapping):
      yield field, f"={_short(values[name])}: it holds fields, and is no value itself."
    elif isinstance(default, dict) and default:
      yield from _mistakes(values[name], default, f"{field}.", only_known)
    elif not isinstance(default, dict) and (why := _unfit(field, values[name], default)):
      yield field, f"={_short(values[name])}: {why}"


def _unfit(field: str, value: Any, default: Any) -> str:
  """Why `value` cannot be that of `field`; empty if it can."""
  if isinstance(default, tuple) or field in MAY_BE_NONE:
    return ""  # `train.checks` knows what a size is
  kinds: dict[type, Any] = {bool: bool, int: numbers.Integral, float: numbers.Real, str: str}
  kind = type(default)
  if not isinstance(value, kinds[kind]) or (kind is not bool and isinstance(value, bool)):
    return f"{_NAMES[kind]} is needed."
  if kind is str and ("\0" in value or len(value) > _LONGEST):
    return f"a text of at most {_LONGEST} characters, without NUL, is needed."
  if kind is int and abs(value) > _LARGEST:
    return f"a number of at most {_LARGEST} is needed."
  # A whole number of hundreds of digits is no float at all.
  if kind is float and not (abs(value) < _MOST and math.isfinite(value)):
    return "a finite number is needed."
  return ""


def _short(value: Any) -> str:
  text = repr(value) if not isinstance(value, int) or abs(value) < 2**64 else "a huge number"
  return text if len(text) < 80 else f"{text[:60]}..."


def _leaves(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
  for name, value in values.items():
    if isinstance(value, dict) and value:
      yield from _leaves(value, f"{above}{name}.")
    else:
      yield f"{above}{name}", value
