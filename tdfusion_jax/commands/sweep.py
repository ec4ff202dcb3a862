"""`tdfusion sweep`: several configs over several seeds, compared."""

import argparse
import logging
import tomllib
from pathlib import Path
from typing import Any

from tdfusion_jax.cluster.choice import add_cluster, cluster_of
from tdfusion_jax.files import UsageError

ABOUT = """Trains the arms of a sweep file over its seeds, judges each, and reports means, spreads
and differences."""
EXAMPLE = (
  "tdfusion sweep configs/sweeps/learned_loss_seg.toml --workdir runs/learned_loss_seg --jobs 2"
)
_CLUSTERS = ("ray", "slurm")
INTERRUPTED = "the same command goes on from here"


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """The options of `tdfusion sweep`."""
  parser.add_argument(
    "file", metavar="FILE.toml", help="arms, seeds and settings; see configs/sweeps/"
  )
  parser.add_argument(
    "--workdir", required=True, metavar="DIR", help="where the runs and the comparison go"
  )
  parser.add_argument("--jobs", type=int, default=1, metavar="N", help="runs at a time (default 1)")
  add_cluster(parser, _CLUSTERS)
  parser.add_argument(
    "--only", action="append", metavar="ARM", help="run only this arm (repeat for more)"
  )
  parser.add_argument(
    "--set",
    action="append",
    default=[],
    metavar="FIELD=VALUE",
    help="another setting in all arms, such as loss.alpha=0.1 (repeat for more)",
  )
  parser.add_argument(
    "--seeds",
    nargs="+",
    type=int,
    metavar="N",
    help="in place of the file's seeds, such as --seeds 0 1 2 3 4 5",
  )
  parser.add_argument(
    "--compare-to", metavar="ARM", help="what differences are to, such as 'best constant'"
  )
  parser.add_argument("--table", action="store_true", help="only compare what is finished")


def run(options: argparse.Namespace) -> int:
  """Runs what is missing and prints the comparison."""
  # JAX is loaded here, not for --help.
  from tdfusion_jax.sweep.compare import write_comparison
  from tdfusion_jax.sweep.file import load_sweep
  from tdfusion_jax.sweep.run import run_sweep

  ours = logging.getLogger("tdfusion_jax")
  ours.setLevel(logging.INFO)
  ours.handlers, ours.propagate = [logging.StreamHandler()], False
  if options.jobs < 1:
    raise UsageError(f"--jobs {options.jobs}: at least 1.")
  cluster = cluster_of(options, _CLUSTERS, options.jobs)
  chosen = {
    "changes": _changes(options.set),
    "seeds": options.seeds,
    "compare_to": options.compare_to,
  }
  if options.table:
    write_comparison(load_sweep(options.file, **chosen), options.workdir)
  else:
    jobs = cluster or options.jobs
    run_sweep(options.file, options.workdir, jobs=jobs, only=options.only, **chosen)
  print((Path(options.workdir) / "sweep.md").read_text(encoding="utf-8"))
  return 0


def _changes(given: list[str]) -> dict[str, Any]:
  """{"field": value}; values as in TOML, anything else is text."""
  changes = {}
  for text in given:
    field, equals, value = text.partition("=")
    if not field or not equals:
      raise UsageError(f"--set {text}: FIELD=VALUE is needed, such as loss.alpha=0.1.")
    try:
      changes[field] = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
      changes[field] = value
  return changes
