"""The files of a run: config, versions, metric lines and TensorBoard events."""

import contextlib
import importlib.metadata
import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from flax.traverse_util import flatten_dict

from tdfusion_jax.config import ConfigError, base
from tdfusion_jax.files import write_json, write_text

# What may differ between the run that made a folder and the one that goes on in it.
_FREE = (
  "log",
  "data.root",
  "data.workers",
  "data.prefetch",
  "data.cache_mb",
  "data.cache_dir",
  "data.cache_disk_mb",
)
_PACKAGES = ("tdfusion-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


class RunFolder:
  """A run's folder; made for a new run, checked for one that goes on."""

  def __init__(self, path: str | Path, config: Mapping[str, Any]):
    """ConfigError if `path` holds a run of another config, is in use, or cannot be made."""
    self.path = Path(path).absolute()
    try:
      self.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
      raise ConfigError(f"--workdir={path} cannot be used: {error}") from error
    self._metrics: IO[str] | None = None
    self._board: Any = None
    self._validated: set[int] = set()
    file = self.path / "config.json"
    if file.is_file():
      require_same(config, self.path)
    else:
      write_json(file, dict(config))
      write_json(self.path / "versions.json", versions())
    self._lock = _alone(file)

  def open_metrics(self, step: int) -> None:
    """Starts `metrics.jsonl`, or goes on in it after `step`.

    Later lines of a killed run are dropped: its steps are run again.
    """
    from tensorboardX import SummaryWriter

    file = self.path / "metrics.jsonl"
    kept = [row for row in read_metrics(file) if row["step"] <= step] if step else []
    write_text(file, "".join(json.dumps(row) + "\n" for row in kept))
    self._validated = {row["step"] for row in kept if row["phase"] == "val"}
    self._metrics = file.open("a")
    self._board = SummaryWriter(
      str(self.path / "tensorboard"), purge_step=step + 1 if step else None
    )

  def write(self, row: Mapping[str, Any]) -> None:
    """One metric line; numbers go to TensorBoard too."""
    assert self._metrics is not None, "open_metrics first"
    self._metrics.write(json.dumps(dict(row)) + "\n")
    self._metrics.flush()
    for name, value in row.items():
      if isinstance(value, float):
        tag = name if "/" in name else f"{row['phase']}/{name}"
        self._board.add_scalar(tag, value, row["step"])

  def has_validation(self, step: int) -> bool:
    """Whether an earlier process has measured the state after `step`."""
    return step in self._validated

  def picture(self, name: str, image, step: int) -> None:
    """An RGB uint8 picture for TensorBoard."""
    self._board.add_image(name, image, step, dataformats="HWC")

  def close(self) -> None:
    """Closes the files."""
    self._lock.close()
    if self._metrics is not None:
      self._metrics.close()
      self._board.close()


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
  written = flatten_dict(_read(file), sep=".")
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


def _read(file: Path) -> dict:
  try:
    return json.loads(file.read_text())
  except (OSError, json.JSONDecodeError) as error:
    raise ConfigError(f"{file} cannot be read: {error}") from error


def read_metrics(path: Path) -> list[dict]:
  """The lines of a `metrics.jsonl`; a last line cut off by a killed process is left out."""
  rows = []
  for line in path.read_text().splitlines() if path.is_file() else []:
    try:
      rows.append(json.loads(line))
    except json.JSONDecodeError:
      break
  return rows
