"""Trains.

python -m tdfusion_jax.main --config=configs/llvip_det.py[:options] --workdir=DIR
[--config.a.b=value]
"""

import argparse
import logging
import sys
from typing import NoReturn

from absl import logging as absl_logging

from tdfusion_jax import printing, stopping
from tdfusion_jax.config import ConfigError
from tdfusion_jax.config.commandline import parse_config
from tdfusion_jax.evaluate.stage import run_task_stage
from tdfusion_jax.files import UsageError, in_words
from tdfusion_jax.train.loop import train

_FIELDS = """any field of the config is set as --config.FIELD=VALUE, such as
--config.train.epochs=3 or --config.data.task_size="(64, 96)"; see docs/guide/config.md"""


def main(argv: list[str] | None = None) -> None:
  """Parses `argv` (default: the command line) and trains; ends the process with its status."""
  printing.guard()
  sys.exit(_run(list(sys.argv if argv is None else argv)[1:]))


class _Parser(argparse.ArgumentParser):
  """Whose errors are ours, as those of a config's fields are."""

  def error(self, message: str) -> NoReturn:
    """Raises ConfigError."""
    raise ConfigError(f"{message}; --help shows what there is.")


def parser() -> argparse.ArgumentParser:
  """Of everything but the config's fields, which `parse_config` reads."""
  made = _Parser(
    "python -m tdfusion_jax.main",
    description="Trains F, G and T.",
    epilog=_FIELDS,
    allow_abbrev=False,
  )
  add = made.add_argument
  what = "a file of configs/, with options after a colon"
  add("--config", required=True, metavar="FILE[:OPTIONS]", help=what)
  where = "run folder; an interrupted run in it is continued"
  add("--workdir", required=True, metavar="DIR", help=where)
  return made


def _run(arguments: list[str]) -> int:
  _show_messages()
  try:
    options = parse_config(parser(), arguments)
    config = options.config
    with stopping.at_once():
      (run_task_stage if config.stage == "task" else train)(config, options.workdir)
  except UsageError as error:
    print(f"error: {error}", file=sys.stderr)
    return 2
  except OSError as error:
    print(f"error: {in_words(error)}", file=sys.stderr)
    return 2
  except KeyboardInterrupt as error:
    return stopping.status(error)
  return 0


def _show_messages() -> None:
  """Our own messages as plain lines; of the libraries' only warnings."""
  absl_logging.set_verbosity(absl_logging.WARNING)
  handler = logging.StreamHandler()
  handler.setFormatter(logging.Formatter("%(message)s"))
  ours = logging.getLogger("tdfusion_jax")
  ours.handlers, ours.propagate = [handler], False
  ours.setLevel(logging.INFO)


if __name__ == "__main__":
  main()
