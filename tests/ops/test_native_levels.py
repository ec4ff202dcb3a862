"""Which of a wheel's libraries a processor gets, and that all of them compute the same."""

import ctypes
import subprocess
import sys

import numpy as np
import pytest

from tdfusion_jax.engines import host
from tdfusion_jax.ops import native
from tdfusion_jax.ops.native import levels
from tests.random_fusion import random_params

# Shortened from machines' own /proc/cpuinfo.
_NEHALEM = "sse sse2 pni ssse3 cx16 sse4_1 sse4_2 popcnt lahf_lm"
_HASWELL = _NEHALEM + " xsave avx f16c fma movbe abm bmi1 avx2 bmi2"
_SKYLAKE = _HASWELL + " avx512f avx512dq avx512cd avx512bw avx512vl"
_ZEN4 = _SKYLAKE + " avx512_bf16 avx512_vnni"
_SAPPHIRE = _SKYLAKE + " avx512_bf16 amx_bf16 avx512_fp16 amx_tile amx_int8"


@pytest.fixture
def a_wheel(tmp_path, monkeypatch):
  """A folder with the libraries of a wheel for x86-64 Linux, on such a machine with given flags."""
  monkeypatch.setattr(levels, "levels", lambda: levels._X86)
  for level in levels._X86:
    (tmp_path / f"{level.name}.so").touch()

  def on(flags):
    cpuinfo = f"model\t: x\nflags\t\t: {flags}"
    monkeypatch.setattr(levels, "_flags", lambda: levels.flags_of(cpuinfo))
    return tmp_path

  return on


@pytest.mark.parametrize(
  ("flags", "best"),
  [
    (_NEHALEM, "x86-64-v2.so"),
    (_HASWELL, "x86-64-v3.so"),
    (_HASWELL.replace("fma ", ""), "x86-64-v2.so"),
    (_SKYLAKE, "x86-64-v4.so"),
    (_SAPPHIRE, "x86-64-v4-amx.so"),
    (_SAPPHIRE.replace(" amx_tile", ""), "x86-64-v4-bf16.so"),
    (_ZEN4, "x86-64-v4-bf16.so"),
    (_SKYLAKE.replace("avx512vl", "avx512vlx"), "x86-64-v3.so"),
  ],
)
def test_a_processor_gets_the_best_that_it_can_run(a_wheel, flags, best):
  """Expected: the levels of the x86-64 psABI, and products of bfloat16, and tiles, beyond."""
  folder = a_wheel(flags)
  assert levels.prebuilt(folder) == folder / best


def test_there_may_be_none(a_wheel, monkeypatch):
  assert levels.prebuilt(a_wheel("sse sse2")) is None
  folder = a_wheel(_SKYLAKE)
  assert levels.prebuilt(folder / "none") is None
  monkeypatch.setattr(levels, "levels", tuple)
  assert levels.prebuilt(folder) is None


def test_other_machines(monkeypatch):
  for system, machine, first in [
    ("linux", "aarch64", "armv8-a"),
    ("darwin", "arm64", "apple-m1"),
    ("linux", "x86_64", "x86-64-v4-amx"),
    ("darwin", "x86_64", None),
    ("win32", "AMD64", None),
    ("linux", "riscv64", None),
  ]:
    monkeypatch.setattr(levels.sys, "platform", system)
    monkeypatch.setattr(levels.platform, "machine", lambda machine=machine: machine)
    assert next((level.name for level in levels.levels()), None) == first


def test_the_list_that_the_build_reads():
  """The file runs without the package, and prints a line for each level."""
  ran = subprocess.run(
    [sys.executable, "-I", levels.__file__], capture_output=True, text=True, check=True
  )
  expected = [[level.name, *level.options] for level in levels.levels()]
  assert [line.split() for line in ran.stdout.splitlines()] == expected


def test_all_levels_compute_the_same(monkeypatch):
  """Of a wheel: each library that this processor can run, beside the first."""
  flags = levels._flags()
  libraries = [
    levels.FOLDER / f"{level.name}.so" for level in levels.levels() if level.needs <= flags
  ]
  if not levels.FOLDER.is_dir() or len(libraries) < 2:
    pytest.skip("not installed from a wheel, or a single level")
  weights = host.weights_of(random_params())
  ir, vi = np.random.default_rng(0).random((2, 37, 70, 1), np.float32)
  found = []
  for library in libraries:
    monkeypatch.setattr(native, "library", lambda library=library: ctypes.CDLL(str(library)))
    found.append(host.fuse(weights, ir, vi))
  assert found[0].std() > 0.01
  for other in found[1:]:  # rounding in another order, as in test_native.test_on_numpy_arrays
    np.testing.assert_allclose(other, found[0], atol=5e-6)
