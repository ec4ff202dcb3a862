"""Trackers that a run's numbers and pictures go to beside TensorBoard, imported only when asked."""

import importlib.util
import json
import logging
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from flax.traverse_util import flatten_dict

from tdfusion_jax.config import ConfigError
from tdfusion_jax.files import UsageError, read_json, write_json, write_text

log = logging.getLogger(__name__)

_FILE = "trackers.json"
_LONGEST = 500  # characters of a value that MLflow takes


@runtime_checkable
class Tracker(Protocol):
  """Where numbers and pictures go."""

  def numbers(self, values: Mapping[str, float], step: int) -> None:
    """{tag: value} after `step`."""

  def picture(self, name: str, image: np.ndarray, step: int) -> None:
    """[H, W, 3] uint8 after `step`."""

  def close(self) -> None:
    """Nothing comes any more."""


class _Logger:
  """What wandb and trackio have in common: `log`, `finish`, and `Image` of the module.

  Args:
    module: the package.
    run: has the two functions.
  """

  def __init__(self, module: Any, run: Any):
    self._image, self._run = module.Image, run

  def numbers(self, values: Mapping[str, float], step: int) -> None:
    self._run.log(dict(values), step=step)

  def picture(self, name: str, image: np.ndarray, step: int) -> None:
    self._run.log({name: self._image(image)}, step=step)

  def close(self) -> None:
    self._run.finish()


def _wandb(module: Any, about: "_About") -> Tracker:
  run = module.init(
    project=about.project,
    name=about.folder.name,
    id=about.run,
    resume="allow",
    config=about.config,
    dir=str(about.folder),
  )
  return _Logger(module, run)


def _trackio(module: Any, about: "_About") -> Tracker:
  name = f"{about.folder.name}-{about.run}"  # runs are known by their names
  module.init(project=about.project, name=name, config=about.config, resume="allow", embed=False)
  return _Logger(module, module)


class _MLflow:
  def __init__(self, module: Any, about: "_About"):
    self._module = module
    module.set_experiment(about.project)
    file = about.folder / "mlflow_run.txt"
    if file.is_file():
      module.start_run(run_id=file.read_text(encoding="utf-8").strip())
      return
    started = module.start_run(run_name=about.folder.name)
    write_text(file, started.info.run_id + "\n")
    fields = flatten_dict(dict(about.config), sep=".")
    module.log_params({name: str(value)[:_LONGEST] for name, value in fields.items()})

  def numbers(self, values: Mapping[str, float], step: int) -> None:
    self._module.log_metrics(dict(values), step=step)

  def picture(self, name: str, image: np.ndarray, step: int) -> None:
    self._module.log_image(image, key=name, step=step)

  def close(self) -> None:
    self._module.end_run()


class _About:
  """What a tracker is told of a run."""

  def __init__(self, config: Mapping[str, Any], folder: Path):
    self.config, self.folder = json.loads(json.dumps(config)), folder
    self.project = config["log"]["project"]
    file = folder / _FILE
    if not file.is_file():
      write_json(file, {"run": secrets.token_hex(4)})
    self.run: str = read_json(file)["run"]


_KINDS: dict[str, Callable[[Any, _About], Tracker]] = {
  "wandb": _wandb,
  "mlflow": _MLflow,
  "trackio": _trackio,
}


def named(text: str) -> list[str]:
  """The trackers that `log.trackers` names, each one of wandb, mlflow, trackio.

  Raises:
    ConfigError: there is no such one, or its package is not installed.
  """
  names = [name.strip() for name in text.split(",") if name.strip()]
  for name in names:
    if name not in _KINDS:
      raise ConfigError(
        f"config.log.trackers={text!r}: {name!r} is not one of {', '.join(_KINDS)}."
      )
    try:
      found = importlib.util.find_spec(name)
    except ValueError:  # put into sys.modules by hand
      found = True
    if not found:
      raise ConfigError(f"config.log.trackers={text!r}: install it, pip install {name}.")
  return list(dict.fromkeys(names))


def opened(config: Mapping[str, Any], folder: Path) -> "Trackers":
  """The trackers of a run, which its folder knows again when it goes on.

  Args:
    config: of the run, as in `config.json`; `log.trackers` and `log.project` count.
    folder: of the run.

  Raises:
    ConfigError: see `named`.
    UsageError: a tracker refuses to begin; later refusals are warnings.
  """
  names = named(config["log"].get("trackers", ""))
  if not names:
    return Trackers({})
  about, made = _About(config, folder), {}
  for name in names:
    try:
      made[name] = _KINDS[name](importlib.import_module(name), about)
    except Exception as error:
      raise UsageError(f"log.trackers: {name} cannot begin: {error}") from error
  return Trackers(made)


class Trackers:
  """Several trackers as one. One that fails on the way is left out, with a warning."""

  def __init__(self, made: Mapping[str, Tracker]):
    self._made = dict(made)

  def numbers(self, values: Mapping[str, float], step: int) -> None:
    """{tag: value} after `step`."""
    self._each(lambda tracker: tracker.numbers(values, step))

  def picture(self, name: str, image: np.ndarray, step: int) -> None:
    """[H, W, 3] uint8 after `step`."""
    self._each(lambda tracker: tracker.picture(name, image, step))

  def close(self) -> None:
    """Nothing comes any more."""
    self._each(lambda tracker: tracker.close())
    self._made = {}

  def _each(self, call: Callable[[Tracker], None]) -> None:
    for name, tracker in list(self._made.items()):
      try:
        call(tracker)
      except Exception as error:  # a network that is down is no reason to lose a training
        log.warning("%s gets nothing any more: %s", name, error)
        del self._made[name]
