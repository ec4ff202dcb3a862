"""Pascal VOC: one XML file an image."""

from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring as parse_xml

from tdfusion_jax.data.fields import (
  UnknownClassError,
  read_bytes,
  require_order,
  short,
  to_number,
)
from tdfusion_jax.data.labels.annotations import Annotation, OnFault, attempt, collect, stop
from tdfusion_jax.data.source import DatasetError


def read_xml(path: Path) -> Element:
  """The root of an XML file. Entities, whatever they hold, are refused rather than expanded."""
  try:
    root = parse_xml(read_bytes(path))
  except DefusedXmlException as error:
    raise DatasetError(f"{path}: cannot be read as XML (refused: {error})") from None
  except (ParseError, LookupError, ValueError, RecursionError) as error:
    raise DatasetError(f"{path}: cannot be read as XML ({error})") from None
  if root is None:
    raise DatasetError(f"{path}: cannot be read as XML (no root element)")
  return root


def read_voc(path: Path, classes: Sequence[str], report: OnFault = stop) -> Annotation:
  """One Pascal VOC file. Names are matched without case; an unknown one is an error."""
  root = read_xml(path)
  if root.tag != "annotation":
    raise DatasetError(
      f"{path}: not a Pascal VOC file: its root element is <{short(root.tag)[1:-1]}>"
    )
  index = {name.casefold(): i for i, name in enumerate(classes)}

  def read(item: Element, number: int) -> tuple[list[float], int]:
    name = (item.findtext("name") or "").strip()
    if name.casefold() not in index:
      raise UnknownClassError(
        f"{path}: object {number}: unknown class {short(name)}; known: {', '.join(classes)}"
      )
    sides = ("xmin", "ymin", "xmax", "ymax")
    row = [
      to_number(item.findtext(f"bndbox/{side}"), path, f"object {number}: {name} {side}")
      for side in sides
    ]
    require_order(row, path, f"object {number}: {name} bndbox")
    return row, index[name.casefold()]

  found = [
    attempt(report, lambda i=i, n=n: read(i, n)) for n, i in enumerate(root.iter("object"), 1)
  ]
  return collect(found, _voc_size(root, path))


def _voc_size(root: Element, path: Path) -> tuple[int, int] | None:
  if root.find("size") is None:
    return None
  height, width = (
    to_number(root.findtext(f"size/{k}") or 0, path, f"size/{k}") for k in ("height", "width")
  )
  return int(height), int(width)
