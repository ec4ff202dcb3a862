"""Kinds of processors that machine code is compiled for ahead of time, and which of them this is.

A wheel brings one library for each. `CMakeLists.txt` runs this file for the list, without the
package: standard library only.
"""

import platform
import sys
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent / "prebuilt"
"""Where a wheel has the libraries; an editable install has none."""


class Level(NamedTuple):
  """A kind of processor."""

  name: str
  """Of the library, without suffix."""
  options: tuple[str, ...]
  """Of the compiler."""
  needs: frozenset[str]
  """Flags in Linux's `/proc/cpuinfo`: the processor has it and the system lets it be used."""


def _level(name: str, options: str, needs: str = "") -> Level:
  return Level(name, tuple(options.split()), frozenset(needs.split()))


# The levels of the x86-64 psABI and two beyond, for half precision; the best one first.
_V2 = "cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3"
_V3 = f"{_V2} abm avx avx2 bmi1 bmi2 f16c fma movbe xsave"
_V4 = f"{_V3} avx512f avx512bw avx512cd avx512dq avx512vl"
_BF16 = f"{_V4} avx512_bf16"
_AMX = f"{_BF16} avx512_fp16 amx_tile amx_bf16"
_V4_OPTIONS = "-march=x86-64-v4 -mprefer-vector-width=512"
_X86 = (
  _level("x86-64-v4-amx", f"{_V4_OPTIONS} -mavx512bf16 -mavx512fp16 -mamx-tile -mamx-bf16", _AMX),
  _level("x86-64-v4-bf16", f"{_V4_OPTIONS} -mavx512bf16", _BF16),
  _level("x86-64-v4", _V4_OPTIONS, _V4),
  _level("x86-64-v3", "-march=x86-64-v3", _V3),
  _level("x86-64-v2", "-march=x86-64-v2", _V2),
)
_ARM = (_level("armv8-a", "-march=armv8-a"),)
_APPLE = (_level("apple-m1", "-mcpu=apple-m1"),)


def levels() -> tuple[Level, ...]:
  """Those of this kind of machine, the best one first; none for one that no wheel is made for."""
  machine = platform.machine().lower()
  if sys.platform == "darwin":
    return _APPLE if machine == "arm64" else ()
  if not sys.platform.startswith("linux"):
    return ()
  return {"x86_64": _X86, "aarch64": _ARM}.get(machine, ())


def flags_of(cpuinfo: str) -> frozenset[str]:
  """The flags of the first processor in the text of `/proc/cpuinfo`."""
  for line in cpuinfo.splitlines():
    name, _, value = line.partition(":")
    if name.strip() == "flags":
      return frozenset(value.split())
  return frozenset()


def _flags() -> frozenset[str]:
  try:
    return flags_of(Path("/proc/cpuinfo").read_text())
  except OSError:
    return frozenset()


def prebuilt(folder: Path = FOLDER) -> Path | None:
  """The best library in `folder` that this processor can run, or None.

  The folder lies in the installed package and is trusted as the package's Python files are: whoever
  may write one may write the other.
  """
  if not folder.is_dir():
    return None
  flags = _flags()
  for level in levels():
    library = folder / f"{level.name}.so"
    if level.needs <= flags and library.is_file():
      return library
  return None


if __name__ == "__main__":
  print("\n".join(" ".join([level.name, *level.options]) for level in levels()))
