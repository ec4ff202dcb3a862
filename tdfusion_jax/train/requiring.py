"""How a setting that does not fit is reported: ConfigError with the field, its value and why."""

from collections.abc import Iterable
from functools import reduce
from typing import Any

from tdfusion_jax.config import Config, ConfigError
from tdfusion_jax.files import is_plugin


def require(config: Config, ok: bool, field: str, why: str) -> None:
  """ConfigError `config.FIELD=VALUE: WHY` unless `ok`."""
  if not ok:
    raise ConfigError(f"config.{field}={value(config, field)!r}: {why}")


def value(config: Config, field: str) -> Any:
  """Of a field "a.b"."""
  return reduce(lambda place, name: place[name], field.split("."), config)


def one_of(config: Config, field: str, known: Iterable[str], own: str = "") -> None:
  """Requires one of the known names, or with `own` ("module:function") something of the user's."""
  names = ", ".join(known)
  found = value(config, field)
  if not own:
    require(config, found in known, field, f"one of {names}.")
  else:
    require(
      config, found in known or is_plugin(found), field, f"one of {names}, or your own as {own}."
    )
