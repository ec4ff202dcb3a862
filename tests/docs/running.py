"""Runs the commands and the Python of the manual where all that they name lies ready."""

import importlib.util
import runpy
import shlex
import sys
import threading
import tomllib
import types
from concurrent.futures import Future
from pathlib import Path

import pytest
from docs.blocks import ROOT, Command
from docs.substitutions import ARGUMENTS, INSTALLING, MADE, NEEDS, NOT_RUN, RUNS, SMALLER

import tdfusion_jax.train
from docs import sandbox, small
from tdfusion_jax import cli, main
from tdfusion_jax.config.commandline import parse_config
from tdfusion_jax.evaluate.stage import run_task_stage
from tdfusion_jax.sweep import run as sweep_run
from tdfusion_jax.train.loop import train

_TRAINING = (["python", "-m", "tdfusion_jax.main"], ["tdfusion", "train"])
_MADE_BY = {
  "t_fmb.safetensors": (
    "python -m tdfusion_jax.main --config=configs/fmb_seg.py --config.data.root=FMB "
    "--workdir=runs/for_t",
    "runs/for_t/weights/t.safetensors",
  ),
  "records": (
    "tdfusion data build --dataset=llvip --root=LLVIP --data_dir=records --option=every=10",
    None,
  ),
}


class RefusedError(AssertionError):
  """A command that is neither run nor listed, or that failed."""


def run(command: Command, patch: pytest.MonkeyPatch) -> str:
  """Runs one command in the current folder.

  Returns:
    What was done: "run", "installing", or the reason why it is not run.

  Raises:
    RefusedError: it is of no known kind, or ended with another status than 0.
  """
  text = str(command)
  for start, reason in NOT_RUN.items():
    if text.startswith(start):
      return reason
  for start, package in NEEDS.items():
    words = f"{text} ".startswith(f"{start} ")
    if words and importlib.util.find_spec(package) is None:
      return f"needs {package}, which is not installed"
  if text.startswith(INSTALLING):
    check_installing(command)
    return "installing"
  prepare(command, patch)
  with patch.context() as here:
    for name, value in command.variables.items():
      here.setenv(name, value)
    status = _run(command, here)
  if status:
    raise RefusedError(f"status {status}: {text}")
  return "run"


def _run(command: Command, patch: pytest.MonkeyPatch) -> int:
  words = command.words
  for start in _TRAINING:
    if words[: len(start)] == start:
      return _train(words[len(start) :])
  if words[0] == "tdfusion":
    more = next(
      (shlex.split(extra) for start, extra in ARGUMENTS.items() if str(command).startswith(start)),
      [],
    )
    patch.setattr(sweep_run, "ProcessPoolExecutor", _InThisProcess)
    patch.setattr(sweep_run, "_stopped", threading.Event())
    small.install(patch, fusion_too=False)
    return cli.main([*words[1:], *more])
  if words[0] == "python" and words[1].startswith("tools/"):
    patch.setattr(sys, "argv", words[1:])
    try:
      runpy.run_path(str(ROOT / words[1]), run_name="__main__")
    except SystemExit as ended:
      return int(ended.code or 0)
    return 0
  raise RefusedError(f"{command} is neither run nor listed in substitutions.NOT_RUN.")


class _InThisProcess:
  """A sweep's pool, whose processes would not know the small networks."""

  def __init__(self, *_, **__):
    pass

  def submit(self, function, *arguments):
    done: Future = Future()
    done.set_result(function(*arguments))
    return done

  def shutdown(self, **_):
    pass


def check_installing(command: Command) -> None:
  """The extras that an installing line names are in pyproject.toml."""
  known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
  for word in command.words:
    if word.startswith(".[") and word.endswith("]"):
      strange = set(word[2:-1].split(",")) - known.keys()
      if strange:
        raise RefusedError(f"{command}: pyproject.toml has no extra {', '.join(sorted(strange))}.")


def prepare(command: Command, patch: pytest.MonkeyPatch) -> None:
  """Makes what a command names and is not there yet."""
  outputs = {"--out", "--workdir", "--data_dir", "--html"}
  names, before = [], ""
  for word in command.words:
    option, equals, value = word.rpartition("=")
    if (option if equals else before) not in outputs:
      names.append(value)
    before = word
  for name in names:
    make(name, patch)


def make(name: str, patch: pytest.MonkeyPatch) -> None:
  """Makes what `substitutions` describes if it is, or holds, `name` and is not there yet."""
  for known in (*MADE, *RUNS):
    if name != known and not name.startswith(f"{known}/") or Path(known).exists():
      continue
    if known in sandbox.MAKERS:
      sandbox.MAKERS[known](Path(known))
      continue
    line, file = _MADE_BY.get(known) or (
      f"python -m tdfusion_jax.main {RUNS[known]} --workdir={known}",
      None,
    )
    run(Command(shlex.split(line), {}), patch)
    if file:
      Path(known).write_bytes(Path(file).read_bytes())


def _train(arguments: list[str]) -> int:
  """As `tdfusion_jax.main`."""
  options = parse_config(main.parser(), arguments)
  small_training(options.config, options.workdir)
  return 0


def small_training(config, workdir, task=None, **more) -> None:
  """Trains with `SMALLER` fields and small networks, and leaves the starter weights."""
  shrink(config)
  with pytest.MonkeyPatch.context() as patch:
    small.install(patch, fusion_too=config.stage == "fusion")
    if config.stage == "task":
      run_task_stage(config, workdir)
    else:
      train(config, workdir, task, **more)
  if not config.fusion.network and "fuser" not in more:
    small.give_real_weights(Path(workdir))


def shrink(config) -> None:
  """Sets the fields of `SMALLER` that are larger in `config`."""
  for field, value in SMALLER.items():
    *above, name = field.split(".")
    place = config
    for part in above:
      place = place[part]
    if name in place and place[name] is not None and place[name] > value:
      place[name] = value
  config.init.f = config.init.g = ""


def run_python(text: str, patch: pytest.MonkeyPatch) -> None:
  """Runs a Python block as a file in the repository's folder would be."""
  configs = types.ModuleType("configs")  # the tests have a module of this name
  configs.__path__ = [str(ROOT / "configs")]
  patch.setitem(sys.modules, "configs", configs)
  patch.syspath_prepend(str(Path.cwd()))
  patch.setattr(tdfusion_jax.train, "train", small_training)
  for name in MADE:
    if f'"{name}"' in text:
      make(name, patch)
  exec(compile(text, "the manual", "exec"), {"__name__": "__main__"})
