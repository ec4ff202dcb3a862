"""Imports go one way through the house: the contracts of import-linter in pyproject.toml."""

import subprocess
import sys
from pathlib import Path

import pytest

import tdfusion_jax

PACKAGE = Path(tdfusion_jax.__file__).parent


def test_the_contracts_hold():
  pytest.importorskip("importlinter")
  command = "import sys; from importlinter.cli import lint_imports_command; lint_imports_command()"
  ran = subprocess.run(
    [sys.executable, "-c", command, "--no-cache"],
    cwd=PACKAGE.parent,
    capture_output=True,
    text=True,
    timeout=300,
    check=False,
  )
  assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-2000:]
  assert "0 broken" in ran.stdout


def test_few_modules_lie_flat():
  flat = [path.name for path in PACKAGE.glob("*.py") if path.name != "__init__.py"]
  assert len(flat) <= 10, flat


def test_tests_mirror_the_package():
  """A folder of tests has the name of a room; other folders are listed with what they hold."""
  apart = {"with_torch", "oracles", "docs"}
  rooms = {str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*") if path.is_dir()}
  tests = Path(__file__).parent
  for path in tests.rglob("test_*.py"):
    folder = str(path.parent.relative_to(tests))
    assert folder == "." or folder.split("/")[0] in apart or folder in rooms, path


def test_no_private_part_of_jax_is_used():
  """JAX promises nothing about `jax._src`; import-linter sees packages, not their parts."""
  for path in [*PACKAGE.rglob("*.py"), *(PACKAGE.parent / "configs").glob("*.py")]:
    assert "jax._src" not in path.read_text(), path
