"""`tdfusion data`: verifies a data set, converts label files, prepares records."""

import argparse

from tdfusion_jax.data.labels.convert import FORMS, convert
from tdfusion_jax.data.options import parse_options, split_names
from tdfusion_jax.data.records import remarks
from tdfusion_jax.data.records.source import read_about
from tdfusion_jax.data.verify.layout import CHECKED
from tdfusion_jax.data.verify.pairs import parse_lists, verify
from tdfusion_jax.data.verify.report import page_path, table, write_page

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
    "--dataset", required=True, metavar="NAME", help=f"one of {', '.join(CHECKED)}"
  )
  parser.add_argument("--root", required=True, metavar="DIR", help="its folder")
  parser.add_argument(
    "--classes", metavar="A,B", help="class names of a folder without classes.txt"
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
  parser.add_argument("--to", required=True, choices=FORMS, help="form to write")
  parser.add_argument(
    "--out", required=True, metavar="PATH", help="new folder, or .json file for coco"
  )
  parser.add_argument(
    "--images", metavar="DIR", help="the images, where the labels do not hold their sizes (YOLO)"
  )
  parser.add_argument(
    "--classes", metavar="A,B", help="class names in order, if no classes.txt or COCO file has them"
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


def run(options: argparse.Namespace) -> int:
  """Runs the chosen action; 1 if something is wrong with the data."""
  return {"verify": _verify, "convert": _convert, "build": _build}[options.action](options)


def _verify(options: argparse.Namespace) -> int:
  lists = parse_lists(options.split_file)
  page = None if options.no_html else page_path(options.html or f"verify-{options.dataset}.html")
  report = verify(
    options.dataset,
    options.root,
    classes=split_names(options.classes),
    split_files=lists,
    allow=split_names(options.allow) or (),
    threads=max(1, options.threads),
  )
  print(table(report, fix_hints=options.fix_hints, limit=options.limit))
  if page is not None:
    write_page(page, report, thumbnails=options.thumbnails, fix_hints=options.fix_hints)
    print(f"page: {page}")
  return 0 if report.ok else 1


def _convert(options: argparse.Namespace) -> int:
  classes = split_names(options.classes)
  labels = convert(options.labels, options.out, options.to, images=options.images, classes=classes)
  boxes = sum(len(found.boxes) for found in labels.boxes.values())
  names = ", ".join(labels.classes)
  print(f"{options.out}: {boxes} boxes of {len(labels.boxes)} images, classes {names}")
  return 0


def _build(options: argparse.Namespace) -> int:
  from tdfusion_jax.data.records.tfds import build  # imports tensorflow-datasets: a moment

  given, splits = parse_options(options.option), split_names(options.splits)
  with remarks.shown():
    folder = build(options.dataset, options.root, options.data_dir, options=given, splits=splits)
  about = read_about(options.data_dir, options.dataset)
  for split, names in about["names"].items() if about else ():
    print(f"{split}: {len(names)} pair{'s' if len(names) != 1 else ''}")
  print(f"records: {folder}")
  print(f"train from them with --config.data.records_dir={options.data_dir}")
  return 0
