"""tools/fuzzing.py notices a planted fault of each kind, and nothing where there is none."""

import ctypes
import os
import random
import socket
import subprocess
import sys
import time

import fuzzing
import pytest
from watching import Watch, watching

from tdfusion_jax.files import UsageError


def fuzzed(read, tmp_path, count=1, **changes):
  """What the fuzzer says of `read(path, out)`, which is given files of Python text."""

  def make(rng, folder):
    path = folder / "case.py"
    path.write_text(f"print({rng.random()})\n")
    return fuzzing.Case("text", path)

  def attempt(case, rng, out):
    del rng
    read(case.path, out)

  target = fuzzing.Target(make, attempt, **changes)
  return fuzzing.fuzz(target, count, seed=0, limit=0.2, keep=tmp_path / "kept")


def refuses(path, out):
  del out
  raise UsageError(f"{path}: no.")


def test_a_reader_without_fault(tmp_path):
  def reads(path, out):
    (out / "folder").mkdir()
    (out / "folder" / "copy").write_text(path.read_text())
    (out / "folder" / "copy").rename(out / "moved")

  counts, failures, _ = fuzzed(reads, tmp_path, 3)
  assert counts == {("text", "read"): 3} and not failures
  counts, failures, _ = fuzzed(refuses, tmp_path, 3)
  assert counts == {("text", "refused"): 3} and not failures
  assert not (tmp_path / "kept").exists()


def raises(path, out):
  raise KeyError(path)


def nameless(path, out):
  raise UsageError("something is wrong")


def sleeps(path, out):
  time.sleep(0.25)


def calls_the_shell(path, out):
  os.system("true")


def starts_a_program(path, out):
  subprocess.run([sys.executable, "-c", "pass"], check=True)


def forks(path, out):
  child = os.posix_spawn("/bin/true", ["true"], {})
  os.waitpid(child, 0)


def evaluates(path, out):
  eval(path.read_text())


def executes(path, out):
  exec(compile(path.read_text(), str(path), "exec"))


def loads_a_library(path, out):
  with pytest.raises(OSError, match=r"case\.py"):
    ctypes.CDLL(str(path))


def connects(path, out):
  with socket.socket() as ours, pytest.raises(OSError, match="refused|unreachable|permitted"):
    ours.connect(("127.0.0.1", 1))


def writes_beside(path, out):
  path.with_name("other").write_text("x")


def writes_above(path, out):
  (out / ".." / "escaped").write_text("x")


def removes(path, out):
  path.unlink()


def renames(path, out):
  (out / "made").write_text("x")
  (out / "made").rename(path.with_name("other"))


def writes_by_a_link(path, out):
  (out / "link").symlink_to(path.parent)
  (out / "link" / "other").write_text("x")


def writes_unheard(path, out):
  """As native code writes: without an event of Python's."""
  name = os.fsencode(path.with_name("other"))
  ctypes.CDLL(None).creat(name, 0o600)


def goes_elsewhere(path, out):
  os.chdir(out)


@pytest.mark.parametrize(
  ("read", "message"),
  [
    (raises, "KeyError"),
    (nameless, "message without the file's name: something is wrong"),
    (sleeps, "took 0."),
    (calls_the_shell, "code run: os.system true"),
    (starts_a_program, "code run: subprocess.Popen python"),
    (forks, "code run: os.posix_spawn true"),
    (evaluates, "code run: exec of <string> ('print',)"),
    (executes, "code run: exec of /"),
    (loads_a_library, "code run: ctypes.dlopen /"),
    (connects, "code run: socket.connect 127.0.0.1"),
    (writes_beside, "written outside: open /"),
    (writes_above, "written outside: open /"),
    (removes, "written outside: os.remove /"),
    (renames, "written outside: os.rename /"),
    (writes_by_a_link, "written outside: open /"),
    (writes_unheard, "written outside: in/other"),
    (goes_elsewhere, "the current folder is /"),
  ],
)
def test_a_planted_fault_is_noticed(read, message, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)  # put back at the end, should the fuzzer not
  _, failures, _ = fuzzed(read, tmp_path)
  assert len(failures) == 1 and message in failures[0]
  assert failures[0].startswith("file 0 (text): ")
  kept = [path.read_text() for path in (tmp_path / "kept").glob("0_0_text.py")]
  assert bool(kept) == (read is not removes) and all(text.startswith("print(") for text in kept)


def test_what_a_fuzzer_allows_is_no_fault(tmp_path):
  elsewhere = tmp_path / "cache"
  elsewhere.mkdir()

  def uses(path, out):
    (elsewhere / "file").write_text("x")
    subprocess.run(["true"], check=True)
    path.with_name("other").write_text("x")

  allowed = {"writable": (elsewhere,), "programs": ("true",), "reads_only": False}
  assert not fuzzed(uses, tmp_path, **allowed).failures
  for name in allowed:
    less = {key: value for key, value in allowed.items() if key != name}
    assert len(fuzzed(uses, tmp_path, **less).failures) == 1, name


def test_libraries_may_make_classes_and_import(tmp_path):
  module = tmp_path / "made_by_test_fuzzing.py"
  module.write_text("import collections\nPoint = collections.namedtuple('Point', 'x y')\n")
  with watching(Watch(tmp_path / "inside")) as watch:
    sys.path.insert(0, str(tmp_path))
    try:
      import made_by_test_fuzzing  # pyright: ignore[reportMissingImports]
    finally:
      sys.path.remove(str(tmp_path))
  assert made_by_test_fuzzing.Point(1, 2).x == 1 and watch.seen == []
  with watching(Watch(tmp_path)) as watch:
    sys.path.insert(0, str(tmp_path))
    try:
      del sys.modules["made_by_test_fuzzing"]
      import made_by_test_fuzzing  # noqa: F811
    finally:
      sys.path.remove(str(tmp_path))
      del sys.modules["made_by_test_fuzzing"]
  assert len(watch.seen) == 1 and "made_by_test_fuzzing.py" in watch.seen[0]


def test_damage_is_of_every_kind_and_repeats():
  """Of a text of 200 bytes, drawn 300 times: the same for the same seed, and not one like it."""
  content = b'{"name": 12.5, "other": [1, 2, 3]}\n' * 6
  drawn = [fuzzing.damage(random.Random(seed), content, True) for seed in range(300)]
  assert drawn == [fuzzing.damage(random.Random(seed), content, True) for seed in range(300)]
  assert sum(one != content for one in drawn) > 280
  assert {len(one) < len(content) for one in drawn} == {True, False}
  assert any(b"etc/passwd" in one for one in drawn) and any(b"1e999" in one for one in drawn)


def test_the_command_line(tmp_path, capsys):
  def make(rng, folder):
    path = folder / "case"
    path.write_bytes(rng.randbytes(4))
    return fuzzing.Case("bytes" if rng.random() < 0.5 else "none", path)

  def attempt(case, rng, out):
    del rng, out
    if case.kind == "bytes":
      refuses(case.path, None)

  argv = ["--count=20", f"--keep={tmp_path}"]
  assert fuzzing.main("About.", lambda: fuzzing.Target(make, attempt), argv) == 0
  lines = capsys.readouterr().out.splitlines()
  assert lines[0].startswith("bytes read      0 refused") and lines[1].startswith("none  read")
  assert lines[2].startswith("20 files in 0 s, longest ") and lines[2].endswith(" 0 failure(s)")
  assert fuzzing.main("About.", lambda: fuzzing.Target(make, raises), argv) == 1
