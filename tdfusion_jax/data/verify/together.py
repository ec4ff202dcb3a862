"""What the labels of a split show together."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from tdfusion_jax.batch import IGNORE_LABEL
from tdfusion_jax.data.labels.annotations import border_notes
from tdfusion_jax.data.labels.census import remarks
from tdfusion_jax.data.labels.notes import NOTES
from tdfusion_jax.data.verify.labels import Finding, Level
from tdfusion_jax.data.verify.layout import Place, Shape
from tdfusion_jax.data.verify.pair import PairCheck


def about_split(place: Place, shape: Shape, pairs: Sequence[PairCheck]) -> Iterator[Finding]:
  """Classes that do not occur, ignored pixels, and what is read otherwise than it stands.

  Args:
    place: the folders of the split.
    shape: the data set, with its class names.
    pairs: what was seen of the split's pairs.
  """
  yield from _notes(place.split, pairs)
  yield from _without_label(place.split, shape, pairs)
  unit = "pixel" if place.form == "mask" else "box"
  labelled = [pair.objects for pair in pairs if pair.labelled]
  counts = [_known(objects, shape.unlabelled) for objects in labelled]
  seen = bool(sum(map(len, counts)))  # where no label could be read, that is said already
  for remark in remarks(counts, shape.classes, unit, shape.unlabelled) if seen else ():
    level: Level = "error" if remark.kind == "binary-mask" else "note"
    yield Finding(level, remark.kind, place.split, "", remark.text)


def _notes(split: str, pairs: Sequence[PairCheck]) -> Iterator[Finding]:
  counts: Counter[str] = Counter()
  first: dict[str, str] = {}
  for pair in pairs:
    image = pair.ir or pair.vi
    if pair.boxes is None or image is None:
      continue
    kinds = pair.boxes.notes + border_notes(pair.boxes.boxes, image.size)
    counts.update(kinds)
    first = dict.fromkeys(kinds, pair.name) | first
  for kind, count in counts.items():
    yield Finding("note", kind, split, "", f"{count} {NOTES[kind]}; the first in {first[kind]}")


def noted(notes: Iterable[str], split: str, origin: Path) -> Iterator[Finding]:
  """Findings of what is read otherwise than it stands in `origin` as a whole."""
  for kind, count in Counter(notes).items():
    yield Finding("note", kind, split, "", f"{origin}: {count} {NOTES[kind]}")


def _without_label(split: str, shape: Shape, pairs: Sequence[PairCheck]) -> Iterator[Finding]:
  count = sum(not pair.labelled for pair in pairs)
  if count and shape.background:
    text = f"{count} of {len(pairs)} pairs have no label file: images with nothing in them"
    yield Finding("note", "background", split, "", text)
  elif count:
    text = (
      f"{count} of {len(pairs)} pairs are unlabelled (no label file; that is not the same as empty)"
    )
    yield Finding("note", "unlabelled", split, "", text)


def _known(objects: Mapping[int, int], unlabelled: int | None) -> dict[int, int]:
  """Counts by class, a mask's value for unknown counted as `IGNORE_LABEL`."""
  counts = dict(objects)
  if unlabelled is not None and unlabelled in counts:
    counts[IGNORE_LABEL] = counts.get(IGNORE_LABEL, 0) + counts.pop(unlabelled)
  return counts
