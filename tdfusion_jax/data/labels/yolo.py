"""YOLO: one text file an image, fractions of its size.

A line is a class and a box (cx cy w h), or a polygon's points (x y x y ...), as Ultralytics and
CVAT write them for segmentation and for oriented boxes. Predictions have a confidence or a track id
behind the box, poses have keypoints.
"""

from collections.abc import Sequence
from pathlib import Path

from tdfusion_jax.data.fields import class_index, decode, read_bytes, to_number
from tdfusion_jax.data.labels.annotations import (
  Annotation,
  Found,
  OnFault,
  attempt,
  collect,
  stop,
)
from tdfusion_jax.data.source import DatasetError

SLACK = 0.01
"""How far outside [0, 1] rounding may put a value; the box is cut at the border."""


def read_yolo(
  path: Path, num_classes: int, size: tuple[int, int], report: OnFault = stop
) -> Annotation:
  """One YOLO text file: `class cx cy w h` a line, in fractions of the image.

  A polygon gives the box around it; a confidence, a track id and keypoints are left out. Each is
  counted in the notes.

  Args:
    path: the file.
    num_classes: above every class index.
    size: (height, width) of the image.
    report: called for each fault.

  Raises:
    DatasetError: see `labels.annotations`.
  """
  text, encoding = decode(read_bytes(path), path)
  rows = [(n, line.split()) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
  # A triangle has as many values as a box with a confidence and a track id.
  triangles = any(len(fields) >= 9 and len(fields) % 2 for _, fields in rows)

  def read(fields: list[str], number: int) -> Found:
    where = f"line {number}"
    values = _values(fields, path, where)
    box, notes = _box(values, fields, triangles, f"{path}: {where}")
    index = class_index(fields[0], num_classes, path, f"{where}: class index")
    x1, y1, x2, y2 = box
    return Found([x1 * size[1], y1 * size[0], x2 * size[1], y2 * size[0]], index, notes)

  found = [attempt(report, lambda n=n, fields=fields: read(fields, n)) for n, fields in rows]
  return collect(found, notes=["encoding"] if encoding == "latin-1" else [])


def _values(fields: list[str], path: Path, where: str) -> list[float]:
  """The numbers behind the class."""
  if len(fields) < 5:
    raise DatasetError(f"{path}: {where} has {len(fields)} fields, not 5 (class cx cy w h)")
  names = ["cx", "cy", "w", "h"] if len(fields) < 7 else []
  names += [f"value {i}" for i in range(len(names) + 1, len(fields))]
  return [to_number(f, path, f"{where}: {name}") for f, name in zip(fields[1:], names, strict=True)]


def _box(
  values: list[float], fields: list[str], triangles: bool, origin: str
) -> tuple[list[float], tuple[str, ...]]:
  """((x1, y1, x2, y2) in fractions, notes) of the numbers behind a line's class."""
  count = len(values)
  if count == 4:
    return _around_centre(values, origin), ()
  if count == 5:
    if not _is_extra(values[4]):
      raise DatasetError(
        f"{origin}: its sixth column is {fields[5]}, no confidence and no track id; an angle? "
        "Write rotated boxes as four corners"
      )
    return _around_centre(values[:4], origin), ("extra-column",)
  if _are_keypoints(values, fields):
    return _around_centre(values[:4], origin), ("keypoints",)
  if count % 2:
    raise DatasetError(
      f"{origin} has {count + 1} fields: neither 5 (class cx cy w h) nor a class and pairs x y of "
      "a polygon"
    )
  if count == 6 and not triangles:
    whole = fields[-1].isdigit()
    if whole and values[-1] > 1:
      return _around_centre(values[:4], origin), ("extra-column",)
    if whole:
      raise DatasetError(
        f"{origin} has 7 fields: a triangle, or a box with a confidence and the track id "
        f"{fields[-1]}? Leave the last two out, or write 1 as 1.0"
      )
  _require_fractions(values, origin)
  xs, ys = values[0::2], values[1::2]
  return [min(xs), min(ys), max(xs), max(ys)], ("polygons",)


def _around_centre(values: Sequence[float], origin: str) -> list[float]:
  _require_fractions(values, origin)
  cx, cy, w, h = values
  if min(w, h) < 0:
    raise DatasetError(f"{origin} has values outside [0, 1]; its width or height is negative")
  return [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]


def _require_fractions(values: Sequence[float], origin: str) -> None:
  if min(values) < -SLACK or max(values) > 1 + SLACK:
    raise DatasetError(f"{origin} has values outside [0, 1]; YOLO boxes are fractions of the image")


def _is_extra(value: float) -> bool:
  """Whether a sixth column is a confidence in [0, 1] or a track id."""
  return 0 <= value <= 1 or (value > 0 and value == int(value))


def _are_keypoints(values: list[float], fields: list[str]) -> bool:
  """Whether a box is followed by points (x y visibility), visibility being 0, 1 or 2.

  Points without visibility look like a polygon, and are taken for one as other tools take them.
  """
  rest = values[4:]
  if len(rest) % 3 or not all(field in _VISIBILITY for field in fields[7::3]):
    return False
  cx, cy, w, h = values[:4]
  seen = [(x, y) for x, y, v in zip(rest[0::3], rest[1::3], rest[2::3], strict=True) if v > 0]
  near = all(abs(x - cx) <= w * 0.6 and abs(y - cy) <= h * 0.6 for x, y in seen)
  return near or 2 in rest[2::3]


_VISIBILITY = {f"{v}{zeros}" for v in "012" for zeros in ("", ".0", ".00", ".000000")}
