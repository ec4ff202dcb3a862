"""Options of `tdfusion init`."""

import argparse

from tdfusion_jax.commands import known

ABOUT = """Looks at a folder, finds infrared and visible images, labels and classes, reads every
file once, writes a config file with comments, and prints the command to train. It knows LLVIP,
M3FD, MSRS and FMB as they are distributed, ir/ and vi/ with labels/, folders of other names, and
those that a data.yaml (Ultralytics, Roboflow) names. Where a folder does not say enough, it asks:
the answer is an option."""
EXAMPLE = "tdfusion init mine"


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """The options of `tdfusion init`."""
  add = parser.add_argument
  add("folder", metavar="DIR", help="the folder with the pairs")
  add("--out", metavar="FILE", help="the config file (default: the folder's name, here, with .py)")
  add("--force", action="store_true", help="replace a config file that is there")
  for part, what in (("ir", "infrared images"), ("vi", "visible images"), ("labels", "labels")):
    add(
      f"--{part}",
      metavar="DIR",
      help=f"folder of the {what}, below DIR; {{split}} stands for train, test, ...",
    )
  add("--classes", metavar="A,B", help="class names, where no list is beside the labels")
  add(
    "--task",
    choices=(*known.LABEL_KINDS, "none"),
    default="",
    help="of --t; or none: leave labels aside",
  )
  add(
    "--t",
    default="",
    metavar="FILE",
    help="without labels: .safetensors of a T whose findings stand for them (task.labels=pseudo)",
  )
