"""Which platform a program is made for, where what is best depends on it."""

import contextlib
import functools
import os
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from importlib.util import find_spec

_CHOSEN: ContextVar[str | None] = ContextVar("platform", default=None)


def platform() -> str:
  """The platform of the programs that are traced here, "cpu", "gpu" or another of JAX's names."""
  return _CHOSEN.get() or backend()


def backend() -> str:
  """`jax.default_backend()`; where it can only be "cpu", JAX is not loaded to say so."""
  if "jax" not in sys.modules and _only_cpu():
    return "cpu"
  import jax

  return jax.default_backend()


def _only_cpu() -> bool:
  """Whether nothing is installed, and no setting is made, that would give JAX another device."""
  wishes = {os.environ.get(name, "") for name in ("JAX_PLATFORMS", "JAX_PLATFORM_NAME")} - {""}
  if wishes:
    return wishes == {"cpu"}
  return not ("TPU_LIBRARY_PATH" in os.environ or _has_plugins())


@functools.cache
def _has_plugins() -> bool:
  """Whether anything is installed where JAX looks for devices other than the CPU."""
  if any(find_spec(name) for name in ("jax_plugins", "libtpu")):
    return True
  from importlib.metadata import entry_points

  return bool(entry_points(group="jax_plugins"))


@contextlib.contextmanager
def made_for(name: str) -> Iterator[None]:
  """Programs that are traced within are made for platform `name`, whichever this machine has.

  For lowering only: `with made_for("gpu"): jit(f).trace(x).lower(lowering_platforms=("cuda",))`. A
  function that was traced before keeps what it was made for; give a new one.

  Args:
    name: "cpu", or "gpu" for CUDA.
  """
  token = _CHOSEN.set(name)
  try:
    yield
  finally:
    _CHOSEN.reset(token)
