"""Several processes, mostly one for each machine or GPU, that train together.

Each runs the same program on the rows that it loads; the first one also keeps the run folder. What
one of them alone knows (a signal, a step that was saved) is agreed on before anyone acts on it: a
process that does not come to the next common step would have all others wait for ever.
"""

import os
import re
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils

from tdfusion_jax import stopping
from tdfusion_jax.files import UsageError, first_line

_LAUNCHERS = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")
_ENVIRONMENT = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
_OPTIONS = ("--coordinator", "--num-processes", "--process-id")
_SILENT = 30  # seconds after which a process that gives no sign of life counts as lost
_STARTING = 300  # seconds for all to be there


class LostError(UsageError):
  """Another process of this training has ended, or cannot be reached."""


class StoppedTogether(stopping.Stopped):
  """A signal asked one process to end, and all have ended after the same step."""


def connect(
  coordinator: str | None = None, processes: int | None = None, process: int | None = None
) -> None:
  """Makes this process one of several, if it is; to be called before JAX is used.

  Without arguments, the environment is asked: `JAX_COORDINATOR_ADDRESS`, `JAX_NUM_PROCESSES` and
  `JAX_PROCESS_ID`, or else what `srun` and Open MPI's `mpirun` tell their processes.

  Args:
    coordinator: HOST:PORT of the first process, which listens there.
    processes: how many there are; 1 trains alone, whatever the environment has.
    process: which one this is, from 0.

  Raises:
    UsageError: some of the three are missing or wrong, or not all processes came in five minutes.
  """
  given = (coordinator, processes, process)
  address, count, number = (
    os.environ.get(name) if value is None else str(value)
    for value, name in zip(given, _ENVIRONMENT, strict=True)
  )
  count, number = _whole(count, 1), _whole(number, 2)
  launched = any(int(os.environ.get(name) or 0) > 1 for name in _LAUNCHERS)
  if count == 1 or (not launched and address is None and count is None and number is None):
    return
  if not launched and None in (address, count, number):
    pairs = zip(_OPTIONS, _ENVIRONMENT, (address, count, number), strict=True)
    missing = ", ".join(f"{option} (or {name})" for option, name, value in pairs if value is None)
    raise UsageError(f"training by several processes needs {missing} too.")
  if count is not None and number is not None and not 0 <= number < count:
    raise UsageError(f"--process-id={number}: from 0 to {count - 1}, of --num-processes={count}.")
  # Its handler would take SIGTERM from us, and knows no other signal.
  jax.config.update("jax_enable_preemption_service", False)
  try:
    jax.distributed.initialize(
      address,
      count,
      number,
      initialization_timeout=_STARTING,
      heartbeat_timeout_seconds=_SILENT,
    )
  except (RuntimeError, ValueError, IndexError) as error:
    raise UsageError(
      f"the processes of this training did not come together: {first_line(error)}"
    ) from error


def _whole(value: str | None, which: int) -> int | None:
  try:
    return None if value is None else int(value)
  except ValueError:
    name = f"{_OPTIONS[which]} (or {_ENVIRONMENT[which]})"
    raise UsageError(f"{name}={value!r}: a whole number is needed.") from None


def connected() -> bool:
  """Whether this process has joined others, who may still be at work."""
  return jax.distributed.is_initialized()


def several() -> bool:
  """Whether this process is one of several."""
  return jax.process_count() > 1


def is_first() -> bool:
  """Whether this process keeps the run folder; true of one that is alone."""
  return jax.process_index() == 0


def agreed(number: int) -> int:
  """The largest of the numbers that all processes call this with, at the same point.

  Raises:
    LostError: another process has ended.
  """
  if not several():
    return number
  return int(surely(lambda: multihost_utils.process_allgather(np.int32(number))).max())


def from_first(state: Any) -> Any:
  """`state` of the first process, as NumPy arrays and PRNG keys of this one.

  Args:
    state: tree of this process's arrays, of the same shapes in each.

  Raises:
    LostError: another process has ended.
  """
  if not several():
    return state

  def of_first(x: jax.Array) -> Any:
    if jax.numpy.issubdtype(x.dtype, jax.dtypes.prng_key):
      words = multihost_utils.broadcast_one_to_all(np.asarray(jax.random.key_data(x)))
      return jax.random.wrap_key_data(words, impl=jax.random.key_impl(x))
    return multihost_utils.broadcast_one_to_all(np.asarray(x))

  return surely(lambda: jax.tree.map(of_first, state))


def surely(work: Callable[[], Any]) -> Any:
  """What `work` makes together with the other processes, once it is there.

  Raises:
    LostError: it was not to be had; `work` itself may be sound.
  """
  if not several():
    return work()
  try:
    return jax.block_until_ready(work())
  except (jax.errors.JaxRuntimeError, ValueError) as error:
    reason = first_line(error)
    # XLA's errors come as either; they begin with a status such as "UNKNOWN:", ours do not.
    if not re.match(r"[A-Z_]+: ", reason):
      raise
    # Were the first the lost one, nobody is left to save the step before this one.
    saved = "" if is_first() else ", or at its last checkpoint if the first process was lost"
    raise LostError(
      f"process {jax.process_index()} of {jax.process_count()}: a step in common did not come to "
      f"its end, most likely because another process was lost ({reason}). Start all of them again: "
      f"the run goes on where it was saved{saved}."
    ) from error


def leave_at_once(status: int) -> NoReturn:
  """Ends this process without the others, who would be waited for otherwise."""
  sys.stdout.flush()
  sys.stderr.flush()
  os._exit(status)
