"""Options of `tdfusion judge`."""

import argparse

from tdfusion_jax.commands import known
from tdfusion_jax.commands.method_options import add_methods

ABOUT = """Scores of a detector (YOLOv8) or segmenter (SegFormer) that you have already, as it is,
on the images of several methods: which fusion makes yours better, and is that more than chance?
Intervals (95 %) are of a bootstrap over images. T sees luminances at the images' own size."""
EXAMPLE = (
  "tdfusion judge --task-weights t_det.safetensors --root my_pairs --constant 0.7 --out verdict"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """The options of `tdfusion judge`."""
  add = parser.add_argument
  weights = "T: a file of tdfusion convert, of a training (RUN/weights/t.safetensors), or PyTorch's"
  add("--task-weights", required=True, metavar="FILE", help=weights)
  kept = "keep only these classes of T, in the data's order, as tdfusion convert does"
  add("--keep-classes", default="", metavar="A,B", help=kept)
  own = "what makes T, if it is your own, as task.kind"
  add("--task", default="", metavar="MODULE:FACTORY", help=own)
  add("--task-variant", default="", metavar="NAME", help="of --task")
  several = {"action": "append", "default": []}
  of_task = "of T, such as iou_threshold=0.6; may be repeated"
  add("--task-option", metavar="NAME=VALUE", help=of_task, **several)
  resized = "resize images and labels to this; default: their own size"
  add("--task-size", default="", metavar="HEIGHT,WIDTH", help=resized)
  sets = f"labelled pairs: {', '.join(known.DATA_SETS)} (default folder), or"
  add("--dataset", default="folder", metavar="NAME", help=f"{sets} your own as module:function")
  add("--root", metavar="DIR", help="where they are")
  add("--split", default="test", help="of the data set (default test)")
  option = "of the data set, such as every=10; may be repeated"
  add("--option", metavar="NAME=VALUE", help=option, **several)
  add_methods(parser)
  rows = "row that the others are compared to (default: the best)"
  add("--compare-to", default="", metavar="NAME", help=rows)
  scores = ", ".join(known.TASK_SCORES)
  add("--score", default="", metavar="NAME", help=f"that decides: {scores}")
  add("--resamples", type=int, default=1000, metavar="N", help="of the bootstrap (0: no intervals)")
  blocks = "draw N neighbouring images together: frames of a video are alike (default 1)"
  add("--block", type=int, default=1, metavar="N", help=blocks)
  add("--seed", type=int, default=0, metavar="N", help="of the bootstrap")
  add("--out", metavar="STEM", help="write STEM.md, .csv and .json")
