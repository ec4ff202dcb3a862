"""`tdfusion data`: looking through a data set, turning label files into another form, preparing records."""

import argparse
import ast
from pathlib import Path
from typing import Any

from tdfusion_jax.data import DatasetError
from tdfusion_jax.data.convert import FORMS, convert
from tdfusion_jax.data.verify import verify
from tdfusion_jax.data.verify_layout import CHECKED
from tdfusion_jax.data.verify_report import table, write_page

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
      epilog="example: tdfusion data convert --labels=DIR/labels --images=DIR/vi --to=coco --out=labels.json",
    )
  )
  _build_arguments(
    actions.add_parser(
      "build",
      help="prepare records, for training (data.records_dir) and for tensorflow-datasets",
      epilog="example: tdfusion data build --dataset=llvip --root=DIR --data_dir=records --option=every=10",
    )
  )


def _verify_arguments(parser: argparse.ArgumentParser) -> None:
  parser.add_argument("--dataset", required=True, metavar="NAME", help=f"one of {', '.join(CHECKED)}")
  parser.add_argument("--root", required=True, metavar="DIR", help="its folder")
  parser.add_argument("--classes", metavar="A,B", help="class names of a folder without classes.txt")
  parser.add_argument(
    "--split_file", "--split-file", action="append", default=[], metavar="SPLIT=FILE",
    help="also check this list of names and boxes; may be repeated",
  )  # fmt: skip
  parser.add_argument("--html", metavar="FILE", help="the page with thumbnails (default: verify-NAME.html)")
  parser.add_argument("--no-html", action="store_true", help="write no page")
  parser.add_argument("--thumbnails", type=int, default=48, metavar="N", help="pairs on the page, faulty ones first")
  parser.add_argument("--fix-hints", action="store_true", help="say how to repair each fault")
  parser.add_argument("--allow", default="", metavar="KIND,..", help="kinds of errors that shall count as notes")
  parser.add_argument("--limit", type=int, default=20, metavar="N", help="findings of a kind that are printed")
  parser.add_argument("--threads", type=int, default=2, metavar="N", help="images decoded at a time")


def _convert_arguments(parser: argparse.ArgumentParser) -> None:
  parser.add_argument("--labels", required=True, metavar="PATH", help="folder of .xml or .txt files, or a COCO .json")
  parser.add_argument("--to", required=True, choices=FORMS, help="form to write")
  parser.add_argument("--out", required=True, metavar="PATH", help="new folder, or .json file for coco")
  parser.add_argument("--images", metavar="DIR", help="the images, where the labels do not hold their sizes (YOLO)")
  parser.add_argument("--classes", metavar="A,B", help="class names in order, if no classes.txt or COCO file has them")


def _build_arguments(parser: argparse.ArgumentParser) -> None:
  parser.add_argument("--dataset", required=True, metavar="NAME", help="as in a config's data.name")
  parser.add_argument("--root", metavar="DIR", help="the data set's folder (none for synthetic ones)")
  parser.add_argument("--data_dir", "--data-dir", required=True, metavar="DIR", help="where the records go")
  parser.add_argument("--splits", metavar="A,B", help="splits to prepare; default: all")
  parser.add_argument(
    "--option", action="append", default=[], metavar="[SPLIT:]NAME=VALUE",
    help="of the reader, as in data.train_options, such as every=10 or train:split_file=FILE; may be repeated",
  )  # fmt: skip


def run(options: argparse.Namespace) -> int:
  """Runs the chosen action; 1 if something is wrong with the data."""
  return {"verify": _verify, "convert": _convert, "build": _build}[options.action](options)


def _names(text: str | None) -> tuple[str, ...] | None:
  return tuple(filter(None, (name.strip() for name in text.split(",")))) if text else None


def _verify(options: argparse.Namespace) -> int:
  lists = {}
  for item in options.split_file:
    split, separator, file = item.partition("=")
    if not separator:
      raise DatasetError(f"--split_file={item}: SPLIT=FILE is needed, such as train=lists/train.txt")
    lists[split] = file
  report = verify(
    options.dataset,
    options.root,
    classes=_names(options.classes),
    split_files=lists,
    allow=_names(options.allow) or (),
    threads=max(1, options.threads),
  )
  print(table(report, fix_hints=options.fix_hints, limit=options.limit))
  if not options.no_html:
    page = Path(options.html or f"verify-{options.dataset}.html")
    write_page(page, report, thumbnails=options.thumbnails, fix_hints=options.fix_hints)
    print(f"page: {page}")
  return 0 if report.ok else 1


def _convert(options: argparse.Namespace) -> int:
  labels = convert(options.labels, options.out, options.to, images=options.images, classes=_names(options.classes))
  boxes = sum(len(found.boxes) for found in labels.boxes.values())
  print(f"{options.out}: {boxes} boxes of {len(labels.boxes)} images, classes {', '.join(labels.classes)}")
  return 0


def _build(options: argparse.Namespace) -> int:
  from tdfusion_jax.data.tfds_builders import build  # imports tensorflow-datasets, which takes a moment

  splits = _names(options.splits)
  folder = build(
    options.dataset, options.root, options.data_dir, options=_reader_options(options.option), splits=splits
  )
  print(f"records: {folder}")
  print(f"train from them with --config.data.records_dir={options.data_dir}")
  return 0


def _reader_options(items: list[str]) -> dict[str, dict[str, Any]]:
  """Reader options by split from `[SPLIT:]NAME=VALUE`; under "" those of every split."""
  found: dict[str, dict[str, Any]] = {}
  for item in items:
    name, separator, text = item.partition("=")
    split, _, option = name.rpartition(":")
    if not separator or not option:
      raise DatasetError(f"--option={item}: [SPLIT:]NAME=VALUE is needed, such as every=10")
    found.setdefault(split, {})[option] = _value(text)
  return found


def _value(text: str) -> Any:
  try:
    return ast.literal_eval(text)
  except (ValueError, SyntaxError):
    return text
