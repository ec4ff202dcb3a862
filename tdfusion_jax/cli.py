"""The `tdfusion` command: the verbs of `tdfusion_jax.commands`, and `tdfusion train`.

Nothing heavy is imported before a verb is known, so that `tdfusion --help` answers at once.
"""

import argparse
import importlib
import importlib.util
import os
import signal
import subprocess
import sys
from typing import Any

from tdfusion_jax import printing, stopping
from tdfusion_jax.commands import VERBS
from tdfusion_jax.files import UsageError, in_words

_TRAIN_EXAMPLE = "example: tdfusion train --config=configs/first.py --workdir=runs/first"


def main(argv: list[str] | None = None) -> int:
  """Runs a verb.

  Args:
    argv: what stands behind `tdfusion`; None is the command line.

  Returns:
    0; 1 if some files failed; 2 for an error, reported in one line; 128 + the signal's number after
    Ctrl-C, SIGTERM or SIGUSR1; 141 if whoever reads the output, such as `head`, has seen enough.
  """
  printing.guard()
  arguments = list(sys.argv[1:] if argv is None else argv)
  if arguments[:1] == ["train"] and not {"-h", "--help"} & set(arguments):
    return _train(arguments[1:])
  module, options = _parse(arguments)
  try:
    with stopping.at_once():
      status = module.run(options)
      sys.stdout.flush()
    return status
  except BrokenPipeError:
    # Python would write what is left to the closed pipe as it ends, and report that.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 141
  except UsageError as error:
    print(f"error: {error}", file=sys.stderr)
    return 2
  except OSError as error:
    print(f"error: {in_words(error)}", file=sys.stderr)
    return 2
  except KeyboardInterrupt as error:
    advice = getattr(module, "INTERRUPTED", "")
    print("interrupted" + (f"; {advice}" if advice else ""), file=sys.stderr)
    return stopping.status(error)


def _parse(arguments: list[str]) -> tuple[Any, argparse.Namespace]:
  """(module of the verb, its options). Only the chosen verb's module is imported."""
  parser = argparse.ArgumentParser(
    "tdfusion", description="Task-driven infrared and visible image fusion."
  )
  verbs = parser.add_subparsers(dest="verb", required=True)
  formatter = argparse.RawDescriptionHelpFormatter
  verbs.add_parser(
    "train",
    help="train F, G and T",
    epilog=_TRAIN_EXAMPLE,
    formatter_class=formatter,
    description="Trains as `python -m tdfusion_jax.main` does, with the same arguments.",
  )
  chosen = ""
  own = None
  for verb, line in VERBS.items():
    if arguments[:1] != [verb]:
      verbs.add_parser(verb, help=line)
      continue
    chosen = f"tdfusion_jax.commands.{verb}"
    light = f"{chosen}_options"  # without what the verb needs to run
    about = importlib.import_module(light if importlib.util.find_spec(light) else chosen)
    own = verbs.add_parser(
      verb,
      help=line,
      description=about.ABOUT,
      epilog=f"example: {about.EXAMPLE}",
      formatter_class=formatter,
    )
    about.add_arguments(own)
  options, unknown = parser.parse_known_args(arguments)
  if unknown:  # reported with the usage of the verb, which argparse would not show
    (own or parser).error(f"unrecognized arguments: {' '.join(unknown)}")
  return importlib.import_module(chosen), options


def _train(arguments: list[str]) -> int:
  # A process of its own: what it sets for its libraries and signals is set for a training alone.
  with subprocess.Popen([sys.executable, "-m", "tdfusion_jax.main", *arguments]) as training:
    while True:
      try:
        with stopping.at_once():
          return training.wait()
      except stopping.Stopped as stopped:
        # Ctrl-C reaches the training by way of the terminal; what a scheduler sends does not.
        # Either way it saves its state before it ends.
        if stopped.number != signal.SIGINT:
          training.send_signal(stopped.number)


if __name__ == "__main__":
  sys.exit(main())
