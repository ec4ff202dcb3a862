"""Options of `tdfusion evaluate`."""

import argparse

from tdfusion_jax.cluster import shards
from tdfusion_jax.cluster.choice import OF_CLUSTER, add_cluster
from tdfusion_jax.commands import known
from tdfusion_jax.commands import options as shared
from tdfusion_jax.commands.method_options import add_methods

ABOUT = """Measures fused images against their sources: a trained run, a weight file, the shipped
weights, or any method's folder of fused images; several side by side. Values are computed on
luminances (BT.601) of 8 bits."""
EXAMPLE = "tdfusion evaluate --ir test/ir --vi test/vi --fused rival=rival/out --out scores"
CLUSTERS = ("ray",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """The options of `tdfusion evaluate`."""
  add = parser.add_argument
  add("--ir", metavar="DIR", help="infrared images; also an address, such as s3://bucket/ir")
  add("--vi", metavar="DIR", help="visible images of the same names")
  sets = f"a data set in place of --ir and --vi: {', '.join(known.DATA_SETS)}, or"
  add("--dataset", metavar="NAME", help=f"{sets} your own as module:function")
  add("--root", metavar="DIR", help="where the data set is")
  add("--split", default="test", help="of the data set (default test)")
  several = {"action": "append", "default": []}
  option = "of the data set, such as every=10 or split_file=FILE; may be repeated"
  add("--option", metavar="NAME=VALUE", help=option, **several)
  add_methods(parser)
  which = (
    f"comma separated, or all (default {','.join(known.METRICS)}); your own as module:function"
  )
  add("--metrics", default=",".join(known.METRICS), help=which)
  whose = "; ".join(f"{name}: {about}" for name, about in known.PROFILES.items())
  where = f"where implementations disagree: {whose}"
  add("--profile", default="tdfusion", metavar="NAME", help=where)
  shared.add_scale(parser)
  shared.add_vi_scale(parser)
  stem = "write STEM.md, .csv (per image), .json and .tex; also an address"
  add("--out", metavar="STEM", help=stem)
  add("--shard", default="", metavar="I/N", help=f"{shards.HELP}. The last one merges")
  add_cluster(parser, CLUSTERS)
  add("--workers", type=int, metavar="N", help=OF_CLUSTER)
