"""How functions are compiled: XLA's settings and the cache that makes the second start quick."""

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tdfusion_jax.ops.platform import platform

log = logging.getLogger(__name__)


def jit(function: Callable, **options: Any) -> Callable:
  """`jax.jit` of an outermost function, with the schedule that suits the strips of `ops.strips`.

  XLA on CPU orders a program for concurrency by default and then allocates the result of every loop
  at its start: F at 480x640 needs 436 MiB that way, and 162 MiB ordered for memory, at the same
  speed or a little faster.

  Args:
    function: pure, not called from within another jit (XLA's settings hold for whole programs).
    options: of `jax.jit`.
  """
  import jax

  return jax.jit(function, compiler_options=settings(), **options)


def settings() -> dict[str, str]:
  """Compiler options for the default backend."""
  if platform() == "cpu":
    return {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"}
  return {}


def use_cache(folder: str) -> None:
  """Keeps compiled programs in `folder` for later processes; an empty name keeps none.

  A folder that cannot be written costs the cache, not the run.
  """
  if not folder:
    return
  try:
    path = Path(folder).expanduser()
    path.mkdir(parents=True, exist_ok=True)
  except (OSError, RuntimeError) as error:  # RuntimeError: there is no home folder
    log.warning("no compilation cache: %s", error)
    return
  if "jax" in sys.modules:
    sys.modules["jax"].config.update("jax_compilation_cache_dir", str(path))
  else:  # it may never be needed; once it is loaded it reads this
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(path)
