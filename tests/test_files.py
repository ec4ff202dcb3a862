"""Functions of a user's own, named as `module:function` in settings."""

import subprocess
import sys

import pytest

from tdfusion_jax.files import UsageError, is_plugin, plugin, remove_leftovers

A = """
value = 3


def reader():
  return 42


class Kind:
  def make():
    return 7
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
  """A current folder with modules of the user's; what is imported from it is forgotten later."""
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(sys, "path", list(sys.path))
  before = set(sys.modules)
  (tmp_path / "plug_a.py").write_text(A)
  (tmp_path / "plug_broken.py").write_text("x = 1\nraise KeyError('oh')\n")
  (tmp_path / "plug_syntax.py").write_text("x = 1\ndef f(:\n")
  (tmp_path / "plug_needs.py").write_text("import plug_nowhere\n")
  (tmp_path / "plug_pack").mkdir()
  (tmp_path / "plug_pack" / "inner.py").write_text("def make():\n  return 5\n")
  yield tmp_path
  for name in set(sys.modules) - before:
    if name.startswith("plug_"):
      del sys.modules[name]


def test_a_function_of_the_current_folder_is_found(mine):
  assert plugin("plug_a:reader", "config.data.name")() == 42
  assert plugin("plug_pack.inner:make", "config.data.name")() == 5
  assert plugin("plug_a:Kind.make", "config.data.name")() == 7
  assert sys.path[0] == str(mine)  # worker processes get it from here


def test_an_installed_function_is_found(mine):
  assert plugin("os.path:join", "--metrics") is __import__("os").path.join


def test_the_current_folder_comes_first(mine, monkeypatch):
  elsewhere = mine / "elsewhere"
  elsewhere.mkdir()
  (elsewhere / "plug_twice.py").write_text("def f():\n  return 'elsewhere'\n")
  (mine / "plug_twice.py").write_text("def f():\n  return 'here'\n")
  sys.path.insert(0, str(elsewhere))
  assert plugin("plug_twice:f", "x")() == "here"


def test_a_function_without_the_mark_is_not_returned(mine):
  (mine / "plug_mark.py").write_text(
    "def a(x: 'Nowhere') -> 'int': ...\n\n\ndef b(): ...\n\n\nclass C: ...\n"
  )
  assert plugin("plug_mark:a", "x", int).__name__ == "a"
  for name in ("plug_mark:b", "plug_mark:C", "os:system", "os:getcwd"):
    with pytest.raises(UsageError, match=r"annotate what it returns: def \w+\(...\) -> "):
      plugin(name, "x", int)


def test_a_module_runs_only_if_its_text_makes_the_promise(mine):
  """A run folder of somebody else's may name any module that is installed; importing is running."""
  (mine / "plug_pen").mkdir()
  (mine / "plug_pen" / "__init__.py").write_text("from .inner import make\n")
  (mine / "plug_pen" / "inner.py").write_text("def make() -> int:\n  return 5\n")
  assert plugin("plug_pen:make", "x", int)() == 5
  (mine / "plug_ran.py").write_text(
    "open('ran', 'w')\ndef a(): ...\ndef b() -> str: ...\nc = 3\nfrom os import system\n"
  )
  for name in ("a", "b", "system", "a.b"):
    with pytest.raises(UsageError, match=r"annotate what it returns: def [\w.]+\(...\) -> "):
      plugin(f"plug_ran:{name}", "x", int)
  for name in ("plug_ran:c", "plug_ran:d", "this:s", "antigravity:fly"):
    with pytest.raises(UsageError, match=" has no "):
      plugin(name, "x", int)
  with pytest.raises(UsageError, match="there is no module plug_ran.x"):
    plugin("plug_ran.x:a", "x", int)
  assert not (mine / "ran").exists()
  assert not {"plug_ran", "this", "antigravity"} & set(sys.modules)


@pytest.mark.parametrize(
  ("name", "message"),
  [
    ("plug_a:", "write package.module:function"),
    (":reader", "write package.module:function"),
    ("plug_a:reader:more", "write package.module:function"),
    ("plug a:reader", "write package.module:function"),
    ("../plug_a:reader", "write package.module:function"),
    ("plug_x:reader", "there is no module plug_x in .*, nor is it installed"),
    ("plug_pack.outer:make", "there is no module plug_pack.outer"),
    ("plug_needs:make", "plug_needs needs plug_nowhere, which is not installed"),
    ("plug_a:raeder", "plug_a has no raeder. Is it reader?"),
    ("plug_a:Kind.mkae", "plug_a has no Kind.mkae. Is it make?"),
    ("plug_a:value", "value is not a function but int"),
    ("plug_broken:f", r"plug_broken cannot be imported: .*plug_broken.py, line 2: KeyError: 'oh'"),
    ("plug_syntax:f", r"plug_syntax cannot be imported: .*plug_syntax.py, line 2: "),
  ],
)
def test_what_cannot_be_found_is_named_with_its_field(mine, name, message):
  with pytest.raises(UsageError, match=message) as error:
    plugin(name, "config.data.name")
  assert str(error.value).startswith(f"config.data.name={name!r}: ")
  assert "\n" not in str(error.value)


def test_our_own_names_are_no_plugins():
  assert is_plugin("my_data:reader")
  assert not is_plugin("llvip")


def test_processes_of_one_id_do_not_write_into_one_temporary_file(tmp_path):
  """On a shared file system every container may have a process 1 that writes its first file."""
  program = (
    "import os, sys\nos.getpid = lambda: 1\nfrom tdfusion_jax.files import atomic_write\n"
    "with atomic_write(sys.argv[1]) as temporary:\n  print(temporary.name)\n  temporary.touch()\n"
  )
  command = [sys.executable, "-c", program, str(tmp_path / "a.png")]
  names = [subprocess.run(command, capture_output=True, text=True).stdout for _ in range(2)]
  assert names[0] != names[1] and all(name.endswith(".tmp.png\n") for name in names)
  (tmp_path / names[0].strip()).touch()  # as a writer that was killed leaves it
  remove_leftovers(tmp_path)
  assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
