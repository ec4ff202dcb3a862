"""The parts of a Restormer block, and the fast network, as machine code for this processor.

XLA on CPU makes a program of some hundred small loops of a block; `block.h` works through an image
in tiles that stay in cache, several times faster in both directions. `fast.cc` is the fast network
as a whole, forward. They are C++. Wheels bring it
compiled for several kinds of processors (see `levels`). Elsewhere it is compiled at its first use
by the machine's own compiler, for the machine's own processor, into `~/.cache/tdfusion_jax/native`
(see `build`). Without a compiler everything works as well, only slower.

Environment:

  TDFUSION_NATIVE=0     never build or load it
  TDFUSION_NATIVE=build compile it here, even where the wheel brings it
  CXX                   the compiler; otherwise c++, g++ or clang++
"""

import ctypes
import functools
import logging
import os
import sys
import threading

from tdfusion_jax.ops.native.build import BuildError, built
from tdfusion_jax.ops.native.levels import prebuilt

__all__ = [
  "CONV_TARGET",
  "FAST_TARGET",
  "TARGET",
  "BuildError",
  "built",
  "library",
  "prebuilt",
  "ready",
]

log = logging.getLogger(__name__)

TARGET, CONV_TARGET, FAST_TARGET = "tdfusion_block", "tdfusion_conv3x3", "tdfusion_fast"
_one_at_a_time = threading.Lock()


def library() -> ctypes.CDLL | None:
  """The machine code, or None where it cannot be had.

  The first call loads the wheel's, or builds it if need be. JAX is not needed for that.
  """
  with _one_at_a_time:
    return _loaded()


@functools.cache
def _loaded() -> ctypes.CDLL | None:
  wish = os.environ.get("TDFUSION_NATIVE", "1")
  if wish == "0":
    return None
  if not sys.platform.startswith(("linux", "darwin")):
    return None
  try:
    return ctypes.CDLL(str((wish != "build" and prebuilt()) or built()))
  except (OSError, RuntimeError) as error:  # RuntimeError: no home folder, too
    _tell(error)
    return None


def ready() -> bool:
  """Whether the machine code is there, for JAX too: the first call registers it."""
  with _one_at_a_time:
    return _registered()


@functools.cache
def _registered() -> bool:
  loaded = _loaded()
  if loaded is None:
    return False
  import jax

  try:
    for target, symbol in (
      (TARGET, loaded.TdfusionBlock),
      (CONV_TARGET, loaded.TdfusionConv3x3),
      (FAST_TARGET, loaded.TdfusionFast),
    ):
      jax.ffi.register_ffi_target(target, jax.ffi.pycapsule(symbol), platform="cpu")
  except (RuntimeError, AttributeError) as error:
    _tell(error)
    return False
  return True


def _tell(error: Exception) -> None:
  log.warning(
    "Fusing and training take longer than they could on this CPU: no native code (%s).", error
  )
