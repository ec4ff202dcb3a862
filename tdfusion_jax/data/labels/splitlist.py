"""The paper's split lists: names, and boxes in pixels."""

from pathlib import Path

from tdfusion_jax.data.fields import class_index, read_text, require_order, short, to_number
from tdfusion_jax.data.images import safe_stem
from tdfusion_jax.data.labels.annotations import (
  Annotation,
  Found,
  OnFault,
  attempt,
  collect,
  stop,
)
from tdfusion_jax.data.source import DatasetError


def read_split_file(path: Path, num_classes: int, report: OnFault = stop) -> dict[str, Annotation]:
  """The paper's lists: boxes by stem, in file order.

  A line is `name x1,y1,x2,y2,class ...`, in pixels.
  """
  found: dict[str, Annotation] = {}

  def read(item: str, number: int) -> Found:
    values = item.split(",")
    if len(values) != 5:
      raise DatasetError(f"{path}: line {number}: {short(item)} is not x1,y1,x2,y2,class")
    row = [to_number(v, path, f"line {number}") for v in values[:4]]
    require_order(row, path, f"line {number}: box {short(item)}")
    index = class_index(values[4], num_classes, path, f"line {number}: class index")
    return Found(row, index)

  for number, line in enumerate(read_text(path).splitlines(), 1):
    fields = line.split()
    if not fields:
      continue
    stem = safe_stem(fields[0], path)
    if stem in found:
      report("bad-label", f"{path}: line {number} repeats {short(fields[0])}")
      continue
    found[stem] = collect(
      [attempt(report, lambda item=item, n=number: read(item, n)) for item in fields[1:]]
    )
  if not found:
    raise DatasetError(f"{path}: names no image")
  return found
