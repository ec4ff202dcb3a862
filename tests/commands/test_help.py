"""What `tdfusion --help` loads and shows; what class an error in an option is of."""

import json
import subprocess
import sys

import pytest

from tdfusion_jax.commands import VERBS

HEAVY = ("jax", "jaxlib", "flax", "optax", "orbax", "matplotlib", "grain", "tensorflow_datasets")


def imported(*arguments):
  """Packages that `tdfusion ARGUMENTS` imports in a process of its own, and what it prints."""
  command = (
    "import json, sys\n"
    "from tdfusion_jax import cli\n"
    "try:\n  cli.main(sys.argv[1:])\nexcept SystemExit as end:\n  assert not end.code\n"
    "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))\n"
  )
  ran = subprocess.run(
    [sys.executable, "-c", command, *arguments], capture_output=True, text=True, check=True
  )
  *printed, packages = ran.stdout.splitlines()
  return set(json.loads(packages)), "\n".join(printed)


def test_help_imports_nothing_heavy():
  """Measured by what is loaded, not by a clock: JAX alone takes longer than the help may."""
  packages, shown = imported("--help")
  assert packages.isdisjoint((*HEAVY, "numpy", "PIL"))
  words = " ".join(shown.split())  # as it is before argparse breaks lines
  for verb, line in VERBS.items():
    assert f"{verb} {line}" in words
  assert "tdfusion_jax" in packages  # else this test would see nothing at all


@pytest.mark.parametrize("verb", ["convert", "init", "models", "report", "sweep"])
def test_the_help_of_these_verbs_loads_no_jax(verb):
  packages, shown = imported(verb, "--help")
  assert packages.isdisjoint(("jax", "flax", "optax", "matplotlib"))
  assert f"example: tdfusion {verb}" in shown


def test_options_that_are_wrong_are_usage_errors(tmp_path):
  """Not an ImageError or a CheckpointError by chance: what is wrong is no image and no file."""
  from importlib import import_module

  from tdfusion_jax import cli
  from tdfusion_jax.files import UsageError

  wrong = {
    "convert": [["in.pth"], ["in.pth", "--out=x.pth"]],
    "evaluate": [[], ["--metrics=none"], ["--profile=none"], ["--dataset=msrs", "--ir=a"]],
    "report": [["a", "--pairs=-1"], ["a=x", "a=y"], ["=x"], ["a=x", "--fused=a=y"]],
    "sweep": [["a.toml", "--workdir=w", "--jobs=0"], ["a.toml", "--workdir=w", "--set=x"]],
  }
  for verb, lines in wrong.items():
    for line in lines:
      _, options = cli._parse([verb, *line])
      with pytest.raises(UsageError) as error:
        import_module(f"tdfusion_jax.commands.{verb}").run(options)
      assert error.type is UsageError, (verb, line)
