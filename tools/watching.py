"""What a process does beside its work: code that it runs, files that it writes elsewhere.

`watch` notes both by Python's audit events (`sys.addaudithook`), which come from the interpreter
itself: no function has to be replaced, and what a C extension does by way of Python is seen as
well. Files that native code writes raise no events; `fuzzing.py` looks for those in the folders
around the damaged file.
"""

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# {event: which of its arguments are paths that it changes, with a folder's descriptor for each}
_CHANGES = {
  "os.chmod": ((0, 2),),
  "os.chown": ((0, 3),),
  "os.link": ((1, 3),),
  "os.mkdir": ((0, 2),),
  "os.remove": ((0, 1),),
  "os.rename": ((0, 2), (1, 3)),
  "os.rmdir": ((0, 1),),
  "os.symlink": ((1, 2),),
  "os.truncate": ((0, None),),
  "os.utime": ((0, 3),),
}
# {event: which argument names the program, or what is reached}
_RUNS = {
  "os.system": 0,
  "os.exec": 0,
  "os.posix_spawn": 0,
  "os.fork": None,
  "os.forkpty": None,
  "os.startfile": 0,
  "pty.spawn": 0,
  "subprocess.Popen": 0,
  "socket.connect": 1,
  "socket.getaddrinfo": 0,
  "urllib.Request": 0,
}
_GENERATORS = ("attr", "beartype", "collections", "dataclasses", "enum", "jaxtyping", "typing")
_HEARD = frozenset({*_CHANGES, *_RUNS, "exec", "open", "import", "ctypes.dlopen"})


class Watch:
  """What was seen while it was the current one.

  Args:
    inside: the folder of damaged files; code from there must not run.
    writable: folders and files that may be written, beside `/dev`.
    programs: names of programs that may be started.
  """

  def __init__(self, inside: Path, writable: Sequence[Path] = (), programs: Sequence[str] = ()):
    self.seen: list[str] = []
    """One line for each event that must not happen."""
    self._inside = _real(inside)
    self._writable = tuple(_real(path) for path in (*writable, Path("/dev")))
    self._programs = tuple(programs)

  def hear(self, event: str, arguments: tuple, caller: FrameType | None) -> None:
    """Notes an audit event if it is one that must not happen.

    Args:
      event: its name, see Python's table of audit events.
      arguments: that came with it.
      caller: what raised it.
    """
    if event in _RUNS:
      self._hear_program(event, arguments)
    elif event == "exec":
      self._hear_code(arguments[0], caller)
    elif event == "open":
      self._hear_open(*arguments)
    elif event in _CHANGES:
      for place, descriptor in _CHANGES[event]:
        at = -1 if descriptor is None else arguments[descriptor]
        self._hear_change(event, arguments[place], at)
    elif event in ("ctypes.dlopen", "import"):
      self._hear_library(event, arguments[0 if event == "ctypes.dlopen" else 1])

  def _hear_program(self, event: str, arguments: tuple) -> None:
    place = _RUNS[event]
    what = "" if place is None or place >= len(arguments) else arguments[place]
    if isinstance(what, list | tuple):
      what = what[0] if what else ""
    name = os.path.basename(os.fsdecode(what)) if isinstance(what, str | bytes) else str(what)
    if name not in self._programs:
      self.seen.append(f"code run: {event} {name}")

  def _hear_code(self, code: Any, caller: FrameType | None) -> None:
    """Code whose file is there and elsewhere is an import; what libraries generate is theirs."""
    file = getattr(code, "co_filename", "")
    if file.startswith("<frozen ") or (os.path.isabs(file) and os.path.exists(file)):
      strange = self._is_inside(file)
    else:
      # A text that was compiled. NamedTuples and data classes are made so, by their own modules.
      strange = caller is None or not _generates(caller)
    if strange:
      where = caller.f_code.co_filename if caller else "?"
      self.seen.append(f"code run: exec of {_words(code)} by {where}")

  def _hear_library(self, event: str, file: Any) -> None:
    if isinstance(file, str | bytes | os.PathLike) and self._is_inside(file):
      self.seen.append(f"code run: {event} {os.fsdecode(file)}")

  def _hear_open(self, file: Any, mode: str | None, flags: int) -> None:
    writes = any(letter in mode for letter in "wax+") if mode else bool(flags & _WRITES)
    if writes:
      self._hear_change("open", file, -1)

  def _hear_change(self, event: str, file: Any, folder: Any) -> None:
    if not isinstance(file, str | bytes | os.PathLike):
      return  # of a descriptor, whose opening was heard
    name = os.fsdecode(file)
    if not os.path.isabs(name) and isinstance(folder, int) and folder >= 0:
      with contextlib.suppress(OSError):
        name = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), name)
    path = _real(name, last=event == "open")
    if not any(_is_below(path, place) for place in self._writable):
      self.seen.append(f"written outside: {event} {path}")

  def _is_inside(self, file: Any) -> bool:
    return _is_below(_real(file), self._inside)


def _real(file: Any, last: bool = True) -> str:
  """Absolute, links followed; not the `last` part's where a link itself is meant."""
  name = os.path.abspath(os.fsdecode(file))
  with contextlib.suppress(OSError, ValueError):
    if last:
      return os.path.realpath(name)
    return os.path.join(os.path.realpath(os.path.dirname(name)), os.path.basename(name))
  return name


def _is_below(path: str, place: str) -> bool:
  return path == place or path.startswith(place.rstrip(os.sep) + os.sep)


def _generates(caller: FrameType) -> bool:
  """Whether it is a module that makes classes and functions out of texts of its own."""
  module = caller.f_globals.get("__name__", "")
  return module.partition(".")[0] in _GENERATORS


def _words(code: Any) -> str:
  if isinstance(code, CodeType):
    return f"{code.co_filename} {code.co_names[:4]}"
  return repr(code)[:80]


_current: Watch | None = None
_hooked = False


def _hook(event: str, arguments: tuple) -> None:
  watch = _current
  if watch is not None and event in _HEARD:  # looking for the caller is an event of its own
    watch.hear(event, arguments, sys._getframe(1))


@contextlib.contextmanager
def watching(watch: Watch) -> Iterator[Watch]:
  """In the block, `watch` notes what happens, in all threads. Blocks do not nest."""
  global _current, _hooked
  if not _hooked:
    sys.addaudithook(_hook)  # for the process's whole life: Python has no way to remove one
    _hooked = True
  bytecode = sys.dont_write_bytecode
  sys.dont_write_bytecode = True  # else a first import would count as a file written
  _current = watch
  try:
    yield watch
  finally:
    _current = None
    sys.dont_write_bytecode = bytecode
