"""The sources that records are made of, by split, and whether records are theirs."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tdfusion_jax.data.readers import check_reader_options, get_source
from tdfusion_jax.data.records.source import plain_options
from tdfusion_jax.data.source import DatasetError, Source

Options = Mapping[str, Mapping[str, Any]]
"""Reader options by split; under "" those of every split."""


def splits_of(name: str, root: Path | None) -> list[str]:
  """The splits of data set `name`."""
  if name != "folder":
    return ["train", "test"]
  found = [p.name for p in sorted(root.iterdir()) if (p / "ir").is_dir()] if root else []
  return found or ["train"]  # one set of pairs, whatever split is asked for


def of_split(options: Options, split: str) -> dict[str, Any]:
  """The reader options of one split."""
  return {**options.get("", {}), **options.get(split, {})}


def files_digest(source: Source) -> str:
  """Equal for equal files: names, sizes of the images, contents of the labels."""
  digest = hashlib.sha256()
  labels: dict[Path, str] = {}  # one COCO file belongs to every pair
  for name, ir, vi, label in getattr(source, "pairs", ()):
    if label is not None and label not in labels:
      labels[label] = hashlib.sha256(label.read_bytes()).hexdigest()
    digest.update(
      f"{name!r} {ir.stat().st_size} {vi.stat().st_size} {label and labels[label]}\n".encode()
    )
  return digest.hexdigest()


def open_splits(
  name: str, root: Path | None, options: Options, splits: Sequence[str] | None
) -> dict[str, Source]:
  """The source of every split to prepare: faults are found before anything is written."""
  wanted = list(splits or splits_of(name, root))
  if name == "folder" and root is not None and (root / "ir").is_dir() and wanted != ["train"]:
    raise DatasetError(
      f"{root} holds one set of pairs, not splits; leave out --splits={','.join(wanted)}"
    )
  unknown = sorted(options.keys() - {"", *wanted})
  if unknown:
    raise DatasetError(
      f"options are given for {', '.join(unknown)}, but the splits are {', '.join(wanted)}"
    )
  for split in wanted:
    check_reader_options(name, of_split(options, split))
  sources = {
    split: get_source(name, root=root, split=split, **of_split(options, split)) for split in wanted
  }
  first = sources[wanted[0]]
  for split, source in sources.items():
    if (source.kind, source.classes) != (first.kind, first.classes):
      raise DatasetError(
        f"{root}: split {split!r} holds {_labels_of(source)}, but {wanted[0]!r} "
        f"{_labels_of(first)}; build them in places of their own"
      )
    for stem in source.names:
      if stem != stem.encode("utf-8", "replace").decode():
        raise DatasetError(f"{root}: the file name {stem!r} is not UTF-8; rename it")
  return sources


def _labels_of(source: Source) -> str:
  return f"{source.kind or 'no labels'} ({', '.join(source.classes)})"


def require_same(
  folder: Path, made: Mapping[str, Any], sources: Mapping[str, Source], options: Options
) -> None:
  """Raises unless the records in `folder` are those that would be built now."""
  wanted = {split: plain_options(of_split(options, split)) for split in sources}
  if wanted != made["options"]:
    raise DatasetError(
      f"{folder}: holds records of other splits or options; remove them or use another data_dir"
    )
  for split, digest in made.get("files", {}).items():
    if digest != files_digest(sources[split]):
      raise DatasetError(
        f"{folder}: its split {split!r} was built from other files; remove the records, "
        "to build them anew, or use another data_dir"
      )
