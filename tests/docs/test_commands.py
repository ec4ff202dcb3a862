"""Every bash and Python block of README and the manual is run, or listed with the reason."""

import contextlib
import importlib.util
import os
from pathlib import Path

import jax
import pytest
import tiny
from docs.blocks import ROOT, blocks, commands, pages
from docs.running import RefusedError, check_installing, run, run_python
from docs.substitutions import NEEDS, NOT_RUN
from jax.experimental.compilation_cache import compilation_cache

from configs import load
from docs import small
from tdfusion_jax.train.networks import networks

PAGES = [page for page in pages() if blocks(page)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """One folder for all pages: what one page makes is there for the next, as it is for a reader."""
  path = tmp_path_factory.mktemp("manual")
  for name in ("configs", "tools", "tdfusion_jax"):
    (path / name).symlink_to(ROOT / name)
  with compiled_once(path / "compiled"):
    yield path


@contextlib.contextmanager
def compiled_once(path):
  """Many commands train alike; what one of them has compiled serves the others."""
  settings = {
    "jax_compilation_cache_dir": str(path),
    "jax_persistent_cache_min_compile_time_secs": 0.0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
  }
  before = {name: getattr(jax.config, name) for name in settings}
  for name, value in settings.items():
    jax.config.update(name, value)
  compilation_cache.reset_cache()
  yield
  for name, value in before.items():
    jax.config.update(name, value)
  compilation_cache.reset_cache()


@pytest.fixture
def here(folder, monkeypatch):
  """The current folder, with a home folder inside it so that nothing is written elsewhere."""
  before = Path.cwd()
  os.chdir(folder)
  native = Path.home() / ".cache" / "tdfusion_jax" / "native"
  if native.is_dir() and not (folder / "home" / ".cache").exists():
    (folder / "home" / ".cache" / "tdfusion_jax").mkdir(parents=True)
    (folder / "home" / ".cache" / "tdfusion_jax" / "native").symlink_to(native)
  monkeypatch.setenv("HOME", str(folder / "home"))
  yield monkeypatch
  os.chdir(before)


@pytest.mark.slow  # all pages together train thirty small networks and fuse with the real F
@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # of config flags
@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_run(page, here):
  for block in blocks(page):
    try:
      if block.saved_as:
        Path(block.saved_as).write_text(block.text)
      if block.language == "python":
        run_python(block.text, here)
        continue
      for command in commands(block.text):
        run(command, here)
    except (Exception, SystemExit) as error:
      raise AssertionError(f"{page}, line {block.line}: {type(error).__name__}: {error}") from error


def test_readme_opens_with_the_two_commands():
  first, second = blocks("README.md")[:2]
  assert first.text == (
    "python3 -m venv .venv && . .venv/bin/activate && pip install -e . && "
    "python -m tdfusion_jax.main --config=configs/first.py --workdir=runs/first\n"
  )
  assert second.text == 'pip install -e ".[test]" && python -m pytest -q -n 2 --dist loadfile\n'


def test_the_networks_of_a_training_are_small(here):
  """Else every training of the manual would compile the real F."""
  small.install(here, fusion_too=True)
  made = networks(load("first"))
  assert isinstance(made.fuser.network, tiny.One) and isinstance(made.weigher.network, tiny.One)


def test_a_command_of_no_known_kind_is_refused(here):
  (command,) = commands("make coffee\n")
  with pytest.raises(RefusedError, match="neither run nor listed"):
    run(command, here)


def test_a_failing_command_is_refused(here):
  (command,) = commands("tdfusion fuse --ir nowhere --vi nowhere --out fused\n")
  with pytest.raises(RefusedError, match="status 2"):
    run(command, here)


def test_a_command_is_left_out_where_its_optional_package_is_not_installed(here):
  here.setattr(importlib.util, "find_spec", lambda name: None)
  (command,) = commands("tdfusion export --out exported\n")
  assert run(command, here) == "needs onnx, which is not installed"


def test_an_extra_that_is_not_there_is_refused():
  (command,) = commands('pip install -e ".[video,coffee]"\n')
  with pytest.raises(RefusedError, match="no extra coffee"):
    check_installing(command)


def test_every_exception_is_needed():
  texts = [
    str(c) for page in PAGES for b in blocks(page) if b.language == "bash" for c in commands(b.text)
  ]
  exceptions = [*NOT_RUN, *NEEDS]
  unused = [start for start in exceptions if not any(text.startswith(start) for text in texts)]
  assert unused == []


def test_loops_comments_and_continued_lines_are_read():
  text = 'for i in I II; do\n  A=1 tdfusion x --a="b c" \\\n    --r=$i # why\ndone\ncd y && z\n'
  assert [(c.words, c.variables) for c in commands(text)] == [
    (["tdfusion", "x", "--a=b c", "--r=I"], {"A": "1"}),
    (["tdfusion", "x", "--a=b c", "--r=II"], {"A": "1"}),
    (["cd", "y"], {}),
    (["z"], {}),
  ]
