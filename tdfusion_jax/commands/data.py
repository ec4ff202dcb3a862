"""`tdfusion data`: verifies a data set, converts label files, prepares records."""

import argparse

from tdfusion_jax.commands.data_options import ABOUT, EXAMPLE, add_arguments
from tdfusion_jax.data.labels.convert import convert
from tdfusion_jax.data.labels.notes import told
from tdfusion_jax.data.options import parse_options, split_names
from tdfusion_jax.data.records import remarks
from tdfusion_jax.data.records.source import read_about
from tdfusion_jax.data.verify.lists import parse_lists
from tdfusion_jax.data.verify.pairs import verify
from tdfusion_jax.data.verify.report import page_path, table, write_page

__all__ = ["ABOUT", "EXAMPLE", "add_arguments", "run"]


def run(options: argparse.Namespace) -> int:
  """Runs the chosen action; 1 if something is wrong with the data."""
  return {"verify": _verify, "convert": _convert, "build": _build}[options.action](options)


def _verify(options: argparse.Namespace) -> int:
  lists = parse_lists(options.split_file)
  page = None if options.no_html else page_path(options.html or f"verify-{options.dataset}.html")
  report = verify(
    options.dataset,
    options.root,
    classes=options.classes,
    options=parse_options(options.option).get("", {}),
    split_files=lists,
    allow=split_names(options.allow) or (),
    threads=max(1, options.threads),
    shown=True,
  )
  try:
    if page is not None:  # before anything is printed: whatever becomes of that, it is there
      write_page(page, report, thumbnails=options.thumbnails, fix_hints=options.fix_hints)
  finally:
    print(table(report, fix_hints=options.fix_hints, limit=options.limit))
  if page is not None:
    print(f"page: {page}")
  return 0 if report.ok else 1


def _convert(options: argparse.Namespace) -> int:
  labels = convert(
    options.labels, options.out, options.to, images=options.images, classes=options.classes
  )
  boxes = sum(len(found.boxes) for found in labels.boxes.values())
  names = ", ".join(labels.classes)
  print(f"{options.out}: {boxes} boxes of {len(labels.boxes)} images, classes {names}")
  for line in told(labels.notes):
    print(f"note: {line}")
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
