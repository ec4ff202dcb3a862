"""Feeds damaged settings to whatever reads them: command lines, config files, sweep files.

  python tools/fuzz_settings.py --count=10000 --seed=0

Damaged are `--config.FIELD=VALUE`, the options after the colon, sweep files, and the text of config
files, which are code and may do what they want, but not end in a traceback. What is accepted is
built up to the first step. Each must be read or refused with one UsageError that names it.
"""

import functools
import json
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fuzzing
import small_runs

from tdfusion_jax import main
from tdfusion_jax.config.commandline import parse_config
from tdfusion_jax.config.file import read_config
from tdfusion_jax.files import UsageError, in_words
from tdfusion_jax.sweep import run as sweep_run
from tdfusion_jax.sweep.file import load_sweep
from tdfusion_jax.train import build, checks

CODE = ("os:system", "subprocess:run", "antigravity:fly", "this:x", "builtins:eval", "case:run")
# What a message about a setting begins with.
_NAMED = ("config", "argument", "data set", "records", "synthetic", "the synthetic world")
# Where a user's own command says that something is to be written.
_OUTPUTS = ("data.cache_dir", "train.compile_cache")

# What a user's own command names as these is called as it is: it is the user's code.
_CALLED = ("meta.rule",)


def target() -> fuzzing.Target:
  """What reads settings, with one damaged at a time."""
  small_runs.install()
  config = small_runs.ROOT / small_runs.CONFIG
  fields = dict(_leaves(read_config(str(config), "", small_runs.settings("fusion", 2)).to_dict()))
  fields = {name: value for name, value in fields.items() if name not in _OUTPUTS}
  shrunk = [f"--config.{k}={v}" for k, v in small_runs.settings("fusion", 2).items()]

  def make(rng: random.Random, folder: Path) -> fuzzing.Case:
    kind = rng.choice(("field", "field", "field", "sweep", "options", "code"))
    if kind == "sweep":
      text = small_runs.SWEEP.format(config=config).encode()
      return _written(kind, folder / "case.toml", damaged(rng, text))
    if kind == "code":
      text = fuzzing.damage(rng, config.read_bytes(), False)
      return _written(kind, folder / "case.py", text)._replace(
        code=True, names=("case.py", *_NAMED)
      )
    if kind == "options":
      text = rng.choice((b"runlocal,upstream", b"weights=0.25", b"task,runlocal", b"ablation=IV"))
      argument = os.fsdecode(fuzzing.damage(rng, text, True))
      return _arguments(kind, folder, [f"--config={config}:{argument}", *shrunk])
    changed, named_there = [], []
    for field in rng.sample(list(fields), rng.choice((1, 1, 2))):
      argument = f"--config.{field}={fields[field]}".encode()
      if rng.random() < 0.7:
        argument = argument.partition(b"=")[0] + b"=" + _hostile(rng, field, fields[field])
      else:
        argument = fuzzing.damage(rng, argument, True)
      changed.append(os.fsdecode(argument))
      named_there.append(field.rpartition(".")[2])
    case = _arguments(kind, folder, [f"--config={config}", *shrunk, *changed])
    return case._replace(names=(*_NAMED, *named_there))

  def attempt(case: fuzzing.Case, rng: random.Random, out: Path) -> None:
    del rng
    if case.kind == "sweep":
      found = load_sweep(case.path)
      sweep_run._check(found, case.path, list(found.arms))
      return
    arguments = [f"--config={case.path}", *shrunk]
    if case.kind != "code":
      arguments = json.loads(case.path.read_text())
    _built(arguments, out)

  return fuzzing.Target(make, as_verbs(attempt))


def _built(arguments: list[str], out: Path) -> None:
  """As `tdfusion train` up to the first step."""
  options = parse_config(main.parser(), [*arguments, f"--workdir={out / 'run'}"])
  checks.check(options.config)
  build.experiment(options.config)


def as_verbs(attempt: Callable[..., None]) -> Callable[..., None]:
  """What the command line does about an error of the system, and about a wrong option."""

  @functools.wraps(attempt)
  def done(case: fuzzing.Case, rng: random.Random, out: Path) -> None:
    here = os.getcwd()
    os.chdir(out)
    try:
      attempt(case, rng, out)
    except OSError as error:
      raise UsageError(f"{case.path.name}: {in_words(error)}") from error
    finally:
      os.chdir(here)

  return done


def _hostile(rng: random.Random, field: str, value: Any) -> bytes:
  if isinstance(value, str):
    text = rng.choice(fuzzing.NAMES if field in _CALLED else (*fuzzing.NAMES, *CODE))
  elif isinstance(value, tuple):
    text = f"({rng.choice(fuzzing.NUMBERS)}, {rng.choice(('32', *fuzzing.NUMBERS))})"
  else:
    text = rng.choice(fuzzing.NUMBERS)
  return text.encode("utf-8", "surrogatepass")


def damaged(rng: random.Random, content: bytes) -> bytes:
  """Random damage of a text, with names of code among it."""
  if rng.random() < 0.2:
    return fuzzing.replace(rng, rb'(?<=")[\w.:/]+(?=")', rng.choice(CODE), content)
  return fuzzing.damage(rng, content, True)


def _written(kind: str, path: Path, content: bytes) -> fuzzing.Case:
  path.write_bytes(content)
  return fuzzing.Case(kind, path)


def _arguments(kind: str, folder: Path, arguments: list[str]) -> fuzzing.Case:
  case = _written(kind, folder / "case.json", json.dumps(arguments).encode())
  return case._replace(names=_NAMED)


def _leaves(values: dict[str, Any], above: str = "") -> list[tuple[str, Any]]:
  found = []
  for name, value in values.items():
    inside = isinstance(value, dict) and value
    found += _leaves(value, f"{above}{name}.") if inside else [(f"{above}{name}", value)]
  return found


if __name__ == "__main__":
  sys.exit(fuzzing.main(__doc__ or "", target))
