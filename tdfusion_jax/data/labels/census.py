"""What many labels together show that none shows alone: absent classes, ignored pixels."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tdfusion_jax.batch import IGNORE_LABEL

LARGE_SHARE = 0.1
"""Of all pixels; where more are ignored, this is said."""
BINARY_REMEDY = (
  "store the class index in place of 255, for two classes by "
  "Image.fromarray((np.asarray(mask) == 255).astype(np.uint8)).save(...)"
)
"""What to do about masks of 0 and 255."""


class Look(NamedTuple):
  """What one label holds."""

  counts: Mapping[int, int]
  """Boxes, or pixels, by class index; a mask's `IGNORE_LABEL` too."""
  notes: tuple[str, ...] = ()
  """As in `Annotation`."""


class Remark(NamedTuple):
  """One thing to say about all labels."""

  kind: str
  """"binary-mask", "absent-class" or "ignored-share"."""
  text: str


def remarks(
  counts: Sequence[Mapping[int, int]],
  classes: Sequence[str],
  unit: str,
  unlabelled: int | None = None,
) -> list[Remark]:
  """What is to be said about labels that hold so many boxes, or pixels, of each class.

  Args:
    counts: by class index, of each label.
    classes: the names.
    unit: "pixel" or "box".
    unlabelled: the class that means unknown, which is in `counts` as `IGNORE_LABEL`.
  """
  if not counts:
    return []
  total = _summed(counts)
  said = []
  if unit == "pixel":
    said += _about_pixels(total, len(classes))
  known = [(index, name) for index, name in enumerate(classes) if index != unlabelled]
  absent = [name for index, name in known if not total[index]]
  if absent:
    text = f"{len(absent)} of {len(known)} classes without a single {unit}: {', '.join(absent)}"
    said.append(Remark("absent-class", text))
  return said


def _about_pixels(total: Mapping[int, int], classes: int) -> list[Remark]:
  said, pixels = [], sum(total.values())
  ignored = total[IGNORE_LABEL]
  if classes > 1 and ignored and {v for v, n in total.items() if n} == {0, IGNORE_LABEL}:
    text = (
      f"the masks hold only 0 and {IGNORE_LABEL}: classes? {IGNORE_LABEL} is read as unknown, so "
      "nothing but class 0 would be learned"
    )
    said.append(Remark("binary-mask", text))
  if pixels and ignored / pixels >= LARGE_SHARE:
    text = f"{100 * ignored / pixels:.0f} % of the pixels are ignored (unknown, {IGNORE_LABEL})"
    said.append(Remark("ignored-share", text))
  return said


def _summed(counts: Iterable[Mapping[int, int]]) -> Counter[int]:
  total: Counter[int] = Counter()
  for each in counts:
    total.update(each)
  return total


def look_at(target: Any, kind: str | None) -> Look | None:
  """What a decoded label holds; None without one.

  Args:
    target: `Sample.target`.
    kind: of the source.
  """
  if target is None or kind is None:
    return None
  if kind == "segmentation":
    return Look(dict(enumerate(np.bincount(target.ravel(), minlength=256).tolist())))
  return Look(Counter(target.classes.tolist()))
