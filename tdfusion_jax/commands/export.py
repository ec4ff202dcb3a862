"""`tdfusion export`: F as StableHLO and ONNX files."""

import argparse

from tdfusion_jax import fusers
from tdfusion_jax.export import FORMATS, TOLERANCE, export_fusion

ABOUT = "Writes F as files that run without this package, for any batch and image size, and checks their numbers."
EXAMPLE = "tdfusion export --out exported --checkpoint runs/first --format onnx"


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """The options of `tdfusion export`."""
  parser.add_argument(
    "--out", required=True, metavar="DIR", help="where fusion.stablehlo and fusion.onnx go"
  )
  which = parser.add_mutually_exclusive_group(required=not fusers.shipped_weights().is_file())
  which.add_argument("--checkpoint", metavar="RUN", help="run folder of a training")
  which.add_argument("--weights", metavar="FILE", help=".safetensors file of F")
  parser.add_argument(
    "--format", nargs="+", choices=FORMATS, default=list(FORMATS), help="both by default"
  )


def run(options: argparse.Namespace) -> int:
  """Exports."""
  loaded = fusers.load_fusion(checkpoint_dir=options.checkpoint, weights=options.weights)
  file = fusers.fusion_file(checkpoint_dir=options.checkpoint, weights=options.weights)
  for made in export_fusion(*loaded, options.out, weights_file=file, formats=tuple(options.format)):
    print(
      f"{made.path} and {made.card.name}: differs from F by at most {made.difference:.1e} (tolerance {TOLERANCE:g})"
    )
  return 0
