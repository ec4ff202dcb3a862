"""Orbax in one process of several that train together.

Its newer `Checkpointer` works in all processes or in none, and waits for each at every save: one
that was lost could then not be outlived. The state is the same everywhere, so one process saves it
alone, by the older `CheckpointManager`, in the same layout.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

_ITEM = "state"  # the folder within a step


class LoneSaver:
  """What `Checkpoints` needs of Orbax's `Checkpointer`: the same files, written by this process.

  Args:
    folder: of the steps; made here.
    keep: how many stay.
  """

  def __init__(self, folder: Path, keep: int):
    folder.mkdir(parents=True, exist_ok=True)
    own = jax.process_index()
    # Alone also in what they are called by: a barrier of the same name elsewhere is another one.
    alone = {
      "primary_host": own,
      "active_processes": {own},
      "barrier_sync_key_prefix": f"tdfusion{own}",
    }
    options = ocp.CheckpointManagerOptions(
      max_to_keep=keep,
      create=False,
      enable_async_checkpointing=False,
      multiprocessing_options=ocp.options.MultiprocessingOptions(**alone),
    )
    handler = ocp.PyTreeCheckpointHandler(
      multiprocessing_options=ocp.options.MultiprocessingOptions(**alone)
    )
    self._manager = ocp.CheckpointManager(
      folder, options=options, item_names=(_ITEM,), item_handlers={_ITEM: handler}
    )

  def save(self, step: int, tree: Any, *, force: bool) -> bool:
    """Saves arrays of this process; whether it did."""
    # Orbax takes no jax.Array of one process here, for fear that others have the rest of it.
    arrays = jax.tree.map(np.asarray, tree)
    args = ocp.args.Composite(**{_ITEM: ocp.args.PyTreeSave(arrays)})
    return self._manager.save(step, args=args, force=force)

  def load(self, step: int, like: Any) -> Any:
    """The tree of `step`, like `like`, as NumPy arrays."""
    arrays = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), like)
    arguments = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), arrays)
    args = ocp.args.Composite(**{_ITEM: ocp.args.PyTreeRestore(arrays, restore_args=arguments)})
    return self._manager.restore(step, args=args)[_ITEM]

  def metadata(self, step: int) -> Any:
    """What Orbax knows of `step` without reading its arrays, as `metadata`."""
    return SimpleNamespace(metadata=self._manager.item_metadata(step)[_ITEM].tree)

  def close(self) -> None:
    """Waits for what is being written."""
    self._manager.close()
