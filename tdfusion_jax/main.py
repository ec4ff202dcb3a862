"""Trains.

python -m tdfusion_jax.main --config=configs/llvip_det.py[:options] --workdir=DIR
[--config.a.b=value]
"""

import logging
import sys

from absl import app, flags
from absl import logging as absl_logging
from ml_collections import config_flags

from tdfusion_jax import printing, stopping
from tdfusion_jax.evaluate.stage import run_task_stage
from tdfusion_jax.files import UsageError, in_words
from tdfusion_jax.train.loop import train

_CONFIG = config_flags.DEFINE_config_file(
  "config", None, "A file of configs/, with options after a colon."
)
_WORKDIR = flags.DEFINE_string(
  "workdir", None, "Run folder; an interrupted run in it is continued."
)
flags.mark_flags_as_required(["config", "workdir"])


def _run(argv: list[str]) -> int:
  if len(argv) > 1:
    print(f"error: unexpected argument {argv[1]!r}", file=sys.stderr)
    return 2
  _show_messages()
  try:
    config = _CONFIG.value
    _ = config.name  # the flag library reports a file that failed to load at its first use
  except (OSError, ValueError) as error:
    return _refuse(error)
  try:
    with stopping.at_once():
      (run_task_stage if config.stage == "task" else train)(config, str(_WORKDIR.value))
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


def _refuse(error: Exception) -> int:
  text = str(error.args[0] if isinstance(error, KeyError) and error.args else error).strip()
  # The flag library hands on a whole traceback as text; its last line is what went wrong.
  print(f"error: {text.splitlines()[-1] if 'Traceback' in text else text}", file=sys.stderr)
  return 2


def _parse(argv: list[str]) -> list[str]:
  """Flags and config; a wrong file, option or field ends in one line."""
  try:
    return flags.FLAGS(argv)
  except (flags.Error, OSError, AttributeError, KeyError, TypeError, ValueError) as error:
    sys.exit(_refuse(error))


def main(argv: list[str] | None = None) -> None:
  """Parses `argv` (default: the command line) and trains; ends the process with its status."""
  printing.guard()
  app.run(_run, argv=argv, flags_parser=_parse)


if __name__ == "__main__":
  main()
