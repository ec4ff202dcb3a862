"""Config files, with changes to single fields."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from tdfusion_jax.config.fields import Config, ConfigError
from tdfusion_jax.config.typed import is_open
from tdfusion_jax.files import place_of


def read_config(file: str, options: str, changes: Mapping[str, Any]) -> Config:
  """The config of a file like those in `configs/`, with changes to single fields.

  Args:
    file: path of the file; its `get_config(options)` makes the config.
    options: what would stand after the colon.
    changes: {"a.b": value}.

  Raises:
    ConfigError: no such file, or a field that is unknown or does not accept its value.
  """
  path = Path(file)
  spec = importlib.util.spec_from_file_location(f"tdfusion_config_{path.stem}", path)
  if spec is None or spec.loader is None or not path.is_file():
    raise ConfigError(f"{file}: no such config file.")
  module = importlib.util.module_from_spec(spec)
  try:
    spec.loader.exec_module(module)
    config = module.get_config(options)
  except ConfigError:
    raise
  except Exception as error:  # whatever a user's file may do
    raise ConfigError(f"{file} cannot be used: {place_of(error)}") from error
  if not isinstance(config, ConfigDict):
    raise ConfigError(f"{file}: get_config returned no config but {type(config).__name__}.")
  for field, value in changes.items():
    change(config, field, tuple(value) if isinstance(value, list) else value)
  return config


def change(config: Config, field: str, value: Any) -> None:
  """Sets one field.

  Args:
    config: is changed.
    field: "a.b".
    value: whether it fits is seen by `train.checks`.

  Raises:
    ConfigError: there is no such field.
  """
  *above, name = field.split(".")
  place = config
  for part in above:
    place = place.get(part) if isinstance(place, ConfigDict) else None
  # A factory's arguments are not known here, so any name is accepted among its options.
  free = is_open(".".join(above))
  if not isinstance(place, ConfigDict) or (name not in place and not free):
    raise ConfigError(f"config.{field}: there is no such field.")
  if value == "none" and name == "crop_size":
    value = None
  try:
    with place.unlocked(), place.ignore_type():
      place[name] = value
  except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
    raise ConfigError(f"config.{field}: {error}") from error
