"""What is read otherwise than it stands in a label file: no fault, but counted everywhere."""

from collections import Counter
from collections.abc import Iterable

NOTES = {
  "polygons": "polygon(s), each read as the box around it",
  "rotated": "rotated box(es), each read as the upright box around it",
  "regions": "region(s) without a bbox, each read as the box around it",
  "extra-column": "line(s) with a sixth column, a confidence or a track id: it is left out",
  "keypoints": "line(s) with keypoints, of which only the box is read",
  "crowd": "crowd region(s) (iscrowd), left out",
  "root-category": (
    "category(ies) that no annotation uses and that others name as their supercategory: no class"
  ),
  "clipped": "box(es) that reach outside their image, cut at its border",
  "beyond": "box(es) that reach more than a pixel outside their image, kept as they are",
  "outside": "box(es) with nothing inside their image, left out",
  "no-area": "box(es) without area, left out",
  "encoding": "file(s) in neither UTF-8 nor UTF-16, read as Latin-1",
  "renamed": "label(s) found under the name that an upload gave their image",
}
"""{kind: what is said behind its number}."""


def told(notes: Iterable[str]) -> list[str]:
  """One line for each kind: `"3 polygon(s), each read as the box around it"`."""
  counts = Counter(notes)
  return [f"{counts[kind]} {text}" for kind, text in NOTES.items() if counts[kind]]
