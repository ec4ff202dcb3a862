"""Folds: parts of a small data set that take turns at being the test set.

A list gives each pair's fold. Neighbouring frames of a video are alike, so a fold is best made of
blocks of neighbours: what stands together in the list with one fold is a block, and intervals are
to be drawn block by block.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

from tdfusion_jax.data.fields import read_text, short
from tdfusion_jax.data.source import DatasetError

FILE = "folds.txt"
"""Beside `ir/` and `vi/`: a line `NAME FOLD` for each pair."""
SPLITS = ("train", "val", "test")
_CHOSEN = 5  # one of so many training pairs is for choices
_FOLD = re.compile(r"[0-9]{1,6}")


def read_folds(path: Path) -> dict[str, int]:
  """{name of a pair: its fold}, in the order of the file.

  Raises:
    DatasetError: no such file, a line of another form, or a name that stands there twice.
  """
  if not path.is_file():
    raise DatasetError(f"{path} is missing: a line NAME FOLD for each pair, folds from 0 on")
  folds: dict[str, int] = {}
  for number, line in enumerate(read_text(path).splitlines(), 1):
    words = line.rsplit(maxsplit=1)  # a name may have spaces
    if not words:
      continue
    if len(words) != 2 or not _FOLD.fullmatch(words[1]):
      raise DatasetError(f"{path}: line {number}: {short(line)} is not NAME FOLD, such as 00004N 0")
    name = words[0].strip()
    if name in folds:
      raise DatasetError(f"{path}: line {number} repeats {short(name)}")
    folds[name] = int(words[1])
  return folds


def blocks_of(folds: Mapping[str, int]) -> list[list[str]]:
  """The names block by block: neighbours in the list that have one fold."""
  return [list(names) for _, names in groupby(folds, key=folds.__getitem__)]


def block_numbers(folds: Mapping[str, int], names: Sequence[str]) -> list[int]:
  """Which block each of `names` is of, counted through the whole list."""
  numbers = {name: i for i, block in enumerate(blocks_of(folds)) for name in block}
  return [numbers[name] for name in names]


def in_split(folds: Mapping[str, int], fold: int, split: str) -> list[str]:
  """The names of one split while `fold` is the test set.

  "test" is the fold; the last fifth of each block of the others is "val", for choices, and the rest
  "train". (Where blocks have fewer than five pairs, every fifth block is "val".)

  Args:
    folds: as from `read_folds`.
    fold: one of them.
    split: one of `SPLITS`.

  Raises:
    DatasetError: no such fold or split.
  """
  there = sorted(set(folds.values()))
  if fold not in there:
    raise DatasetError(f"fold={fold}: {FILE} has the folds {', '.join(map(str, there))}")
  if split not in SPLITS:
    raise DatasetError(f"with fold={fold} there is no split {split!r}; known: {', '.join(SPLITS)}")
  if split == "test":
    return [name for name, own in folds.items() if own == fold]
  others = [block for block in blocks_of(folds) if folds[block[0]] != fold]
  val = dict.fromkeys(_for_choices(others))
  if split == "val":
    return list(val)
  return [name for block in others for name in block if name not in val]


def _for_choices(blocks: Sequence[Sequence[str]]) -> list[str]:
  if all(len(block) < _CHOSEN for block in blocks):
    return [name for block in blocks[_CHOSEN - 1 :: _CHOSEN] for name in block]
  return [name for block in blocks for name in block[len(block) - len(block) // _CHOSEN :]]
