"""Compiling the machine code, and the cache of what was compiled.

A library is code that this process runs, so the cache trusts nothing that somebody else could have
put there: a library is loaded only if it and its folder belong to this user (or to root), nobody
else can write to them, and its SHA-256 is the one that stands beside it. Anything else, such as a
file that a full disk or a killed process cut short, is built again.
"""

import contextlib
import hashlib
import importlib.util
import logging
import os
import platform
import shlex
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tdfusion_jax.files import cache_folder

log = logging.getLogger("tdfusion_jax.ops.native")

_HERE = Path(__file__).parent
_UNITS = ("fast.cc", "ffi.cc", "host.cc")
_HEADERS = (
  "bf16.h",
  "block.h",
  "conv.h",
  "fast.h",
  "half.h",
  "half_dots.h",
  "half_tiles.h",
  "half_weights.h",
  "parallel.h",
  "planes.h",
  "rows.h",
  "simd.h",
)
_FLAGS = ("-O3", "-std=c++17", "-shared", "-fPIC", "-pthread")
_COMPILING = 300.0  # seconds that the compiler gets
_WAITING = 400.0  # seconds that another process gets that is compiling the same
_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH


class BuildError(RuntimeError):
  """The machine code cannot be built or loaded here; the message says why."""


def built(folder: Path | None = None) -> Path:
  """The shared library, compiled if `folder` does not hold it yet.

  Of several processes that need it at once one compiles, and the others wait for it.

  Args:
    folder: the cache; None is the user's, `files.cache_folder() / "native"`.

  Raises:
    BuildError: no compiler, it failed, or `folder` belongs to somebody else.
    OSError: `folder` cannot be made or written.
    RuntimeError: there is no home folder, and so no cache.
  """
  folder = folder or cache_folder() / "native"
  compiler = _compiler()
  flags = (*_FLAGS, *_for_this_processor())
  library = folder / f"{_key(compiler, flags)}.so"
  if _is_sound(library):
    return library
  _make_private(folder)
  with _alone(folder / f"{library.stem}.lock"):
    if _is_sound(library):  # another process was quicker
      return library
    try:
      _compile([*compiler, *flags], library)
    except BuildError:
      if _is_sound(library):
        return library
      raise
  return library


def _key(compiler: list[str], flags: tuple[str, ...]) -> str:
  """Names a library by all that shapes it; where the packages are installed does not."""
  about = [*compiler, _version(compiler), *flags, _processor()]
  digest = hashlib.sha256("\0".join(about).encode())
  sources = [_HERE / name for name in (*_UNITS, *_HEADERS)]
  for file in [*sources, *sorted(_include_dir().rglob("*.h"))]:
    digest.update(file.read_bytes())
  return digest.hexdigest()[:32]


def _include_dir() -> Path:
  """`jax.ffi.include_dir()`, found without loading JAX: a library that is there may do without."""
  spec = importlib.util.find_spec("jaxlib")
  folder = Path((spec and spec.origin) or "").parent / "include"
  if folder.is_dir():
    return folder
  import jax

  return Path(jax.ffi.include_dir())


def _is_sound(library: Path) -> bool:
  """Whether a library may be loaded: ours alone, and whole."""
  mark = _mark(library)
  if not all(_is_ours(path) for path in (library.parent, library, mark)):
    return False
  try:
    return mark.read_text().strip() == hashlib.sha256(library.read_bytes()).hexdigest()
  except (OSError, UnicodeDecodeError):
    return False


def _is_ours(path: Path) -> bool:
  """Whether `path` is a file or folder that only this user, or root, can have written."""
  try:
    about = path.lstat()
  except OSError:
    return False
  plain = stat.S_ISREG(about.st_mode) or stat.S_ISDIR(about.st_mode)
  return plain and about.st_uid in (0, os.geteuid()) and not about.st_mode & _OTHERS_MAY_WRITE


def _make_private(folder: Path) -> None:
  """Makes `folder`, closed to others.

  Raises:
    BuildError: it belongs to another user, who could exchange what lies in it.
    OSError: it cannot be made.
  """
  folder.mkdir(mode=0o700, parents=True, exist_ok=True)
  if _is_ours(folder):
    return
  if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
    raise BuildError(f"{folder} is not this user's own folder; set XDG_CACHE_HOME to one that is")
  folder.chmod(0o700)  # what others put in before has another owner, and is never loaded


@contextlib.contextmanager
def _alone(file: Path) -> Iterator[None]:
  """Holds a lock between processes, or goes on without after `_WAITING` seconds.

  The system frees it when a process ends, however it ends.
  """
  import fcntl

  with file.open("a") as opened:
    deadline = time.monotonic() + _WAITING
    waited = False
    while time.monotonic() < deadline:
      try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        break
      except BlockingIOError:
        if not waited:
          log.info("Waiting for another process that compiles native code.")
        waited = True
        time.sleep(0.1)
      except OSError:  # a file system without locks
        break
    yield


def _compile(command: list[str], library: Path) -> None:
  """Compiles into `library`'s place, whole or not at all, and leaves its hash beside it."""
  log.info("Compiling native code for this processor, once (%s).", command[0])
  folder = library.parent
  # Beside its place, so that the moves are atomic.
  with tempfile.TemporaryDirectory(dir=folder) as scratch:
    new, new_mark = Path(scratch) / "new.so", Path(scratch) / "new.sha256"
    units = [str(_HERE / unit) for unit in _UNITS]
    _run([*command, f"-I{_include_dir()}", *units, "-o", str(new)])
    new.chmod(0o700)
    new_mark.write_text(hashlib.sha256(new.read_bytes()).hexdigest() + "\n")
    new_mark.chmod(0o600)
    new.replace(library)
    new_mark.replace(_mark(library))


def _mark(library: Path) -> Path:
  return library.with_suffix(".sha256")


def _run(command: list[str]) -> None:
  try:
    done = subprocess.run(
      command, capture_output=True, text=True, errors="replace", timeout=_COMPILING, check=False
    )
  except (OSError, subprocess.TimeoutExpired) as error:
    raise BuildError(f"{command[0]}: {error}") from error
  if done.returncode:
    lines = done.stderr.splitlines() or ["?"]
    errors = [line for line in lines if "error" in line]
    raise BuildError(f"{command[0]} failed: {(errors or lines)[0].strip()}")


def _compiler() -> list[str]:
  """The command that compiles, as words."""
  named = os.environ.get("CXX")
  if named:
    try:
      words = shlex.split(named)
    except ValueError as error:
      raise BuildError(f"CXX={named}: {error}") from error
    if not words:
      raise BuildError("CXX is blank")
    return words
  for name in ("c++", "g++", "clang++"):
    if shutil.which(name):
      return [name]
  raise BuildError("there is no C++ compiler; g++ or clang++ would do")


def _version(compiler: list[str]) -> str:
  try:
    done = subprocess.run(
      [*compiler, "--version"],
      capture_output=True,
      text=True,
      errors="replace",
      timeout=60,
      check=False,
    )
  except (OSError, subprocess.TimeoutExpired, ValueError) as error:
    raise BuildError(f"{compiler[0]}: {error}") from error
  return done.stdout


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
  telling = {line for line in lines if line.startswith(("model name", "flags", "Features"))}
  return "".join(sorted(telling))
