"""`data.yaml` of Ultralytics and Roboflow: which images are for training and for validation."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from tdfusion_jax.data.fields import short
from tdfusion_jax.data.labels.classes import read_yaml
from tdfusion_jax.data.source import DatasetError

_NAMES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
_SPLITS = ("train", "val", "test")


def find_yaml(root: Path) -> Path | None:
  """The file in `root`; None without one."""
  return next((root / name for name in _NAMES if (root / name).is_file()), None)


def folders_of(file: Path) -> dict[str, str]:
  """{"train": folder of images, ...}, below the folder of `file`, of the keys that it has.

  `path` counts where that folder is there, as on the machine that wrote it; else the folder of
  `file` stands for it, and a leading `../` is taken for `./`, which Roboflow means.

  Raises:
    DatasetError: a key names no folder: a list, a file, or what is not there.
  """
  content = read_yaml(file)
  root = file.parent.resolve()
  return {key: _folder(content, key, file, root) for key in _SPLITS if content.get(key)}


def _folder(content: Mapping[Any, Any], key: str, file: Path, root: Path) -> str:
  value = content[key]
  if not isinstance(value, str) or value.endswith(".txt"):
    raise DatasetError(f"{file}: {key} is {short(value)}; one folder of images is needed")
  value = value.replace("\\", "/")
  base = content.get("path")
  bases = [root / base] if isinstance(base, str) else []
  below = PurePosixPath(*(part for part in PurePosixPath(value).parts if part not in ("..", "/")))
  for folder in (*(base / value for base in (*bases, root)), root / below):
    inside = folder.resolve()
    if inside.is_dir() and inside.is_relative_to(root):
      return inside.relative_to(root).as_posix()
  raise DatasetError(f"{file}: {key} is {short(value)}, and there is no such folder in {root}")
