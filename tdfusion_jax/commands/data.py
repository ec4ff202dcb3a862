"""`tdfusion data`: looking through a data set, turning label files into another form, preparing records."""

import argparse
import ast
import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tdfusion_jax.data import DatasetError
from tdfusion_jax.data.labels.convert import FORMS, convert
from tdfusion_jax.data.records.source import read_about
from tdfusion_jax.data.verify.layout import CHECKED
from tdfusion_jax.data.verify.pairs import verify
from tdfusion_jax.data.verify.report import table, write_page

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
  parser.add_argument("--fix-hints", action="store_true", help="say how to repair each fault")
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
    help="of the reader, as in data.train_options, such as every=10 or train:split_file=FILE; may be repeated",
  )


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
      raise DatasetError(
        f"--split_file={item}: SPLIT=FILE is needed, such as train=lists/train.txt"
      )
    if split in lists:
      raise DatasetError(f"--split_file={item}: split {split!r} has a list already, {lists[split]}")
    lists[split] = Path(file).expanduser()
  page = None if options.no_html else _page(options.html or f"verify-{options.dataset}.html")
  report = verify(
    options.dataset,
    options.root,
    classes=_names(options.classes),
    split_files=lists,
    allow=_names(options.allow) or (),
    threads=max(1, options.threads),
  )
  print(table(report, fix_hints=options.fix_hints, limit=options.limit))
  if page is not None:
    write_page(page, report, thumbnails=options.thumbnails, fix_hints=options.fix_hints)
    print(f"page: {page}")
  return 0 if report.ok else 1


def _page(file: str) -> Path:
  """Where the page goes; refused before the reading, which may take long."""
  page = Path(file).expanduser()
  if page.is_dir():
    raise DatasetError(
      f"--html={file}: this is a folder; give a file, such as {page / 'verify.html'}"
    )
  page.parent.mkdir(parents=True, exist_ok=True)
  return page


def _convert(options: argparse.Namespace) -> int:
  labels = convert(
    options.labels, options.out, options.to, images=options.images, classes=_names(options.classes)
  )
  boxes = sum(len(found.boxes) for found in labels.boxes.values())
  print(
    f"{options.out}: {boxes} boxes of {len(labels.boxes)} images, classes {', '.join(labels.classes)}"
  )
  return 0


def _build(options: argparse.Namespace) -> int:
  from tdfusion_jax.data.records.tfds import (
    build,
  )  # imports tensorflow-datasets, which takes a moment

  given = _reader_options(options.option)
  with _remarks():
    folder = build(
      options.dataset, options.root, options.data_dir, options=given, splits=_names(options.splits)
    )
  about = read_about(options.data_dir, options.dataset)
  for split, names in about["names"].items() if about else ():
    print(f"{split}: {len(names)} pair{'s' if len(names) != 1 else ''}")
  print(f"records: {folder}")
  print(f"train from them with --config.data.records_dir={options.data_dir}")
  return 0


class _Once(logging.Filter):
  """Every message once: the splits are opened several times."""

  def __init__(self):
    super().__init__()
    self.said: set[str] = set()

  def filter(self, record: logging.LogRecord) -> bool:
    message = record.getMessage()
    new = message not in self.said
    self.said.add(message)
    return new


@contextlib.contextmanager
def _remarks() -> Iterator[None]:
  """Shows the readers' remarks as plain lines: pairs left out without a label, boxes outside their image."""
  handler = logging.StreamHandler()
  handler.setFormatter(logging.Formatter("%(message)s"))
  handler.addFilter(_Once())
  ours = logging.getLogger("tdfusion_jax.data")
  before = ours.level, ours.propagate
  ours.addHandler(handler)
  ours.setLevel(logging.INFO)
  ours.propagate = False  # tensorflow-datasets gives the root logger a handler of its own
  try:
    yield
  finally:
    ours.removeHandler(handler)
    ours.setLevel(before[0])
    ours.propagate = before[1]


def _reader_options(items: list[str]) -> dict[str, dict[str, Any]]:
  """Reader options by split from `[SPLIT:]NAME=VALUE`; under "" those of every split."""
  found: dict[str, dict[str, Any]] = {}
  for item in items:
    name, separator, text = item.partition("=")
    split, _, option = name.rpartition(":")
    if not separator or not option:
      raise DatasetError(f"--option={item}: [SPLIT:]NAME=VALUE is needed, such as every=10")
    found.setdefault(split, {})[option] = _names(text) if option == "classes" else _value(text)
  return found


def _value(text: str) -> Any:
  try:
    return ast.literal_eval(text)
  except (ValueError, SyntaxError):
    return text
