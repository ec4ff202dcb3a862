"""The box around a COCO segmentation: polygons, or runs of pixels (RLE)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tdfusion_jax.data.fields import short, to_number
from tdfusion_jax.data.source import DatasetError


def box_around(segmentation: Any, path: Path, where: str) -> list[float]:
  """(x1, y1, x2, y2) in pixels around polygons [[x, y, x, y, ...], ...] or an RLE object.

  Args:
    segmentation: as in the file.
    path: the file, for messages.
    where: the field, for messages.

  Raises:
    DatasetError: neither of both, or nothing in it.
  """
  if isinstance(segmentation, Mapping):
    return _around_runs(segmentation, path, where)
  polygons = segmentation if isinstance(segmentation, list) else []
  if polygons and not any(isinstance(polygon, list) for polygon in polygons):
    polygons = [polygons]  # one polygon without the outer brackets
  sides: list[list[float]] = [[], []]
  for polygon in polygons:
    if not isinstance(polygon, list) or len(polygon) % 2 or len(polygon) < 6:
      raise DatasetError(f"{path}: {where} has a polygon {short(polygon)}, no x, y, x, y, x, y ..")
    numbers = [to_number(value, path, where) for value in polygon]
    sides[0] += numbers[0::2]
    sides[1] += numbers[1::2]
  if not sides[0]:
    raise DatasetError(f"{path}: {where} is {short(segmentation)}: there is no box around it")
  xs, ys = sides
  return [min(xs), min(ys), max(xs), max(ys)]


def _around_runs(runs: Mapping, path: Path, where: str) -> list[float]:
  """Around the pixels of an RLE object: lengths of runs down the columns, 0 first."""
  size, counts = runs.get("size"), runs.get("counts")
  if not isinstance(size, list) or len(size) != 2:
    raise DatasetError(f"{path}: {where}.size is {short(size)}, not [height, width]")
  height, width = (int(to_number(side, path, f"{where}.size")) for side in size)
  lengths = _unpacked(counts) if isinstance(counts, str) else counts
  if not isinstance(lengths, list) or not all(type(n) is int and n >= 0 for n in lengths):
    raise DatasetError(f"{path}: {where}.counts is {short(counts)}, no run lengths")
  if sum(lengths) != height * width:
    raise DatasetError(
      f"{path}: {where}.counts are {sum(lengths)} pixels, not those of {width}x{height}"
    )
  ends = np.cumsum(np.array(lengths, np.int64))
  first, last = ends[0:-1:2], ends[1::2] - 1  # of the runs of ones
  first, last = (side[: len(last)][last >= first[: len(last)]] for side in (first, last))
  if not len(first):
    raise DatasetError(f"{path}: {where}.counts has no pixel: there is no box around it")
  x1, x2 = int(first.min() // height), int(last.max() // height) + 1
  # A run over several columns has pixels in the top and the bottom row.
  over = bool((first // height != last // height).any())
  y1 = 0 if over else int((first % height).min())
  y2 = height if over else int((last % height).max()) + 1
  return [float(x1), float(y1), float(x2), float(y2)]


def _unpacked(text: str) -> list[int] | None:
  """The run lengths of COCO's compact text; None if it is none.

  Each number is groups of five bits, lowest first, as letters from "0" on; 32 is added to all
  groups but the last, and 16 in the last one means negative. From the fourth number on they are
  differences to the number two before.
  """
  lengths: list[int] = []
  number, shift = 0, 0
  for letter in text:
    group = ord(letter) - 48
    if not 0 <= group < 64 or shift > 30:
      return None
    number |= (group & 31) << shift
    shift += 5
    if group & 32:
      continue
    if group & 16:
      number -= 1 << shift
    lengths.append(number + (lengths[-2] if len(lengths) > 2 else 0))
    number, shift = 0, 0
  return None if shift else lengths
