"""Looking at the files of one pair, and for equal pictures among all pairs."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tdfusion_jax.data.images import RefusedError, read_picture
from tdfusion_jax.data.labels.annotations import Annotation
from tdfusion_jax.data.source import DatasetError
from tdfusion_jax.data.verify.images import COLOUR, ImageStats, measure
from tdfusion_jax.data.verify.labels import Finding, error, verify_label
from tdfusion_jax.data.verify.layout import Place, Shape
from tdfusion_jax.images.colour import false_colours
from tdfusion_jax.images.registration import Misalignment, misalignment


class PairCheck(NamedTuple):
  """What was seen of one pair; parts that could not be read are None."""

  split: str
  name: str
  files: tuple[Path | None, Path | None, Path | None]
  """Infrared, visible, label."""
  ir: ImageStats | None
  vi: ImageStats | None
  boxes: Annotation | None
  objects: Counter
  """Boxes, or pixels, by class index."""
  shift: Misalignment | None
  """None where there is nothing to compare."""
  labelled: bool


def verify_pair(
  place: Place,
  shape: Shape,
  name: str,
  files: tuple[Path | None, Path | None, Path | None],
  listed: dict[str, Annotation],
) -> tuple[PairCheck, list[Finding]]:
  """What one pair shows, and what is wrong with it.

  Args:
    place: the folders of its split.
    shape: the data set.
    name: the pair's stem.
    files: infrared, visible and label file, None where missing.
    listed: boxes by stem of a COCO file.
  """
  findings: list[Finding] = []
  ir_path, vi_path, label = files
  ir, ir_gray = _measured(ir_path, place.split, name, findings)
  vi, vi_gray = _measured(vi_path, place.split, name, findings)
  shift = None
  if ir is not None and vi is not None:
    findings += _compare(place.split, name, files, ir, vi)
    if ir.size == vi.size and min(ir.size) >= 16 and min(ir.spread, vi.spread) > 0:
      shift = misalignment(ir_gray, vi_gray)
  known = ir or vi
  boxes, objects = None, Counter()
  if label is None and place.complete:
    text = f"{place.labels}: no label of the name {name}"
    findings.append(error("missing-label", place.split, name, text))
  elif label is not None and known is not None:
    boxes, objects = verify_label(place, shape, name, label, known.size, listed, findings)
  pair = PairCheck(place.split, name, files, ir, vi, boxes, objects, shift, label is not None)
  return pair, findings


def _measured(
  path: Path | None, split: str, name: str, findings: list[Finding]
) -> tuple[ImageStats | None, np.ndarray]:
  """(measurements, luminance [H, W, 1] float32 in [0, 1]); None and no pixels where unreadable."""
  nothing = None, np.zeros((0, 0, 1), np.float32)
  if path is None:
    return nothing
  try:
    shown, stored = read_picture(path)
  except RefusedError as fault:
    findings.append(error(fault.kind, split, name, str(fault)))
    return nothing
  except DatasetError as fault:
    findings.append(error("unreadable-image", split, name, str(fault)))
    return nothing
  stats, gray = measure(shown, stored)
  findings += [Finding("note", remark.kind, split, name, remark.text) for remark in stored.remarks]
  if stats.turned:
    text = f"{path}: stored turned or mirrored, and read upright"
    findings.append(Finding("note", "turned", split, name, text))
  return stats, gray[..., None].astype(np.float32) / np.float32(255)


def _compare(
  split: str, name: str, files: Sequence[Any], ir: ImageStats, vi: ImageStats
) -> Iterator[Finding]:
  if ir.size != vi.size:
    sizes = " and ".join(
      f"{path} is {s[1]}x{s[0]}" for path, s in zip(files, (ir.size, vi.size), strict=False)
    )
    yield error("size", split, name, f"sizes differ: {sizes} (width x height)")
  if ir.chroma > COLOUR and vi.chroma <= COLOUR / 4:
    yield error("swapped", split, name, f"{files[0]} is coloured and {files[1]} is gray: swapped?")
  if wrong := false_colours(ir.chroma, str(files[0])):
    yield Finding("note", "false-colours", split, name, wrong)
  for path, stats in zip(files[:2], (ir, vi), strict=True):
    if stats.spread == 0:
      yield error("constant-image", split, name, f"{path}: every pixel is {stats.mean:.0f}")


def duplicates(pairs: list[PairCheck]) -> Iterator[Finding]:
  """Equal pictures, whatever their names; images without any content are not compared."""
  for which, title in ((0, "infrared"), (1, "visible")):
    seen: dict[str, PairCheck] = {}
    for pair in pairs:
      stats = (pair.ir, pair.vi)[which]
      if stats is None or stats.spread == 0:
        continue
      first = seen.setdefault(stats.digest, pair)
      if first is pair:
        continue
      text = f"{pair.files[which]} shows the same {title} picture as {first.files[which]}"
      kind = "duplicate" if first.split != pair.split else "repeated"
      yield error(kind, pair.split, pair.name, text)
