"""`tdfusion report`: one HTML page about runs."""

import argparse
import sys
from pathlib import Path

from tdfusion_jax.commands.options import all_named
from tdfusion_jax.files import UsageError

ABOUT = """Writes one HTML page about one or several runs: settings, scores, curves, and for some
validation pairs of the first run what each run makes of them, with a slider to compare. The page
needs no network."""
EXAMPLE = "tdfusion report runs/first runs/second --fused rival=rival/out --out report.html"
INTERRUPTED = "nothing was written"


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """The options of `tdfusion report`."""
  parser.add_argument("runs", nargs="+", metavar="[NAME=]RUN", help="run folders")
  parser.add_argument(
    "--fused", action="append", default=[], metavar="[NAME=]DIR", help="any method's fused images"
  )
  parser.add_argument(
    "--out", default="report.html", metavar="FILE", help="the page (default report.html)"
  )
  parser.add_argument(
    "--pairs", type=int, default=6, metavar="N", help="pairs to show (default 6; 0 for none)"
  )
  parser.add_argument("--root", metavar="DIR", help="the data set, if it has moved")


def run(options: argparse.Namespace) -> int:
  """Writes the page."""
  from tdfusion_jax.report.collect import write_report  # JAX is loaded here, not for --help

  runs, fused = all_named(options.runs), all_named(options.fused)
  if twice := runs.keys() & fused.keys():
    raise UsageError(f"{min(twice)} names a run and a folder; give NAME=DIR.")
  if options.pairs < 0:
    raise UsageError(f"--pairs={options.pairs}: at least 0.")
  write_report(
    runs,
    options.out,
    fused=fused,
    pairs=options.pairs,
    root=options.root,
    log=lambda line: print(line, file=sys.stderr),
  )
  print(f"{options.out} ({Path(options.out).stat().st_size / 1e6:.1f} MB)")
  return 0
