"""Which platform a program is made for, where what is best depends on it."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

import jax

_CHOSEN: ContextVar[str | None] = ContextVar("platform", default=None)


def platform() -> str:
  """The platform of the programs that are traced here, "cpu", "gpu" or another of JAX's names."""
  return _CHOSEN.get() or jax.default_backend()


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
