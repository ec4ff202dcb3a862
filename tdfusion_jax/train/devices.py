"""Where a run computes: one device, or a mesh over which the rows of each batch are spread.

The mesh has one axis, `data`. Every device holds the whole state and a part of the batch; F and G
treat each image by itself, so each device runs them on its own rows (`by_rows`), and the sums that
cross images (batch norm, the losses' normalisers, gradients) XLA makes global, since the steps are
compiled as one program for all devices.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tdfusion_jax.batch import Views
from tdfusion_jax.config import Config, ConfigError
from tdfusion_jax.train.requiring import require

_AXIS = "data"


def mesh_of(config: Config) -> Mesh | None:
  """The devices that `train.devices` asks for; None is the one that JAX takes by itself.

  Raises:
    ConfigError: there are fewer, or a batch cannot be split over them.
  """
  processes, there = jax.process_count(), jax.device_count()
  text = config.train.devices.strip().lower()
  if text != "all" and not (text.isdecimal() and int(text) > 0):
    raise ConfigError(f"config.train.devices={config.train.devices!r}: a number from 1, or all.")
  count = there if text == "all" else int(text)
  have = f"JAX sees {there}" + (f" of {processes} processes" if processes > 1 else "")
  require(config, count <= there, "train.devices", f"{have}. On a CPU, {_EMULATED} makes more.")
  require(
    config,
    count % processes == 0,
    "train.devices",
    f"each of {processes} processes needs as many as any other; {have}. Set a multiple, or all.",
  )
  _require_divisible(config, count)
  if count == 1:
    return None
  own = count // processes  # of each process, so that each has the same number of rows
  chosen = [
    device
    for process in range(processes)
    for device in [d for d in jax.devices() if d.process_index == process][:own]
  ]
  require(config, len(chosen) == count, "train.devices", f"not every process has {own}.")
  return Mesh(np.array(chosen), (_AXIS,))


_EMULATED = "XLA_FLAGS=--xla_force_host_platform_device_count=N"


def _require_divisible(config: Config, devices: int) -> None:
  rows, parts = config.data.batch_size, config.train.accumulate
  if rows % (devices * parts):
    of_devices = f"train.devices={config.train.devices} ({devices})"
    raise ConfigError(
      f"config.data.batch_size={rows} cannot be split evenly over {of_devices} times "
      f"train.accumulate={parts}: set a multiple of {devices * parts}."
    )


def rows_of_process(config: Config, mesh: Mesh | None) -> tuple[int, int] | None:
  """(first, end) of the rows of each batch that this process loads; None for all."""
  if mesh is None or jax.process_count() == 1:
    return None
  own = config.data.batch_size // jax.process_count()
  return jax.process_index() * own, (jax.process_index() + 1) * own


def by_rows(function: Callable, mesh: Mesh) -> Callable:
  """`function(params, ir, vi)` with each device at work on its own rows, differentiable as before.

  Left to XLA, a call of machine code would be given the whole batch on every device.

  Args:
    function: treats each image by itself; images and result are [B, ...], B a multiple of the
      devices.
    mesh: of the devices.
  """
  rows, whole = PartitionSpec(_AXIS), PartitionSpec()
  return jax.shard_map(
    function, mesh=mesh, in_specs=(whole, rows, rows), out_specs=rows, check_vma=False
  )


def everywhere(mesh: Mesh) -> NamedSharding:
  """The same whole array on every device."""
  return NamedSharding(mesh, PartitionSpec())


def place_state(state: Any, mesh: Mesh | None) -> Any:
  """`state` where the steps take it: on one device, or whole on each of `mesh`.

  Args:
    state: tree of arrays of this process, the same in every process.
    mesh: of `mesh_of`.
  """
  if mesh is None:
    # What is restored is committed to its device; a fresh state that is not would be compiled for
    # by itself, and the first run that goes on would find no compiled program in the cache.
    return jax.device_put(state, jax.local_devices()[0])
  if jax.process_count() == 1:
    return jax.device_put(state, everywhere(mesh))
  return jax.tree.map(lambda x: _on_all(x, mesh), state)


def _on_all(x: jax.Array, mesh: Mesh) -> jax.Array:
  """An array of this process, the same in every process, on all devices of `mesh`."""
  if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
    words = _on_all(jax.random.key_data(x), mesh)
    return jax.random.wrap_key_data(words, impl=jax.random.key_impl(x))
  whole = np.asarray(x)
  return jax.make_array_from_process_local_data(everywhere(mesh), whole, whole.shape)


def own_copy(state: Any, mesh: Mesh | None) -> Any:
  """`state` of `place_state` as arrays on one device of this process."""
  if mesh is None:
    return state
  return jax.tree.map(lambda x: x.addressable_data(0), state)


def place_batch(views: dict[str, Views], mesh: Mesh | None) -> dict[str, Views]:
  """A NumPy batch where the steps take it: its rows on their devices.

  Args:
    views: all rows, or with several processes those of this one (`rows_of_process`).
    mesh: of `mesh_of`.
  """
  if mesh is None:
    return jax.tree.map(jnp.asarray, views)
  rows = NamedSharding(mesh, PartitionSpec(_AXIS))
  if jax.process_count() == 1:
    return jax.device_put(views, rows)
  return jax.tree.map(lambda x: jax.make_array_from_process_local_data(rows, x), views)
