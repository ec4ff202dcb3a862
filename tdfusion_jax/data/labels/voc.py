"""Pascal VOC: one XML file an image.

Also as others write it: polygons (DroneVehicle, LabelMe), rotated boxes (roLabelImg), text that is
not in the encoding which the file states.
"""

import contextlib
import math
import re
from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring as parse_xml

from tdfusion_jax.data.fields import (
  UnknownClassError,
  decode,
  read_bytes,
  require_order,
  short,
  to_number,
)
from tdfusion_jax.data.labels.annotations import (
  Annotation,
  Found,
  OnFault,
  attempt,
  collect,
  stop,
)
from tdfusion_jax.data.source import DatasetError

SIDES = ("xmin", "ymin", "xmax", "ymax")
_DECLARED = re.compile(r"^\s*<\?xml[^>]*?encoding\s*=\s*[\"']([\w.-]+)[\"'][^>]*\?>")
_REGIONAL = re.compile(r"(gb|big5|shift|euc|koi8|windows|cp|iso|latin)[\w.-]*", re.IGNORECASE)
"""Encodings that the XML parser need not know. Only these: some codecs of Python are slow."""
_OTHERS = {"annotations": "; it is CVAT's own XML: export Pascal VOC, YOLO or COCO there"}
"""{root element of other XML: what to do}."""


def read_xml(path: Path) -> Element:
  """The root of an XML file. Entities, whatever they hold, are refused rather than expanded."""
  return _parsed(path)[0]


def _parsed(path: Path) -> tuple[Element, bool]:
  """(root, whether the text was not in the encoding that it states)."""
  content, again = read_bytes(path), False
  try:
    try:
      root = parse_xml(content)
    except (ParseError, LookupError, ValueError) as error:
      text = _text(content, path)
      if text is None:
        raise error
      root, again = parse_xml(text), True
  except DefusedXmlException as error:
    raise DatasetError(f"{path}: cannot be read as XML (refused: {error})") from None
  except (ParseError, LookupError, ValueError, RecursionError) as error:
    raise DatasetError(f"{path}: cannot be read as XML ({error})") from None
  if root is None:
    raise DatasetError(f"{path}: cannot be read as XML (no root element)")
  return root, again


def _text(content: bytes, path: Path) -> str | None:
  """An XML file's text where the XML parser is misled by its encoding; None where it is not."""
  text, encoding = decode(content, path)
  declared = _DECLARED.match(text)
  stated = declared[1].lower() if declared else "utf-8"
  regional = _REGIONAL.fullmatch(stated) is not None
  if not regional and not stated.startswith("utf"):
    return None
  if encoding == "utf-8" and not regional:
    return None  # as stated: what is wrong is something else
  if encoding == "latin-1" and regional:
    with contextlib.suppress(LookupError, UnicodeError):
      text = content.decode(stated)
  return text[declared.end() :] if declared else text


def read_voc(path: Path, classes: Sequence[str], report: OnFault = stop) -> Annotation:
  """One Pascal VOC file. Names are matched without case; an unknown one is an error.

  A polygon or a rotated box without a `bndbox` gives the upright box around it, and is counted in
  the notes.
  """
  root, again = _parsed(path)
  if root.tag != "annotation":
    raise DatasetError(
      f"{path}: not a Pascal VOC file: its root element is <{short(root.tag)[1:-1]}>"
      f"{_OTHERS.get(root.tag, '')}"
    )
  index = {name.casefold(): i for i, name in enumerate(classes)}

  def read(item: Element, number: int) -> Found:
    name = (item.findtext("name") or "").strip()
    if name.casefold() not in index:
      raise UnknownClassError(
        f"{path}: object {number}: unknown class {short(name)}; known: {', '.join(classes)}"
      )
    row, notes = _box(item, path, f"object {number}: {name}")
    return Found(row, index[name.casefold()], notes)

  objects = enumerate(root.iter("object"), 1)
  found = [attempt(report, lambda i=i, n=n: read(i, n)) for n, i in objects]
  return collect(found, _size(root, path), ["encoding"] if again else [])


def _box(item: Element, path: Path, where: str) -> tuple[list[float], tuple[str, ...]]:
  """((x1, y1, x2, y2), notes) of an object."""
  if not any((item.findtext(f"bndbox/{side}") or "").strip() for side in SIDES):
    rotated = item.find("robndbox")
    if rotated is not None:
      return _around_rotated(rotated, path, where), ("rotated",)
    points = [*item.findall("polygon"), *item.findall("segmentation")]
    if points:
      return _around_points(points, path, where), ("polygons",)
  row = [to_number(item.findtext(f"bndbox/{side}"), path, f"{where} {side}") for side in SIDES]
  require_order(row, path, f"{where} bndbox")
  return row, ()


def _around_rotated(item: Element, path: Path, where: str) -> list[float]:
  """Around roLabelImg's centre, size and angle (radians)."""
  fields = ("cx", "cy", "w", "h", "angle")
  cx, cy, w, h, angle = (
    to_number(item.findtext(field), path, f"{where} robndbox/{field}") for field in fields
  )
  if min(w, h) < 0:
    raise DatasetError(f"{path}: {where} robndbox is inverted: w, h = {w:g}, {h:g}")
  across = (abs(w * math.cos(angle)) + abs(h * math.sin(angle))) / 2
  down = (abs(w * math.sin(angle)) + abs(h * math.cos(angle))) / 2
  return [cx - across, cy - down, cx + across, cy + down]


def _around_points(items: Sequence[Element], path: Path, where: str) -> list[float]:
  """Around points that are elements x1, y1, x2, y2, ... or pairs of elements x, y."""
  sides: dict[str, list[float]] = {"x": [], "y": []}
  for item in items:
    for field in item.iter():
      if re.fullmatch(r"[xy]\d*", str(field.tag)):
        value = to_number(field.text, path, f"{where} polygon/{field.tag}")
        sides[str(field.tag)[0]].append(value)
  xs, ys = sides["x"], sides["y"]
  if len(xs) != len(ys) or len(xs) < 3:
    raise DatasetError(f"{path}: {where} polygon has {len(xs)} x and {len(ys)} y, no three points")
  return [min(xs), min(ys), max(xs), max(ys)]


def _size(root: Element, path: Path) -> tuple[int, int] | None:
  if root.find("size") is None:
    return None
  height, width = (
    to_number(root.findtext(f"size/{k}") or 0, path, f"size/{k}") for k in ("height", "width")
  )
  return int(height), int(width)
