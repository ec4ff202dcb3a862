"""`tdfusion export`: F as StableHLO and ONNX files."""

import argparse

from tdfusion_jax import fusers
from tdfusion_jax.commands import options as shared
from tdfusion_jax.commands.export_options import ABOUT, EXAMPLE, add_arguments
from tdfusion_jax.export import TOLERANCE, export_fusion, formats_of

__all__ = ["ABOUT", "EXAMPLE", "add_arguments", "run"]


def run(options: argparse.Namespace) -> int:
  """Exports."""
  file = fusers.fusion_file(run=options.run, weights=options.weights)
  if not options.run:
    options.weights = file  # a name is looked up once: the card has the sha256 of what is exported
  fuse_fn, params = shared.load_network(options)
  formats = tuple(options.format or formats_of(fuse_fn))
  for made in export_fusion(fuse_fn, params, options.out, weights_file=file, formats=formats):
    print(
      f"{made.path} and {made.card.name}: differs by at most {made.difference:.1e} "
      f"from the network (tolerance {TOLERANCE:g})"
    )
  return 0
