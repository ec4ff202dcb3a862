"""Where the parts of a folder of the user's own pairs lie: `ir`, `vi`, `labels`, or other names."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tdfusion_jax.data.source import DatasetError

PARTS = ("ir", "vi", "labels")
SPLIT = "{split}"
"""Stands for the name of a split in a path."""


class Places(NamedTuple):
  """The folders of one split."""

  base: Path
  """Beside `folds.txt`."""
  ir: Path
  vi: Path
  labels: Path
  above: tuple[Path, ...]
  """Where the classes may be listed, if not among the labels."""
  own_labels: bool = True
  """False where one folder holds the labels of several splits."""


def parse_folders(text: str) -> dict[str, str]:
  """{"ir": path, ...} of `ir=thermal/{split},vi=rgb/{split}`; paths are below the root.

  Raises:
    DatasetError: another form, an unknown or missing part, or one that stands there twice.
  """
  found: dict[str, str] = {}
  for item in filter(None, (item.strip() for item in text.split(","))):
    part, _, path = (word.strip() for word in item.partition("="))
    inside = bool(path) and not Path(path).is_absolute() and ".." not in Path(path).parts
    if part not in PARTS or not inside or part in found:
      raise DatasetError(f"folders={text!r}: {_NEEDED}, and {item!r} does not fit")
    found[part] = path
  if text and not {"ir", "vi"} <= found.keys():
    raise DatasetError(f"folders={text!r}: {_NEEDED}; ir and vi must both be there")
  return found


_NEEDED = "'ir=DIR,vi=DIR,labels=DIR' is needed, with {split} where a path has a split's name"


def places_of(root: Path, split: str, folders: str = "") -> Places:
  """Where the parts of `split` lie.

  Args:
    root: the data set's folder.
    split: its name.
    folders: as for `parse_folders`; without it they are `<root>/<split>/ir` and so on, or
      `<root>/ir` and so on where there is no folder of the split's name.
  """
  given = parse_folders(folders)
  if not given:
    above = (root / split, root) if (root / split).is_dir() else (root,)
    base = above[0]
    return Places(base, base / "ir", base / "vi", base / "labels", above)
  ir, vi, labels = (root / given.get(part, part).replace(SPLIT, split) for part in PARTS)
  shared = SPLIT in given["ir"] and SPLIT not in given.get("labels", "labels")
  return Places(root, ir, vi, labels, (labels.parent, root), not shared)


def splits_of(root: Path, folders: str) -> list[str]:
  """The splits on the disk for which `folders` names an infrared or a visible folder."""
  given: Mapping[str, str] = parse_folders(folders)
  found = set()
  for pattern in (given["ir"], given["vi"]):
    if SPLIT not in pattern:
      continue
    # The first place of the name decides, any further one must repeat it.
    first, *others = (re.escape(part) for part in pattern.split(SPLIT))
    fits = re.compile(first + "(?P<split>[^/]+?)" + "(?P=split)".join(others) + "/?")
    for path in root.glob(pattern.replace(SPLIT, "*")):
      match = fits.fullmatch(path.relative_to(root).as_posix()) if path.is_dir() else None
      if match:
        found.add(match["split"])
  return sorted(found)
