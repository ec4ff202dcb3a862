"""YOLO: one text file an image, fractions of its size."""

from pathlib import Path

from tdfusion_jax.data.fields import class_index, read_text, to_number
from tdfusion_jax.data.labels.annotations import Annotation, OnFault, attempt, collect, stop
from tdfusion_jax.data.source import DatasetError


def read_yolo(
  path: Path, num_classes: int, size: tuple[int, int], report: OnFault = stop
) -> Annotation:
  """One YOLO text file: `class cx cy w h` a line, in fractions of the image.

  Args:
    path: the file.
    num_classes: above every class index.
    size: (height, width) of the image.
    report: called for each fault.

  Raises:
    DatasetError: see the module.
  """

  def read(line: str, number: int) -> tuple[list[float], int]:
    fields = line.split()
    if len(fields) != 5:
      raise DatasetError(f"{path}: line {number} has {len(fields)} fields, not 5 (class cx cy w h)")
    names = ("cx", "cy", "w", "h")
    cx, cy, w, h = (
      to_number(f, path, f"line {number}: {k}") for f, k in zip(fields[1:], names, strict=True)
    )
    if min(cx, cy, w, h) < 0 or max(cx, cy, w, h) > 1:
      raise DatasetError(
        f"{path}: line {number} has values outside [0, 1]; YOLO boxes are fractions of the image"
      )
    index = class_index(fields[0], num_classes, path, f"line {number}: class index")
    return [
      (cx - w / 2) * size[1],
      (cy - h / 2) * size[0],
      (cx + w / 2) * size[1],
      (cy + h / 2) * size[0],
    ], index

  lines = [(n, line) for n, line in enumerate(read_text(path).splitlines(), 1) if line.strip()]
  return collect([attempt(report, lambda n=n, line=line: read(line, n)) for n, line in lines])
