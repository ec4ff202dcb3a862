"""Lists of class names, as labelImg, CVAT, Roboflow, Label Studio and Ultralytics leave them."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tdfusion_jax.data.fields import read_text, short
from tdfusion_jax.data.source import DatasetError

CLASS_FILES = (
  "classes.txt",
  "obj.names",
  "classes.names",
  "_darknet.labels",
  "data.yaml",
  "data.yml",
  "dataset.yaml",
  "dataset.yml",
)
"""Looked for in this order."""
NO_LABELS = frozenset({*CLASS_FILES, "labelmap.txt", "predefined_classes.txt", "notes.json"})
"""Files that may lie beside labels and are none."""
YAML = (".yaml", ".yml")
MAX_YAML_BYTES = 64 << 10
_MOST_BRACKETS = 100  # inside each other, of a YAML file


class ClassList(NamedTuple):
  """Class names, index = class id."""

  names: tuple[str, ...]
  path: Path


def listed_classes(folders: Iterable[Path]) -> ClassList | None:
  """The list in the first of `folders` that has one; None without any.

  Raises:
    DatasetError: an unreadable list, or two lists in one folder that differ.
  """
  for folder in folders:
    lists = [ClassList(read_classes(path), path) for path in _class_files(folder)]
    for other in lists[1:]:
      if other.names != lists[0].names:
        raise DatasetError(
          f"{lists[0].path} lists the classes {', '.join(lists[0].names)}, but {other.path} "
          f"{', '.join(other.names)}; keep the right one"
        )
    if lists:
      return lists[0]
  return None


def _class_files(folder: Path) -> list[Path]:
  return [folder / name for name in CLASS_FILES if (folder / name).is_file()]


def read_classes(path: Path) -> tuple[str, ...]:
  """The names in a file of one name a line, or in Ultralytics' `data.yaml` (`names`).

  Raises:
    DatasetError: the file cannot be read, or has no such list.
  """
  if path.suffix.lower() in YAML:
    return _yaml_names(read_yaml(path), path)
  lines = read_text(path).splitlines()
  return tuple(line.strip() for line in lines if line.strip())


class _PlainLoader(yaml.SafeLoader):
  """Plain values without aliases: a few lines of those can stand for more than fits in memory."""

  def compose_node(self, parent: Any, index: Any) -> Any:
    if self.check_event(yaml.events.AliasEvent):
      raise yaml.YAMLError("it refers to a part of itself by *name, which is not followed")
    return super().compose_node(parent, index)


def read_yaml(path: Path) -> Mapping[Any, Any]:
  """The fields of a small YAML file; only plain values are read.

  Raises:
    DatasetError: too large, no YAML, or no fields.
  """
  text = read_text(path, MAX_YAML_BYTES)
  if _depth(text) > _MOST_BRACKETS:  # PyYAML's time grows with the square
    raise DatasetError(f"{path}: cannot be read as YAML (brackets are nested too deeply)")
  try:
    content = yaml.load(text, _PlainLoader)
  except (yaml.YAMLError, ValueError, RecursionError) as error:
    if isinstance(error, DatasetError):
      raise
    text = " ".join(str(error).split())
    raise DatasetError(f"{path}: cannot be read as YAML ({text[:200]})") from None
  if not isinstance(content, Mapping):
    raise DatasetError(f"{path}: no fields such as names: [person, car]")
  return content


def _depth(text: str) -> int:
  """How deep brackets are nested; those in quotes count too, which a list of classes affords."""
  deepest = depth = 0
  for bracket in re.findall(r"[\[{}\]]", text):
    depth += 1 if bracket in "[{" else -1
    deepest = max(deepest, depth)
  return deepest


def _yaml_names(content: Mapping[Any, Any], path: Path) -> tuple[str, ...]:
  """`names`, a list or a table by number."""
  found = content.get("names")
  if isinstance(found, Mapping):
    keys = {str(key): value for key, value in found.items()}
    wanted = [str(i) for i in range(len(found))]
    if sorted(keys) != sorted(wanted):
      raise DatasetError(f"{path}: names must be numbered 0 to {len(found) - 1} without a gap")
    found = [keys[key] for key in wanted]
  if not isinstance(found, list):
    raise DatasetError(f"{path}: names is {short(found)}, no list of class names")
  for i, name in enumerate(found):
    if isinstance(name, bool) or not isinstance(name, (str, int, float)):
      raise DatasetError(f"{path}: names[{i}] is {short(name)}, no text; write it in quotes")
  if content.get("nc") not in (None, len(found)):
    raise DatasetError(f"{path}: nc is {short(content['nc'])}, but there are {len(found)} names")
  return tuple(str(name).strip() for name in found)


def given_classes(text: str | Sequence[str] | None) -> tuple[str, ...] | None:
  """Names that a user gave: a list, `a,b`, or a file that lists them; None for none.

  Raises:
    DatasetError: see `read_classes`.
  """
  if not text:
    return None
  if not isinstance(text, str) and len(text) != 1:
    return tuple(text)
  text = text if isinstance(text, str) else text[0]
  path = Path(text).expanduser()
  if path.suffix.lower() in (*YAML, ".txt", ".names") and "," not in text:
    return read_classes(path)
  return tuple(name.strip() for name in text.split(",") if name.strip())


def class_names(
  labels: Path, classes: str | Sequence[str] | None, above: Sequence[Path] = ()
) -> tuple[str, ...]:
  """`classes`, or the list in a label folder, or in the first of `above` that has one.

  Raises:
    DatasetError: no names, or not 1 to 255 different ones.
  """
  names, origin = given_classes(classes), labels
  if names is None:
    found = listed_classes((labels, *above))
    if found is None:
      raise DatasetError(
        f"{labels}: class names are needed: write classes.txt there (one a line), or a data.yaml "
        "with names, or give option classes (data.train_options.classes and "
        "data.val_options.classes for training, --option classes=A,B for records, --classes=A,B)"
      )
    names, origin = found
  if not 0 < len(names) < 256 or len(set(names)) != len(names):
    found = f"{len(names)}: {', '.join(names[:5])}" if names else "none"
    raise DatasetError(f"{origin}: 1 to 255 different class names are needed, got {found}")
  return names
