"""Saving and restoring: Orbax v1 for whole runs (the only module that knows it), safetensors for weights."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from tdfusion_jax.convert.rules import flatten, unflatten
from tdfusion_jax.files import atomic_write
from tdfusion_jax.meta.state import TrainState

log = logging.getLogger(__name__)


class CheckpointError(ValueError):
  """A checkpoint or weight file that cannot be used, with the reason."""


class Checkpoints:
  """The checkpoints of one run: every save is whole or absent, the newest `keep` stay."""

  def __init__(self, folder: str | Path, keep: int = 2):
    self._folder = Path(folder).absolute()
    self._checkpointer = ocp.training.Checkpointer(
      str(self._folder),
      save_decision_policy=ocp.training.save_decision_policies.FixedIntervalPolicy(1),  # pyright: ignore
      preservation_policy=ocp.training.preservation_policies.LatestN(keep),  # pyright: ignore
    )

  def steps(self) -> list[int]:
    """Saved steps, oldest first."""
    return sorted(c.step for c in self._checkpointer.checkpoints)

  def save(self, state: TrainState) -> None:
    """Saves `state` under its own step; does nothing if that step is saved already.

    Raises:
      CheckpointError: it could not be written (disk full, no permission).
    """
    step = int(state.step)
    if step in self.steps():
      return
    try:
      saved = self._checkpointer.save(step, _as_tree(state), force=True)
    except (OSError, ValueError) as error:
      raise CheckpointError(f"could not save step {step} in {self._folder}: {error}") from error
    if not saved:
      raise CheckpointError(f"step {step} was not saved in {self._folder}.")

  def restore(self, like: TrainState) -> TrainState | None:
    """The newest whole checkpoint, or None if there is none.

    One that a killed process left incomplete is passed over with a warning.

    Args:
      like: a state of the same shapes, arrays or `jax.ShapeDtypeStruct`.

    Raises:
      CheckpointError: checkpoints exist, but none fits `like`.
    """
    failures = []
    for step in reversed(self.steps()):
      mismatch = self._mismatch(step, like)
      if mismatch:
        failures.append(f"step {step}: {mismatch}")
        continue
      try:
        loaded = self._checkpointer.load(step, jax.tree.map(_abstract, _as_tree(like)))
        return TrainState(**{**loaded, "key": jax.random.wrap_key_data(loaded["key"])})
      except (OSError, KeyError, ValueError) as error:
        failures.append(f"step {step}: {str(error)[:200]}")
        log.warning("checkpoint %s of %s is not whole, trying the one before", step, self._folder)
    if failures:
      raise CheckpointError(f"no checkpoint in {self._folder} can be restored:\n  " + "\n  ".join(failures))
    return None

  def _mismatch(self, step: int, like: TrainState) -> str:
    """What differs in names or shapes; Orbax's own message for it names neither."""
    try:
      found = self._checkpointer.metadata(step).metadata
    except (OSError, KeyError, ValueError) as error:
      return f"unreadable ({error})"
    ours, theirs = _shapes(_as_tree(like)), _shapes(found)
    # Metadata may name optimiser containers in another way, so only names that both have are compared.
    both = [k for k in sorted(ours.keys() & theirs.keys()) if None not in (ours[k], theirs[k])]
    return "; ".join([f"{k} is {theirs[k]}, not {ours[k]}" for k in both if ours[k] != theirs[k]][:5])

  def close(self) -> None:
    """Waits for what is being written."""
    self._checkpointer.close()


def _as_tree(state: TrainState) -> dict:
  """Plain arrays: Orbax restores no PRNG key into an abstract target, so the key goes as its raw words."""
  words = jax.random.key_data(state.key) if isinstance(state.key, jax.Array) else None
  if words is None:
    words = jax.eval_shape(jax.random.key_data, state.key)
  return {**state._asdict(), "key": words}


def _shapes(tree) -> dict[str, tuple | None]:
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return {jax.tree_util.keystr(path, simple=True, separator="/"): _shape(leaf) for path, leaf in leaves}


def _shape(leaf) -> tuple | None:
  shape = getattr(leaf, "shape", None)
  return None if shape is None else tuple(shape)


def _abstract(leaf):
  # Orbax restores only onto a stated place: where the leaf lives, or else the default device.
  sharding = getattr(leaf, "sharding", None) or jax.sharding.SingleDeviceSharding(jax.devices()[0])
  return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def save_weights(path: str | Path, variables: Mapping, metadata: Mapping[str, Any]) -> None:
  """Writes variables to one `.safetensors` file, atomically.

  Args:
    path: file to write.
    variables: nested mapping of arrays, {"params": ...}.
    metadata: {"arch": ..., ...}, JSON values.
  """
  path = Path(path)
  arrays = {"/".join(k): np.ascontiguousarray(v) for k, v in flatten(jax.device_get(variables)).items()}
  try:
    with atomic_write(path) as temporary:
      temporary.write_bytes(save(arrays, {key: json.dumps(value) for key, value in metadata.items()}))
  except (OSError, SafetensorError) as error:
    raise CheckpointError(f"could not write {path}: {error}") from error


def load_weights(path: str | Path) -> tuple[dict, dict[str, Any]]:
  """Reads what `save_weights` wrote: (variables of NumPy arrays, metadata).

  Raises:
    CheckpointError: missing, truncated or another kind of file.
  """
  path = Path(path)
  if not path.is_file():
    raise CheckpointError(f"weights file {path} does not exist.")
  try:
    with safe_open(path, framework="numpy") as file:
      metadata = {key: json.loads(value) for key, value in (file.metadata() or {}).items()}
      arrays = {tuple(key.split("/")): file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
  except (OSError, SafetensorError, json.JSONDecodeError) as error:
    if path.suffix in (".pth", ".pt", ".bin"):
      message = f"{path} is a PyTorch file; `tdfusion convert {path} --out FILE` makes one that can be used here."
      raise CheckpointError(message) from error
    raise CheckpointError(f"{path} is not a readable .safetensors file: {error}") from error
  return unflatten(arrays), metadata


def match(loaded: Mapping, like: Mapping, origin: str) -> dict:
  """`loaded` in the structure and dtypes of `like`, name for name.

  Raises:
    CheckpointError: names or shapes differ, all of them listed.
  """
  have, want = flatten(loaded), flatten(like)
  problems = [f"missing: {'/'.join(k)}" for k in sorted(want.keys() - have.keys())]
  problems += [f"left over: {'/'.join(k)}" for k in sorted(have.keys() - want.keys())]
  problems += [
    f"shape: {'/'.join(k)} is {have[k].shape}, not {want[k].shape}"
    for k in sorted(have.keys() & want.keys())
    if have[k].shape != want[k].shape
  ]
  problems += [f"not finite: {'/'.join(k)}" for k in sorted(have) if not np.isfinite(np.asarray(have[k])).all()]
  if problems:
    raise CheckpointError(f"{origin} does not fit the network:\n  " + "\n  ".join(problems))
  return unflatten({k: np.asarray(have[k], want[k].dtype) for k in want})
