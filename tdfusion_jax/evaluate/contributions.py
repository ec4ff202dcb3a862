"""What each image adds to the scores of a data set, so that they can be scored anew, and as a file.

Matches of boxes or confusion matrices: small, while predictions are not.
"""

import lzma
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tdfusion_jax.data.source import Source
from tdfusion_jax.evaluate.resampling import blocks_of
from tdfusion_jax.files import UsageError, atomic_write, reason
from tdfusion_jax.metrics import weighted
from tdfusion_jax.metrics.weighted import Matches

_AGAIN = "remove result.json beside it, and the sweep judges the run again"
_DAMAGE = (  # what NumPy and the modules below it raise for a damaged file
  *(OSError, ValueError, TypeError, EOFError, KeyError, RuntimeError, MemoryError),
  *(struct.error, lzma.LZMAError, zipfile.BadZipFile, zlib.error),
)


class Contributions(NamedTuple):
  """Of the images of one split, in their order."""

  kind: str
  """"detection" or "segmentation"."""
  classes: tuple[str, ...]
  names: tuple[str, ...]
  blocks: np.ndarray
  """[images] int: see `resampling.draws`."""
  parts: Any
  """`Matches` of each class, or confusion matrices [images, classes, classes]."""

  def scores(self, weights: np.ndarray) -> weighted.Scores:
    """Of images that count as often as `weights` [R, images] say."""
    score = weighted.overlap if self.kind == "segmentation" else weighted.average_precision
    return score(self.parts, self.classes, weights)


def gathered(source: Source, seen: Sequence[Any]) -> Contributions:
  """Of what was seen of each image.

  Args:
    source: the pairs, with labels.
    seen: for each pair a confusion matrix, or (detections, true boxes) as
      `metrics.detection.average_precision` has them.
  """
  kind, classes = str(source.kind), tuple(source.classes)
  if kind == "segmentation":
    parts: Any = np.stack(seen)
  else:
    detected, true = zip(*seen, strict=True)
    parts = weighted.match(detected, true, classes)
  return Contributions(kind, classes, tuple(source.names), blocks_of(source), parts)


def write(path: Path, of_split: Contributions) -> None:
  """Writes one `.npz` file, whole or not at all."""
  arrays: dict[str, Any] = {
    "kind": np.array(of_split.kind),
    "classes": np.array(of_split.classes),
    "names": np.array(of_split.names),
    "blocks": of_split.blocks,
  }
  if of_split.kind == "segmentation":
    arrays["matrices"] = of_split.parts
  else:
    for index, matches in enumerate(of_split.parts):
      arrays |= {f"{name}_{index}": array for name, array in matches._asdict().items()}
  with atomic_write(path) as part, part.open("wb") as file:
    np.savez_compressed(file, **arrays)


def read(path: Path) -> Contributions:
  """What `write` wrote.

  Raises:
    UsageError: it cannot be read, or does not hold that.
  """
  arrays = _arrays(path)
  unfit = UsageError(f"{path} does not hold what its run found on each image; {_AGAIN}.")
  try:
    kind, blocks = str(arrays["kind"]), arrays["blocks"]
    classes, names = (tuple(map(str, arrays[name])) for name in ("classes", "names"))
    parts: Any
    if kind == "segmentation":
      parts = arrays["matrices"]
      shape = (len(names), len(classes), len(classes))
      fits = parts.dtype.kind == "i" and parts.shape == shape and not (parts < 0).any()
    else:
      fields = Matches._fields
      parts = [Matches(*(arrays[f"{f}_{i}"] for f in fields)) for i in range(len(classes))]
      fits = all(_fit(matches, len(names)) for matches in parts)
    fits &= blocks.shape == (len(names),) and _numbers(blocks, len(names))
  except (KeyError, TypeError, ValueError) as error:
    raise unfit from error
  if not fits:
    raise unfit
  return Contributions(kind, classes, names, blocks, parts)


def _arrays(path: Path) -> dict[str, np.ndarray]:
  try:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
      return dict(arrays)
  except _DAMAGE as error:
    why = reason(error) if isinstance(error, OSError) else error
    raise UsageError(f"{path} cannot be read: {why}; {_AGAIN}.") from error


def _numbers(values: np.ndarray, count: int) -> bool:
  """Whether they are whole and from 0 to count - 1."""
  return values.dtype.kind == "i" and not ((values < 0) | (values >= count)).any()


def _fit(matches: Matches, images: int) -> bool:
  found = matches.image
  whole = found.ndim == 1 and matches.hits.dtype == bool and matches.true.dtype.kind in "fi"
  shapes = matches.hits.shape == (10, len(found)) and matches.true.shape == (images,)
  return whole and shapes and _numbers(found, images)
