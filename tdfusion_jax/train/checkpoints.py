"""The checkpoints of a run; the only module that knows Orbax."""

import logging
from pathlib import Path

import jax
from orbax.checkpoint import v1 as ocp

from tdfusion_jax.meta.state import TrainState
from tdfusion_jax.weightfiles import CheckpointError

log = logging.getLogger(__name__)


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
      raise CheckpointError(
        f"no checkpoint in {self._folder} can be restored:\n  " + "\n  ".join(failures)
      )
    return None

  def _mismatch(self, step: int, like: TrainState) -> str:
    """What differs in names or shapes; Orbax's own message for it names neither."""
    try:
      found = self._checkpointer.metadata(step).metadata
    except (OSError, KeyError, ValueError) as error:
      return f"unreadable ({error})"
    ours, theirs = _shapes(_as_tree(like)), _shapes(found)
    # Metadata may name optimiser containers in another way, so only names that both have are
    # compared.
    both = [k for k in sorted(ours.keys() & theirs.keys()) if None not in (ours[k], theirs[k])]
    return "; ".join(
      [f"{k} is {theirs[k]}, not {ours[k]}" for k in both if ours[k] != theirs[k]][:5]
    )

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
  return {
    jax.tree_util.keystr(path, simple=True, separator="/"): _shape(leaf) for path, leaf in leaves
  }


def _shape(leaf) -> tuple | None:
  shape = getattr(leaf, "shape", None)
  return None if shape is None else tuple(shape)


def _abstract(leaf):
  # Orbax restores only onto a stated place: where the leaf lives, or else the default device.
  sharding = getattr(leaf, "sharding", None) or jax.sharding.SingleDeviceSharding(jax.devices()[0])
  return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
