"""The files of a run: config, versions, metric lines and TensorBoard events."""

import contextlib
import importlib.metadata
import json
import logging
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from flax.traverse_util import flatten_dict

from tdfusion_jax.config import ConfigError, base
from tdfusion_jax.files import (
  UsageError,
  atomic_write,
  in_words,
  read_json,
  remove_leftovers,
  write_json,
)
from tdfusion_jax.train import trackers

log = logging.getLogger(__name__)

# What may differ between the run that made a folder and the one that goes on in it.
_FREE = (
  "log",
  "data.root",
  "data.workers",
  "data.prefetch",
  "data.cache_mb",
  "data.cache_dir",
  "data.cache_disk_mb",
  "train.devices",
)
_PACKAGES = ("tdfusion-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


class FolderError(UsageError):
  """The run folder cannot be written; the message names the file."""


class RunFolder:
  """A run's folder; made for a new run, checked for one that goes on."""

  def __init__(self, path: str | Path, config: Mapping[str, Any]):
    """ConfigError if `path` holds a run of another config, is in use, or cannot be made."""
    if not str(path).strip():
      raise ConfigError("--workdir is empty: name a folder for the run.")
    self.path = Path(path).absolute()
    try:
      self.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
      raise ConfigError(f"--workdir={path} cannot be used: {in_words(error)}") from error
    self._metrics: IO[bytes] | None = None
    self._board: Any = None
    self._config = config
    self._trackers = trackers.Trackers({})
    self.validations: list[dict] = []
    """The metric lines of validations so far."""
    file = self.path / "config.json"
    if file.is_file():
      require_same(config, self.path)
    else:
      write_json(file, dict(config))
      write_json(self.path / "versions.json", versions())
    self._lock = _alone(file)
    remove_leftovers(self.path)

  def open_metrics(self, step: int) -> None:
    """Starts `metrics.jsonl`, or goes on in it after `step`.

    Later lines of a killed run are dropped: its steps are run again. Lines that cannot be read are
    kept aside in `metrics.damaged`, with a warning.
    """
    from tensorboardX import SummaryWriter

    file = self.path / "metrics.jsonl"
    rows, damaged = _read_lines(file)
    if damaged:
      aside = file.with_suffix(".damaged")
      with aside.open("ab") as opened:
        opened.writelines(line + b"\n" for line in damaged)
      log.warning("%s: %d lines cannot be read; they are kept in %s", file, len(damaged), aside)
    kept = [row for row in rows if row["step"] <= step] if step else []
    with atomic_write(file) as temporary:
      temporary.write_bytes(b"".join(_line(row) for row in kept))
    self.validations = [row for row in kept if row["phase"] == "val"]
    # Unbuffered: a line that a full disk refuses is not written once more when the file is closed.
    self._metrics = file.open("ab", buffering=0)
    self._board = SummaryWriter(
      str(self.path / "tensorboard"), purge_step=step + 1 if step else None
    )
    self._trackers = trackers.opened(self._config, self.path)

  def write(self, row: Mapping[str, Any]) -> None:
    """One metric line; numbers go to TensorBoard too.

    Raises:
      FolderError: it could not be written (disk full); what was there before is as it was.
    """
    assert self._metrics is not None, "open_metrics first"
    try:
      _append(self._metrics, _line(row))
    except OSError as error:
      raise FolderError(f"{self.path / 'metrics.jsonl'}: {in_words(error)}") from error
    if row["phase"] == "val":
      self.validations.append(dict(row))
    numbers = {
      name if "/" in name else f"{row['phase']}/{name}": value
      for name, value in row.items()
      if isinstance(value, float)
    }
    for tag, value in numbers.items():
      self._board.add_scalar(tag, value, row["step"])
    self._trackers.numbers(numbers, row["step"])

  def has_validation(self, step: int) -> bool:
    """Whether an earlier process has measured the state after `step`."""
    return any(row["step"] == step for row in self.validations)

  def picture(self, name: str, image, step: int) -> None:
    """An RGB uint8 picture for TensorBoard and the trackers."""
    self._board.add_image(name, image, step, dataformats="HWC")
    self._trackers.picture(name, image, step)

  def close(self) -> None:
    """Closes the files."""
    self._lock.close()
    if self._metrics is not None:
      self._metrics.close()
      self._board.close()
      self._trackers.close()


class NoFolder:
  """In the place of a `RunFolder` where another process keeps it: nothing is written."""

  def __init__(self, path: str | Path):
    self.path = Path(path).absolute()
    self.validations: list[dict] = []

  def open_metrics(self, step: int) -> None:
    """Opens nothing."""

  def write(self, row: Mapping[str, Any]) -> None:
    """Writes nothing."""

  def has_validation(self, step: int) -> bool:
    """Nothing is known here."""
    return False

  def picture(self, name: str, image, step: int) -> None:
    """Keeps nothing."""

  def close(self) -> None:
    """Closes nothing."""


def _alone(file: Path) -> IO[str]:
  """`file`, opened and locked; ConfigError if another process has it."""
  opened = file.open()
  try:
    import fcntl

    fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    opened.close()
    raise ConfigError(f"{file.parent} is being trained by another process.") from None
  except (ImportError, OSError):  # a system, or a file system, without locks
    pass
  return opened


def versions() -> dict[str, str]:
  """Python, the packages that shape the numbers, and the git commit if there is one."""
  found = {"python": platform.python_version(), "platform": platform.platform()}
  for name in _PACKAGES:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
      found[name] = importlib.metadata.version(name)
  with contextlib.suppress(OSError, subprocess.SubprocessError):
    here = Path(__file__).parent
    commit = subprocess.run(
      ["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, timeout=5, check=True
    )
    found["commit"] = commit.stdout.strip()
  return found


def require_same(config: Mapping[str, Any], folder: Path, *, free: Sequence[str] = ()) -> None:
  """ConfigError, naming the fields, if `folder` holds a run of another config.

  Fields that are newer than the run had their defaults then.

  Args:
    config: as plain values.
    folder: of a run, or of none.
    free: fields that may differ, beside those that never change a result.
  """
  file = folder / "config.json"
  if not file.is_file():
    return
  config_there = read_json(file, ConfigError)
  try:
    written = flatten_dict(config_there, sep=".")
  except RecursionError:
    raise ConfigError(f"{file} cannot be read: it is no run's config.") from None
  new = flatten_dict(json.loads(json.dumps(config)), sep=".")
  defaults = flatten_dict(json.loads(base().to_json()), sep=".")
  old = {key: value for key, value in defaults.items() if key in new} | written
  may_differ = (*_FREE, *free)
  changed = [
    key
    for key in sorted(old.keys() | new.keys())
    if old.get(key) != new.get(key) and not _is_within(key, may_differ)
  ]
  if changed:
    lines = [f"{k}: {old.get(k)!r} there, {new.get(k)!r} now" for k in changed]
    raise ConfigError(
      f"{folder} holds a run with another config; choose another --workdir.\n  "
      + "\n  ".join(lines)
    )


def _is_within(key: str, fields: Sequence[str]) -> bool:
  return any(key == field or key.startswith(f"{field}.") for field in fields)


def read_metrics(path: Path) -> list[dict]:
  """The lines of a `metrics.jsonl` that can be read; how many cannot is said in a warning.

  A last line without its end, as a killed process leaves it, is left out.
  """
  rows, damaged = _read_lines(path)
  if damaged:
    log.warning("%s: %d lines cannot be read and are left out", path, len(damaged))
  return rows


def _read_lines(path: Path) -> tuple[list[dict], list[bytes]]:
  """(rows, lines that are none)."""
  if not path.is_file():
    return [], []
  *lines, _ = path.read_bytes().split(b"\n")  # behind the last newline: nothing, or a cut line
  rows, damaged = [], []
  for line in lines:
    row = _row(line)
    if row is None:
      damaged.append(line)
    else:
      rows.append(row)
  return rows, damaged


def _row(line: bytes) -> dict | None:
  try:
    row = json.loads(line)
  except (ValueError, RecursionError):
    return None
  if not isinstance(row, dict) or not isinstance(row.get("phase"), str):
    return None
  step = row.get("step")
  numbers = all(_is_number(value) for name, value in row.items() if name != "phase")
  return row if isinstance(step, int) and numbers else None


def _is_number(value: Any) -> bool:
  if isinstance(value, bool) or not isinstance(value, int | float):
    return False
  return isinstance(value, float) or abs(value) < 2**63


def _line(row: Mapping[str, Any]) -> bytes:
  return (json.dumps(dict(row)) + "\n").encode()


def _append(file: IO[bytes], line: bytes) -> None:
  """The whole line or, where that fails, nothing of it."""
  before = file.seek(0, os.SEEK_END)
  try:
    while line:
      line = line[file.write(line) :]
  except OSError:
    file.truncate(before)
    raise
