"""Options of `tdfusion data verify`, `convert` and `build`."""

import argparse

from tdfusion_jax.commands import known

ABOUT = "Looks through data sets and prepares them."
EXAMPLE = "tdfusion data verify --dataset=llvip --root=DIR --fix-hints"


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """The options of `tdfusion data verify`, `convert` and `build`."""
  actions = parser.add_subparsers(dest="action", required=True)
  _verify_arguments(
    actions.add_parser(
      "verify",
      help="list everything that is wrong with a data set; status 1 if something is",
      epilog=f"example: {EXAMPLE}",
    )
  )
  _convert_arguments(
    actions.add_parser(
      "convert",
      help="turn Pascal VOC, YOLO and COCO boxes into each other without loss",
      epilog="example: tdfusion data convert --labels=DIR/labels --images=DIR/vi --to=coco "
      "--out=labels.json",
    )
  )
  _build_arguments(
    actions.add_parser(
      "build",
      help="prepare records, for training (data.records_dir) and for tensorflow-datasets",
      epilog="example: tdfusion data build --dataset=llvip --root=DIR --data_dir=records "
      "--option=every=10",
    )
  )


def _verify_arguments(parser: argparse.ArgumentParser) -> None:
  parser.add_argument(
    "--dataset", required=True, metavar="NAME", help=f"one of {', '.join(known.ON_DISK)}"
  )
  parser.add_argument("--root", required=True, metavar="DIR", help="its folder")
  parser.add_argument(
    "--classes", metavar="A,B", help="class names of a folder without a list, or a data.yaml"
  )
  parser.add_argument(
    "--option",
    action="append",
    default=[],
    metavar="NAME=VALUE",
    help="of the reader, as in data.train_options, such as unlabelled=0 (a mask's value for "
    "unknown) or unlabelled_images=background; may be repeated",
  )
  parser.add_argument(
    "--split_file",
    "--split-file",
    action="append",
    default=[],
    metavar="SPLIT=FILE",
    help="also check this list of names and boxes; may be repeated",
  )
  parser.add_argument(
    "--html", metavar="FILE", help="the page with thumbnails (default: verify-NAME.html)"
  )
  parser.add_argument("--no-html", action="store_true", help="write no page")
  parser.add_argument(
    "--thumbnails",
    type=_count,
    default=48,
    metavar="N",
    help="pairs on the page, faulty ones first",
  )
  parser.add_argument("--fix-hints", action="store_true", help="add how to repair each fault")
  parser.add_argument(
    "--allow", default="", metavar="KIND,..", help="kinds of errors that shall count as notes"
  )
  parser.add_argument(
    "--limit", type=_count, default=20, metavar="N", help="findings of a kind that are printed"
  )
  parser.add_argument(
    "--threads", type=_count, default=2, metavar="N", help="images decoded at a time"
  )


def _count(text: str) -> int:
  value = int(text)
  if value < 0:
    raise argparse.ArgumentTypeError(f"{value} is negative")
  return value


def _convert_arguments(parser: argparse.ArgumentParser) -> None:
  parser.add_argument(
    "--labels", required=True, metavar="PATH", help="folder of .xml or .txt files, or a COCO .json"
  )
  parser.add_argument("--to", required=True, choices=known.LABEL_FORMS, help="form to write")
  parser.add_argument(
    "--out", required=True, metavar="PATH", help="new folder, or .json file for coco"
  )
  parser.add_argument(
    "--images", metavar="DIR", help="the images, where the labels do not hold their sizes (YOLO)"
  )
  parser.add_argument(
    "--classes",
    metavar="A,B",
    help="class names in order, or a data.yaml, where no list is beside the labels",
  )


def _build_arguments(parser: argparse.ArgumentParser) -> None:
  parser.add_argument("--dataset", required=True, metavar="NAME", help="as in a config's data.name")
  parser.add_argument(
    "--root", metavar="DIR", help="the data set's folder (none for synthetic ones)"
  )
  parser.add_argument(
    "--data_dir", "--data-dir", required=True, metavar="DIR", help="where the records go"
  )
  parser.add_argument("--splits", metavar="A,B", help="splits to prepare; default: all")
  parser.add_argument(
    "--option",
    action="append",
    default=[],
    metavar="[SPLIT:]NAME=VALUE",
    help="of the reader, as in data.train_options, such as every=10 or train:split_file=FILE; "
    "may be repeated",
  )
