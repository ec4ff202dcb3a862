"""`tdfusion report`: one HTML page about runs."""

import argparse
import sys
from pathlib import Path

from tdfusion_jax.commands.evaluate import named
from tdfusion_jax.config import ConfigError
from tdfusion_jax.report.collect import write_report

ABOUT = """Writes one HTML page about one or several runs: settings, scores, curves, and for some validation pairs of
the first run what each run makes of them, with a slider to compare. The page needs no network."""
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
  told = lambda line: print(line, file=sys.stderr)  # noqa: E731
  runs, fused = _named(options.runs), _named(options.fused)
  if twice := runs.keys() & fused.keys():
    raise ConfigError(f"{min(twice)} names a run and a folder; say NAME=DIR.")
  if options.pairs < 0:
    raise ConfigError(f"--pairs={options.pairs}: 0 or more.")
  write_report(runs, options.out, fused=fused, pairs=options.pairs, root=options.root, told=told)
  print(f"{options.out} ({Path(options.out).stat().st_size / 1e6:.1f} MB)")
  return 0


def _named(given: list[str]) -> dict[str, str]:
  """{name: folder}; a folder without a name goes by its own."""
  found: dict[str, str] = {}
  for text in given:
    name, folder = named(text)
    if name in found:
      raise ConfigError(f"two are called {name}; say NAME=DIR.")
    found[name] = folder
  return found
