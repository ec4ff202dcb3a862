"""What `tdfusion --help` loads and shows; what class an error in an option is of."""

import json
import subprocess
import sys

import numpy as np
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


@pytest.mark.parametrize("verb", ["train", *VERBS])
def test_the_help_of_a_verb_loads_no_jax(verb):
  packages, shown = imported(verb, "--help")
  assert packages.isdisjoint((*HEAVY, "jaxtyping", "rich", "tifffile"))
  assert f"example: tdfusion {verb}" in shown


def test_the_names_that_help_lists_are_those_that_there_are():
  from tdfusion_jax import export
  from tdfusion_jax.commands import known
  from tdfusion_jax.data import SOURCES
  from tdfusion_jax.data.labels import convert
  from tdfusion_jax.data.verify import layout
  from tdfusion_jax.evaluate import methods, verdict
  from tdfusion_jax.fusing import backends, huge, jobs
  from tdfusion_jax.init import look
  from tdfusion_jax.metrics import fusion

  there = {
    "BACKENDS": backends.BACKENDS,
    "BASELINES": tuple(methods.BASELINES),
    "DATA_SETS": tuple(sorted(SOURCES)),
    "EXPORTED": export.FORMATS,
    "IMAGE_FORMS": jobs.FORMATS,
    "LABEL_FORMS": convert.FORMS,
    "LABEL_KINDS": look.KINDS,
    "METRICS": fusion.PAPER,
    "ON_DISK": layout.CHECKED,
    "PROFILES": {name: profile.about for name, profile in fusion.PROFILES.items()},
    "TASK_SCORES": tuple(name for names in verdict.MAIN.values() for name in names),
    "USUAL_MEGAPIXELS": huge.USUAL_MEGAPIXELS,
  }
  assert {name: value for name, value in vars(known).items() if name.isupper()} == there


def test_a_pair_is_fused_without_jax(tmp_path):
  """By machine code, from the files to the file; and it is the image that this process makes."""
  from tdfusion_jax import fuse
  from tdfusion_jax.images.reading import read_image
  from tdfusion_jax.images.writing import write_image
  from tdfusion_jax.ops import native

  if native.library() is None:
    pytest.skip("no machine code")
  rng = np.random.default_rng(0)
  for side, channels in (("ir", 1), ("vi", 3)):
    write_image(tmp_path / f"{side}.png", rng.random((24, 40, channels)))
  sides = [str(tmp_path / f"{side}.png") for side in ("ir", "vi", "out")]
  names = ("--ir", "--vi", "--out")
  line = [word for pair in zip(names, sides, strict=True) for word in pair]
  packages, shown = imported("fuse", *line, f"--cache={tmp_path}/cache")
  assert "1 written" in shown
  assert packages.isdisjoint((*HEAVY, "jaxtyping", "onnx", "onnxruntime", "rich", "yaml"))
  expected = np.asarray(fuse(sides[0], sides[1]), np.float32) / 255
  np.testing.assert_array_equal(read_image(sides[2]), expected)


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
