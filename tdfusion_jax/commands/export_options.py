"""Options of `tdfusion export`."""

import argparse

from tdfusion_jax.commands import known
from tdfusion_jax.commands import options as shared

ABOUT = """Writes F as files that run without this package, for any batch and image size, and checks
their numbers."""
EXAMPLE = "tdfusion export --out exported --run runs/first --format onnx"


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """The options of `tdfusion export`."""
  where = "where fusion.stablehlo and fusion.onnx go"
  parser.add_argument("--out", required=True, metavar="DIR", help=where)
  shared.add_network(parser)
  which = "both by default; a network of your own has StableHLO only"
  parser.add_argument("--format", nargs="+", choices=known.EXPORTED, help=which)
