"""Trains.

python -m tdfusion_jax.main --config=configs/llvip_det.py[:options] --workdir=DIR
[--config.a.b=value]
"""

import argparse
import logging
import sys
import traceback
from typing import NoReturn

from absl import logging as absl_logging

from tdfusion_jax import printing, stopping
from tdfusion_jax.config import ConfigError
from tdfusion_jax.config.commandline import parse_config
from tdfusion_jax.evaluate.stage import run_task_stage
from tdfusion_jax.files import UsageError, in_words
from tdfusion_jax.train import hosts
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
  several = made.add_argument_group(
    "several processes, one for each machine or GPU",
    "SLURM's srun and Open MPI's mpirun need none of these; see docs/guide/scale.md",
  )
  listens = "where the first process listens; also as JAX_COORDINATOR_ADDRESS"
  several.add_argument("--coordinator", metavar="HOST:PORT", help=listens)
  count = "how many there are; also as JAX_NUM_PROCESSES"
  several.add_argument("--num-processes", type=int, metavar="N", help=count)
  which = "which one this is, from 0; also as JAX_PROCESS_ID"
  several.add_argument("--process-id", type=int, metavar="I", help=which)
  return made


def _run(arguments: list[str]) -> int:
  _show_messages()
  try:
    options = parse_config(parser(), arguments)
    config = options.config
    with stopping.at_once():
      hosts.connect(options.coordinator, options.num_processes, options.process_id)
      if hosts.connected() and not hosts.is_first():  # which says what there is to say
        logging.getLogger("tdfusion_jax").setLevel(logging.ERROR)
      (run_task_stage if config.stage == "task" else train)(config, options.workdir)
  except hosts.StoppedTogether as error:
    return stopping.status(error)
  except UsageError as error:
    print(f"error: {error}", file=sys.stderr)
    return _ended(2)
  except OSError as error:
    print(f"error: {in_words(error)}", file=sys.stderr)
    return _ended(2)
  except KeyboardInterrupt as error:
    return _ended(stopping.status(error))
  except Exception:
    if hosts.connected():
      traceback.print_exc()
    _ended(1)
    raise
  return 0


def _ended(status: int) -> int:
  """`status`; where this process is one of several that go on, it ends here."""
  if hosts.connected():
    hosts.leave_at_once(status)
  return status


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
