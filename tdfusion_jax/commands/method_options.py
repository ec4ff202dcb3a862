"""Options of `tdfusion evaluate` and `tdfusion judge`: which methods they compare."""

import argparse

from tdfusion_jax.commands import known
from tdfusion_jax.commands.options import WEIGHTS, add_dtype


def add_methods(parser: argparse.ArgumentParser) -> None:
  """`--run`, `--weights`, `--fused`, `--baseline`, and how their images are made."""
  add = parser.add_argument
  several = {"action": "append", "default": []}
  add("--run", metavar="[NAME=]RUN", help="run folder of a training", **several)
  add("--weights", metavar="[NAME=]FILE", help=WEIGHTS, **several)
  add("--fused", metavar="[NAME=]DIR", help="any method's fused images", **several)
  rules = f"comma separated, fusions without a network: {', '.join(known.BASELINES)}"
  add("--baseline", default="", metavar="NAMES", help=rules)
  constants = "comma separated, weights of infrared: 0.7 is 0.7 ir + 0.3 vi"
  add("--constant", default="", metavar="W,W", help=constants)
  own = "what makes the network of --weights, if it is your own; see tdfusion fuse"
  add("--network", default="", metavar="MODULE:FACTORY", help=own)
  add("--stretch", action="store_true", help="stretch F's images to the full range, as published")
  add_dtype(parser)
  fused_scale = "the same for the fused images of --fused"
  add("--fused-scale", default="linear", metavar="HOW", help=fused_scale)
  resize = "resize fused images of another size than their pair"
  add("--resize", action="store_true", help=resize)
