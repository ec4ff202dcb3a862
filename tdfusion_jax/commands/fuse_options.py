"""Options of `tdfusion fuse`."""

import argparse

from tdfusion_jax.cluster import shards
from tdfusion_jax.cluster.choice import OF_CLUSTER, add_cluster
from tdfusion_jax.commands import known
from tdfusion_jax.commands import options as shared

ABOUT = """Fuses infrared and visible images of equal names, or one pair of files: gray or colour,
of any size."""
EXAMPLE = "tdfusion fuse --ir photos/ir --vi photos/vi --out fused --run runs/first"
CLUSTERS = ("ray",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """The options of `tdfusion fuse`."""
  add = parser.add_argument
  add(
    "--ir",
    required=True,
    metavar="PATH",
    help="infrared images: a folder, one file, or the address of a folder, such as s3://BUCKET/ir",
  )
  add("--vi", required=True, metavar="PATH", help="visible ones of the same names and sizes")
  add("--out", required=True, metavar="PATH", help="where the results go: a folder, or one file")
  add(
    "--format",
    choices=known.IMAGE_FORMS,
    default="",
    help="png and jpg have 8 bits, png16 has 16; tif has 8, or 16 where an image has more, or "
    "floats where the visible one has. Default: PNG of 8 bits, or of 16 where an image has more; "
    "TIFF where the visible image is a GeoTIFF. All keep its EXIF and colour profile",
  )
  shared.add_network(parser)
  add("--stretch", action="store_true", help="stretch each fused image to the full range")
  add("--skip-existing", action="store_true", help="keep outputs that are there already")
  add("--shard", default="", metavar="I/N", help=shards.HELP)
  add_cluster(parser, CLUSTERS)
  add("--workers", type=int, metavar="N", help=OF_CLUSTER)
  shared.add_scale(parser)
  shared.add_vi_scale(parser)
  add(
    "--align",
    choices=("none", "resize", "homography"),
    default="none",
    help="make infrared fit: resize it where sizes differ, or find the homography of every pair "
    "(needs OpenCV)",
  )
  add("--no-check", action="store_true", help="do not look for pairs that seem unregistered")
  shared.add_computing(parser)
  add(
    "--backend",
    choices=known.BACKENDS,
    default="auto",
    help="auto (the default): on a CPU ONNX Runtime or OpenVINO if it is installed and clearly "
    "beats JAX and machine code on the first pair; JAX with --shard and --cluster, so that all "
    "compute alike",
  )
  add(
    "--batch",
    type=int,
    default=1,
    metavar="N",
    help="fuse N pairs of equal size at once (for GPUs); each size that occurs N times is then "
    "compiled by itself",
  )
  add(
    "--stream-from",
    type=float,
    metavar="MP",
    help="compute pairs of this many megapixels and more tile by tile, in less than 2 GB and with "
    "a temporary file of 128 bytes a pixel "
    f"(default {known.USUAL_MEGAPIXELS:g}; F in float32 alone)",
  )
  add("--scratch", metavar="DIR", help="for that file (default: the system's temporary folder)")
