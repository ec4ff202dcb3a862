"""The checkpoints of a run; the only module that knows Orbax.

    checkpoints/25/...               what Orbax writes
    checkpoints/25/manifest.json     sizes and SHA-256 of its files and arrays, written last
    checkpoints/30.damaged/          a step whose files are not what was saved; set aside
    checkpoints/35.orbax-checkpoint-tmp   a save that a killed process left

A step counts only with its manifest, and only while every file is what the manifest says: Orbax
itself restores a file with a flipped bit as another state.
"""

import contextlib
import hashlib
import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from tdfusion_jax.files import first_line, of_full_disk, write_json
from tdfusion_jax.meta.state import Params, TrainState
from tdfusion_jax.train.lone_saver import LoneSaver
from tdfusion_jax.weightfiles import CheckpointError

log = logging.getLogger(__name__)

_MANIFEST = "manifest.json"
_UNFINISHED = ".orbax-checkpoint-tmp"
_DAMAGED = ".damaged"
_SHOWN = 5  # differences that a message lists


class Checkpoints:
  """The checkpoints of one run: every save is whole or absent, the newest `keep` stay.

  Args:
    folder: made by the first save. One process at a time may save in it.
    keep: how many steps stay.
  """

  def __init__(self, folder: str | Path, keep: int = 2):
    self._folder = Path(folder).absolute()
    self._keep = keep
    self._opened: Any = None

  def steps(self) -> list[int]:
    """Steps that were saved to their end, oldest first; `restore` checks that they are whole."""
    return [step for step in self._listed() if (self._folder / str(step) / _MANIFEST).is_file()]

  def tidy(self) -> None:
    """Removes what killed processes left: saves that were not finished.

    Call it before the first save, and only in the process that owns the run.
    """
    unfinished = [path for path in self._entries() if path.name.endswith(_UNFINISHED)]
    without_end = set(self._listed()) - set(self.steps())
    for path in [*unfinished, *(self._folder / str(step) for step in without_end)]:
      shutil.rmtree(path, ignore_errors=True)
    self._reopen()

  def save(self, state: TrainState) -> None:
    """Saves `state` under its own step; does nothing if that step is saved already.

    A damaged step of this number that was set aside is replaced.

    Raises:
      CheckpointError: it could not be written (disk full, no permission).
    """
    step = int(state.step)
    if step in self.steps():
      return
    tree = _as_tree(state)
    try:
      with _said_once():
        saved = self._checkpointer().save(step, tree, force=True)
      self._write_manifest(step, tree)
    except (OSError, ValueError) as error:
      for path in self._entries():  # what is unfinished takes room, too
        if path.name.endswith(_UNFINISHED):
          shutil.rmtree(path, ignore_errors=True)
      reason = first_line(of_full_disk(error, self._folder) or error)
      raise CheckpointError(
        f"could not save step {step} in {self._folder}: {reason}. Make room, or check "
        "the folder's permissions; then start the same command again."
      ) from error
    if not saved:
      raise CheckpointError(f"step {step} was not saved in {self._folder}.")
    shutil.rmtree(self._folder / f"{step}{_DAMAGED}", ignore_errors=True)

  def restore(self, like: TrainState) -> TrainState | None:
    """The newest whole checkpoint, or None if there is none.

    A step whose files changed since they were saved is named in a warning, set aside as
    `STEP.damaged` and passed over.

    Args:
      like: a state of the same shapes, arrays or `jax.ShapeDtypeStruct`.

    Raises:
      CheckpointError: checkpoints exist, but none is whole, or the newest whole one is another
        network's.
    """
    damages: dict[int, str] = {}
    for step in reversed(self.steps()):  # all of them: Orbax reads each when it is opened
      if damage := self._damage(step):
        damages[step] = damage
        self._pass_over(step, damage)
    for step in reversed(self.steps()):
      if step in damages:  # the folder cannot be written
        continue
      mismatch = self._mismatch(step, like)
      if mismatch:
        raise CheckpointError(f"step {step} in {self._folder} is another network's: {mismatch}")
      try:
        return self._load(step, like)
      except (OSError, KeyError, OverflowError, TypeError, ValueError) as error:
        damages[step] = first_line(error)
        self._pass_over(step, damages[step])
    if damages:
      lines = "\n  ".join(f"step {step}: {damage}" for step, damage in damages.items())
      raise CheckpointError(
        f"no checkpoint in {self._folder} is whole:\n  {lines}\n"
        "Remove the folder to start this run from its beginning, or choose another --workdir."
      )
    return None

  def close(self) -> None:
    """Waits for what is being written."""
    if self._opened is not None:
      self._opened.close()
      self._opened = None

  def _checkpointer(self) -> Any:
    """Orbax's; it remembers the steps it has seen, so it is opened anew when folders change."""
    if self._opened is None and jax.process_count() > 1:
      self._opened = LoneSaver(self._folder, self._keep)
    if self._opened is None:
      training = ocp.training
      self._opened = training.Checkpointer(
        str(self._folder),
        save_decision_policy=training.save_decision_policies.FixedIntervalPolicy(1),  # pyright: ignore
        preservation_policy=training.preservation_policies.LatestN(self._keep),  # pyright: ignore
      )
    return self._opened

  def _reopen(self) -> None:
    self.close()

  def _entries(self) -> list[Path]:
    return list(self._folder.iterdir()) if self._folder.is_dir() else []

  def _listed(self) -> list[int]:
    """Steps that have a folder, oldest first."""
    return sorted(int(p.name) for p in self._entries() if p.name.isdigit() and p.is_dir())

  def _pass_over(self, step: int, damage: str) -> None:
    log.warning("checkpoint %s of %s is damaged: %s", step, self._folder, damage)
    aside = self._folder / f"{step}{_DAMAGED}"
    try:
      shutil.rmtree(aside, ignore_errors=True)
      (self._folder / str(step)).rename(aside)
    except OSError as error:  # of a folder that cannot be written, it is enough to pass it over
      log.warning("checkpoint %s stays in place: %s", step, error.strerror)
    self._reopen()

  def _write_manifest(self, step: int, tree: dict) -> None:
    folder = self._folder / str(step)
    files = {str(path.relative_to(folder)): _of_file(path) for path in _files(folder)}
    arrays = {name: _of_array(leaf) for name, leaf in _named(jax.device_get(tree)).items()}
    write_json(folder / _MANIFEST, {"files": files, "arrays": arrays})

  def _manifest(self, step: int) -> dict[str, dict]:
    """What the manifest holds; ValueError if it is none."""
    text = (self._folder / str(step) / _MANIFEST).read_bytes()
    manifest = json.loads(text)
    names = ("files", "arrays")
    parts = [manifest.get(name) for name in names] if isinstance(manifest, dict) else [None]
    # `write_json` ends a file with a newline: without it, even the last byte is not missed.
    if not text.endswith(b"\n") or not all(isinstance(part, dict) for part in parts):
      raise ValueError("it is not a manifest")
    return manifest

  def _damage(self, step: int) -> str:
    """What differs from what was saved, in words; empty if nothing does."""
    folder = self._folder / str(step)
    try:
      said = self._manifest(step)["files"]
      found = {str(path.relative_to(folder)): _of_file(path) for path in _files(folder)}
    except (OSError, ValueError, RecursionError) as error:
      return f"{_MANIFEST} cannot be read: {first_line(error)}"
    missing = sorted(said.keys() - found.keys())
    added = sorted(found.keys() - said.keys())
    changed = sorted(name for name in said.keys() & found.keys() if said[name] != found[name])
    words = [f"{name} is missing" for name in missing]
    words += [f"{name} was not saved with it" for name in added]
    words += [f"{name} is not what was saved" for name in changed]
    more = f"; and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
    return "; ".join(words[:_SHOWN]) + more

  def _load(self, step: int, like: TrainState) -> TrainState:
    """The state of `step`; ValueError if an array is not the one that was saved."""
    loaded = self._checkpointer().load(step, jax.tree.map(_abstract, _as_tree(like)))
    said = self._manifest(step)["arrays"]
    for name, leaf in _named(jax.device_get(loaded)).items():
      if said.get(name) != _of_array(leaf):
        raise ValueError(f"array {name} is not what was saved")
    key = jax.random.wrap_key_data(loaded["key"])
    return TrainState(**{**loaded, "params": Params(*loaded["params"]), "key": key})

  def _mismatch(self, step: int, like: TrainState) -> str:
    """What differs in names or shapes; Orbax's own message for it names neither."""
    try:
      found = self._checkpointer().metadata(step).metadata
    except (OSError, KeyError, OverflowError, TypeError, ValueError) as error:
      return f"unreadable ({first_line(error)})"
    ours, theirs = _shapes(_as_tree(like)), _shapes(found)
    # Metadata may name optimiser containers in another way, so only names that both have are
    # compared.
    both = [
      name for name in sorted(ours.keys() & theirs.keys()) if None not in (ours[name], theirs[name])
    ]
    differing = [name for name in both if ours[name] != theirs[name]]
    return "; ".join(f"{name} is {theirs[name]}, not {ours[name]}" for name in differing[:_SHOWN])


@contextlib.contextmanager
def _said_once() -> Iterator[None]:
  """Without the tracebacks that each of Orbax's threads logs of an error that is raised anyway."""
  logger = logging.getLogger("absl")

  def is_short(record: logging.LogRecord) -> bool:
    return not record.exc_info

  logger.addFilter(is_short)
  try:
    yield
  finally:
    logger.removeFilter(is_short)


def _files(folder: Path) -> Iterator[Path]:
  return (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != _MANIFEST)


def _of_file(path: Path) -> list:
  with path.open("rb") as file:
    return [path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()]


def _of_array(leaf: Any) -> str:
  """SHA-256 of dtype, shape and values."""
  array = np.asarray(leaf)
  digest = hashlib.sha256(f"{array.dtype} {array.shape}".encode())
  digest.update(np.ascontiguousarray(array).tobytes())
  return digest.hexdigest()


def _as_tree(state: TrainState) -> dict:
  """Plain arrays: Orbax restores no PRNG key into an abstract target, so the key goes as words."""
  words = jax.random.key_data(state.key) if isinstance(state.key, jax.Array) else None
  if words is None:
    words = jax.eval_shape(jax.random.key_data, state.key)
  tree = {**state._asdict(), "key": words}
  if state.t_average is None:  # as states were before there was one
    del tree["t_average"]
  return tree


def _named(tree: Any) -> dict[str, Any]:
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _shapes(tree: Any) -> dict[str, tuple | None]:
  return {name: _shape(leaf) for name, leaf in _named(tree).items()}


def _shape(leaf: Any) -> tuple | None:
  shape = getattr(leaf, "shape", None)
  return None if shape is None else tuple(shape)


def _abstract(leaf: Any) -> jax.ShapeDtypeStruct:
  # Orbax restores only onto a stated place: where the leaf lives, or else the default device.
  sharding = getattr(leaf, "sharding", None) or jax.sharding.SingleDeviceSharding(
    jax.local_devices()[0]
  )
  return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
