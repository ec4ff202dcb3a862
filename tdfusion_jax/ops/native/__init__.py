"""The parts of a Restormer block as machine code for this processor: found, built once, loaded.

XLA on CPU makes a program of some hundred small loops of a block; `block.h` works through an image
in tiles that stay in cache, several times faster in both directions. It is C++ that is compiled at
its first use by the machine's own compiler, for the machine's own processor, into
`~/.cache/tdfusion_jax/native`. Without a compiler everything works as well, only slower.
Environment:

  TDFUSION_NATIVE=0     never build or load it
  CXX                   the compiler; otherwise c++, g++ or clang++
"""

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import jax

log = logging.getLogger(__name__)

TARGET, CONV_TARGET = "tdfusion_block", "tdfusion_conv3x3"
_HERE = Path(__file__).parent
_UNITS = ("ffi.cc", "host.cc")
_HEADERS = ("block.h", "conv.h", "parallel.h", "rows.h", "simd.h")
_FLAGS = ("-O3", "-std=c++17", "-shared", "-fPIC", "-pthread")
_SECONDS = 300
_one_at_a_time = threading.Lock()


class BuildError(RuntimeError):
  """The compiler is missing or refused; the message says why."""


def library() -> ctypes.CDLL | None:
  """The machine code, built and registered with JAX by the first call if need be; None where it cannot be had."""
  with _one_at_a_time:
    return _loaded()


@functools.cache
def _loaded() -> ctypes.CDLL | None:
  if os.environ.get("TDFUSION_NATIVE", "1") == "0" or not sys.platform.startswith(
    ("linux", "darwin")
  ):
    return None
  try:
    loaded = ctypes.CDLL(str(built()))
    for target, symbol in ((TARGET, loaded.TdfusionBlock), (CONV_TARGET, loaded.TdfusionConv3x3)):
      jax.ffi.register_ffi_target(target, jax.ffi.pycapsule(symbol), platform="cpu")
  except (
    OSError,
    RuntimeError,
    AttributeError,
  ) as error:  # RuntimeError: BuildError, or there is no home folder
    log.warning(
      "Fusing and training take longer than they could on this CPU: no native code (%s).", error
    )
    return None
  return loaded


def ready() -> bool:
  """Whether the machine code is there."""
  return library() is not None


def built(folder: Path | None = None) -> Path:
  """The shared library, compiled if `folder` (the user's cache) does not have it yet.

  Raises:
    BuildError: no compiler, or it failed.
    OSError: no writable folder.
  """
  compiler = _compiler()
  flags = (*_FLAGS, *_for_this_processor(), f"-I{jax.ffi.include_dir()}")
  about = [compiler, _version(compiler), *flags, jax.__version__, _processor()]
  digest = hashlib.sha256("\0".join(about).encode())
  for name in (*_UNITS, *_HEADERS):
    digest.update((_HERE / name).read_bytes())
  folder = (
    folder
    or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "tdfusion_jax" / "native"
  )
  library = folder / f"{digest.hexdigest()[:32]}.so"
  if library.is_file():
    return library
  folder.mkdir(mode=0o700, parents=True, exist_ok=True)
  log.info("Compiling native code for this processor, once (%s).", compiler)
  with tempfile.TemporaryDirectory(
    dir=folder
  ) as scratch:  # beside its place, so that the move is atomic
    new = Path(scratch) / "new.so"
    command = [
      *shlex.split(compiler),
      *flags,
      *(str(_HERE / unit) for unit in _UNITS),
      "-o",
      str(new),
    ]
    try:
      done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
      raise BuildError(f"{compiler}: {error}") from error
    if done.returncode:
      said = (
        [line for line in done.stderr.splitlines() if "error" in line]
        or done.stderr.splitlines()
        or ["?"]
      )
      raise BuildError(f"{compiler} failed: {said[0].strip()}")
    new.replace(library)
  return library


def _compiler() -> str:
  named = os.environ.get("CXX")
  if named:
    return named
  for name in ("c++", "g++", "clang++"):
    if shutil.which(name):
      return name
  raise BuildError("there is no C++ compiler; g++ or clang++ would do")


def _version(compiler: str) -> str:
  try:
    return subprocess.run(
      [*shlex.split(compiler), "--version"], capture_output=True, text=True, timeout=60, check=False
    ).stdout
  except (OSError, subprocess.TimeoutExpired) as error:
    raise BuildError(f"{compiler}: {error}") from error


def _for_this_processor() -> tuple[str, ...]:
  if platform.machine() in ("arm64", "aarch64"):
    return ("-mcpu=native",)
  return ("-march=native", "-mprefer-vector-width=512")


def _processor() -> str:
  """What the code is made for: a home folder may be shared by machines that differ."""
  try:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
  except OSError:
    return platform.processor()
  return "".join(
    sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))})
  )
