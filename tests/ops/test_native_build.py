"""The cache of machine code: nothing foreign, cut or changed is loaded, and processes do not race.

The compiler here is a script that counts its calls and writes a few bytes: what is tested is what
happens around it. `built` returns a path and loads nothing.
"""

import os
import subprocess
import sys
import time

import pytest

from tdfusion_jax.ops.native import build

_COMPILER = """#!/bin/sh
if [ "$1" = --version ]; then echo fake 1; exit; fi
echo called >> "{calls}"
sleep {seconds}
while [ "$1" != -o ]; do shift; done
printf 'machine code' > "$2"
"""


@pytest.fixture
def compiler(tmp_path, monkeypatch):
  """Takes the compiler's place; () -> how often it has compiled."""
  script, calls = tmp_path / "compiler", tmp_path / "calls"
  calls.touch()
  script.write_text(_COMPILER.format(calls=calls, seconds=0))
  script.chmod(0o700)
  monkeypatch.setenv("CXX", str(script))
  return lambda: len(calls.read_text().splitlines())


def test_a_library_is_private_with_its_hash_beside_it(tmp_path, compiler):
  """Expected: sha256sum of the 12 bytes that the compiler writes."""
  library = build.built(tmp_path / "native")
  assert build.built(tmp_path / "native") == library and compiler() == 1
  assert library.read_bytes() == b"machine code"
  digest = "5ace2a28c6f40875ef2baac027d8b91a2f65701271c7b43ecbd467664dca9ef0"
  assert library.with_suffix(".sha256").read_text().strip() == digest
  assert not (library.stat().st_mode | library.parent.stat().st_mode) & 0o077


@pytest.mark.parametrize("damage", ["cut", "emptied", "changed", "hash gone", "hash no text"])
def test_a_damaged_library_is_built_again(tmp_path, compiler, damage):
  library = build.built(tmp_path)
  mark = library.with_suffix(".sha256")
  if damage == "cut":
    library.write_bytes(b"machine")
  elif damage == "emptied":
    library.write_bytes(b"")
  elif damage == "changed":
    library.write_bytes(b"machine codE")
  elif damage == "hash gone":
    mark.unlink()
  else:
    mark.write_bytes(b"\xff\xfe")
  assert build.built(tmp_path) == library
  assert library.read_bytes() == b"machine code" and compiler() == 2


@pytest.mark.parametrize("part", ["library", "hash"])
def test_what_others_may_write_is_not_loaded(tmp_path, compiler, part):
  library = build.built(tmp_path)
  path = library if part == "library" else library.with_suffix(".sha256")
  path.chmod(0o722)
  assert build.built(tmp_path) == library and compiler() == 2
  assert not path.stat().st_mode & 0o022


def test_a_link_to_a_library_is_not_followed(tmp_path, compiler):
  library = build.built(tmp_path)
  elsewhere = tmp_path / "elsewhere"
  library.rename(elsewhere)
  library.symlink_to(elsewhere)
  assert build.built(tmp_path) == library and compiler() == 2
  assert not library.is_symlink()


def test_an_open_folder_of_our_own_is_closed_and_built_in_anew(tmp_path, compiler):
  folder = tmp_path / "native"
  library = build.built(folder)
  folder.chmod(0o777)
  assert build._is_sound(library) is False
  build.built(folder)
  assert not folder.stat().st_mode & 0o022 and build._is_sound(library)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("whose", ["folder", "library"])
def test_what_belongs_to_another_user_is_not_loaded(tmp_path, monkeypatch, whose):
  library = build.built(tmp_path / "native")
  os.chown(library.parent if whose == "folder" else library, 12345, -1)
  assert not build._is_sound(library)
  if whose == "folder":
    with pytest.raises(build.BuildError, match="set XDG_CACHE_HOME"):
      build.built(tmp_path / "native")


def test_the_environment_is_not_part_of_the_name(tmp_path, compiler, monkeypatch):
  """Two virtual environments with the same packages share a library."""
  import shutil
  from pathlib import Path

  import jax

  assert build._include_dir() == Path(jax.ffi.include_dir())
  library = build.built(tmp_path / "native")
  copy = tmp_path / "other" / "include"
  shutil.copytree(build._include_dir(), copy)
  monkeypatch.setattr(build, "_include_dir", lambda: copy)
  assert build.built(tmp_path / "native") == library and compiler() == 1
  header = next(copy.rglob("*.h"))
  header.write_text(header.read_text() + "\n")
  assert build.built(tmp_path / "native") != library and compiler() == 2


@pytest.mark.parametrize(
  ("command", "message"),
  [('g++ "', "No closing quotation"), (" ", "blank"), ("/nowhere/c++", "/nowhere/c++")],
)
def test_a_wrong_compiler_is_named(tmp_path, monkeypatch, command, message):
  monkeypatch.setenv("CXX", command)
  with pytest.raises(build.BuildError, match=message):
    build.built(tmp_path)


def test_a_relative_cache_home_makes_no_folder_here(tmp_path, compiler, monkeypatch):
  """The XDG specification: relative paths are invalid and ignored."""
  monkeypatch.chdir(tmp_path)
  monkeypatch.setenv("XDG_CACHE_HOME", "relative")
  monkeypatch.setenv("HOME", str(tmp_path / "home"))
  library = build.built()
  assert library.parent == tmp_path / "home" / ".cache" / "tdfusion_jax" / "native"
  assert not (tmp_path / "relative").exists() and compiler() == 1


def test_of_two_processes_one_compiles(tmp_path, compiler):
  script = tmp_path / "compiler"
  script.write_text(_COMPILER.format(calls=tmp_path / "calls", seconds=2))
  code = "import sys, pathlib; from tdfusion_jax.ops.native import build; "
  code += "print(build.built(pathlib.Path(sys.argv[1])))"
  command = [sys.executable, "-c", code, str(tmp_path / "native")]
  running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
  said = {process.communicate(timeout=120)[0].strip() for process in running}
  assert [process.returncode for process in running] == [0, 0, 0]
  assert len(said) == 1 and compiler() == 1


def test_a_failed_build_takes_what_another_process_has_built(tmp_path, compiler, monkeypatch):
  """As when the lock could not be had, and the compiler ran out of time."""
  library = build.built(tmp_path)
  sound = iter([False, False, True])
  monkeypatch.setattr(build, "_is_sound", lambda path: next(sound))

  def fail(command, place):
    raise build.BuildError("out of time")

  monkeypatch.setattr(build, "_compile", fail)
  assert build.built(tmp_path) == library and compiler() == 1


def test_a_lock_that_is_held_for_ever_does_not_stop_the_build(tmp_path, compiler, monkeypatch):
  import fcntl

  library = build.built(tmp_path)
  library.unlink()
  monkeypatch.setattr(build, "_WAITING", 0.3)
  with (tmp_path / f"{library.stem}.lock").open("a") as held:
    fcntl.flock(held, fcntl.LOCK_EX)
    began = time.monotonic()
    assert build.built(tmp_path) == library and compiler() == 2
    assert time.monotonic() - began >= 0.3
