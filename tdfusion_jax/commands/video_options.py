"""Options of `tdfusion video`."""

import argparse

from tdfusion_jax.cluster import shards
from tdfusion_jax.cluster.choice import OF_CLUSTER, add_cluster
from tdfusion_jax.commands import options as shared

ABOUT = """Fuses two videos, stacks of images, folders of frames, cameras or addresses frame by
frame into one file, with the frame times and the sound of the visible one (or infrared's, if only
that has sound)."""
EXAMPLE = "tdfusion video --ir thermal.mp4 --vi visible.mp4 --out fused.mp4 --run runs/first"
CLUSTERS = ("ray",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """The options of `tdfusion video`."""
  add = parser.add_argument
  whose = (
    "infrared: a video file, a TIFF stack, a folder of frames, a camera's number or path, or an "
    "address (rtsp://, http://, udp://)"
  )
  add("--ir", required=True, metavar="SOURCE", help=whose)
  add("--vi", required=True, metavar="SOURCE", help="visible, likewise")
  add("--out", required=True, metavar="FILE", help=".mp4, .mkv, .mov, .avi, .webm or .ts")
  shared.add_network(parser)
  add("--rate", type=float, metavar="FPS", help="of folders and stacks (default: the other side's)")
  add(
    "--shift",
    type=float,
    default=0.0,
    metavar="SECONDS",
    help="added to infrared's times, where its clock is behind",
  )
  add("--frames", type=int, metavar="N", help="stop after N frames")
  add("--stretch", action="store_true", help="stretch the brightness, slowly following the scene")
  shared.add_scale(parser)
  shared.add_vi_scale(parser)
  sizes = ("none", "resize")
  add("--align", choices=sizes, default="none", help="make infrared's size fit")
  shared.add_computing(parser)
  _add_dividing(parser)


def _add_dividing(parser: argparse.ArgumentParser) -> None:
  add = parser.add_argument
  add(
    "--shard",
    default="",
    metavar="I/N",
    help=f"{shards.HELP}. Parts are segments of the video, in files beside FILE; the last one "
    "joins them",
  )
  add("--join", type=int, metavar="N", help="join the N segments of --shard, and fuse nothing")
  add_cluster(parser, CLUSTERS)
  add("--workers", type=int, metavar="N", help=OF_CLUSTER)
  add("--skip-existing", action="store_true", help="keep segments that are there already")
