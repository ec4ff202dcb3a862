"""`tdfusion init`: looks at a folder of pairs and writes a config to train on them."""

import argparse
import re
import shlex
import sys
from pathlib import Path

from tdfusion_jax.commands.init_options import ABOUT, EXAMPLE, add_arguments
from tdfusion_jax.data.labels.classes import given_classes
from tdfusion_jax.files import UsageError, write_text
from tdfusion_jax.init.look import Look, faults, look, summary
from tdfusion_jax.init.questions import UnclearError
from tdfusion_jax.init.write import config_text

__all__ = ["ABOUT", "EXAMPLE", "INTERRUPTED", "add_arguments", "run"]

INTERRUPTED = "nothing was written"


def run(options: argparse.Namespace) -> int:
  """Writes the config; 1 if something is wrong with the data, 2 if it has to ask."""
  if (options.ir is None) != (options.vi is None):
    raise UsageError("--ir and --vi go together")
  parts = {"ir": options.ir, "vi": options.vi, "labels": options.labels}
  given = {part: _below(path, options.folder) for part, path in parts.items() if path}
  if options.t and not Path(options.t).expanduser().is_file():
    raise UsageError(f"--t={options.t}: no such file")
  out = Path(options.out or f"{_name(options.folder)}.py")
  if out.suffix != ".py":
    raise UsageError(f"--out={out}: a config file ends in .py")
  try:
    seen = look(
      options.folder,
      given,
      classes=given_classes(options.classes) or (),
      task=options.task,
      task_weights=options.t,
    )
  except UnclearError as question:
    print(question, file=sys.stderr)
    return 2
  short, full = _commands(out)
  text = config_text(seen.plan, out.stem, _about(seen), (short, full))
  if out.exists() and not options.force and out.read_bytes() != text.encode():
    raise UsageError(f"{out} is there already; name another file (--out), or replace it (--force)")
  write_text(out, text)
  print("\n".join(summary(seen)))
  print("\n".join(["", *faults(seen.report)]))
  _say_how(out, seen)
  return 0 if seen.report.ok else 1


def _below(path: str, folder: str) -> str:
  """A path as it stands below the folder, however it was given."""
  base, there = Path(folder).expanduser().resolve(), Path(path).expanduser()
  if not (base / path).is_dir() and there.is_dir() and there.resolve().is_relative_to(base):
    return there.resolve().relative_to(base).as_posix()
  return path.strip("/")


def _name(folder: str) -> str:
  """A file name made of the folder's."""
  return re.sub(r"\W+", "_", Path(folder).expanduser().resolve().name).strip("_") or "own"


def _commands(out: Path) -> tuple[str, str]:
  """(a small training, the whole one)."""
  work = f"runs/{out.stem}"
  short = _line("tdfusion train", f"--config={out}:runlocal", f"--workdir={work}_short")
  return short, _line("tdfusion train", f"--config={out}", f"--workdir={work}")


def _about(seen: Look) -> str:
  what = "no labels" if seen.form is None else ", ".join(seen.classes[:6])
  return f"TDFusion on {seen.plan.found.root}: {what}."


def _say_how(out: Path, seen: Look) -> None:
  """What to do next."""
  short, full = _commands(out)
  if seen.report.findings:
    print(f"  all of them: {_verify(seen)}")
  print(f"\nWrote {out}.")
  if seen.plan.kind == "none" and seen.form is None:
    print("Without labels F learns from a loss with fixed weights. If you have a T that knows the")
    print("objects, what it finds can teach the loss; that is this command with")
    print("  --force --task=detection --t=FILE.safetensors")
  if not seen.report.ok:
    print("Repair the errors first. Then:")
  print("Try it, minutes on a CPU:")
  print(f"  {short}")
  print("Train, made for a GPU:")
  print(f"  {full}")


def _verify(seen: Look) -> str:
  """The command that lists every finding."""
  found = seen.plan.found
  options = [f"--option={name}={value}" for name, value in found.options.items()]
  if seen.plan.classes:
    options.append(f"--classes={','.join(seen.plan.classes)}")
  where = (f"--dataset={found.dataset}", f"--root={found.root}")
  return _line("tdfusion data verify", *where, *options, "--fix-hints")


def _line(command: str, *arguments: str) -> str:
  return " ".join([command, *map(shlex.quote, arguments)])
