"""The folders below a root, and what their names and files say about what they hold."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from tdfusion_jax.data.labels.classes import NO_LABELS
from tdfusion_jax.data.readers.places import SPLIT
from tdfusion_jax.files import UsageError
from tdfusion_jax.images.listing import EXTENSIONS, composed

_WORDS = {
  "label": "label labels mask masks segmentation annotation annotations annots gt seg",
  "ir": "ir infrared inf thermal lwir mwir nir tir therm",
  "vi": "vi vis visible visual rgb eo color colour optical",
}
_ROLES = {word: role for role, words in _WORDS.items() for word in words.split()}
_SPLITS = ("train", "training", "val", "valid", "validation", "test", "testing")
_SPLIT = re.compile(rf"(?<![A-Za-z])({'|'.join(_SPLITS)})(?![A-Za-z])", re.IGNORECASE)
_DEEPEST = 5
_MOST = 5000  # folders; a root above them all was hardly meant
_TEXTS = (".txt", ".xml", ".json")


class Held(NamedTuple):
  """What one folder holds itself, without those inside it."""

  path: str
  """Below the root, with "/"; "." is the root."""
  role: str
  """"ir", "vi", "label" by its name, or "" where that says nothing."""
  images: frozenset[str]
  """Stems."""
  texts: frozenset[str]
  """Stems of what may be label files."""

  @property
  def pattern(self) -> str:
    """The path with `{split}` where it names a split."""
    return pattern_of(self.path)[0]

  @property
  def split(self) -> str:
    """The name of the split; "" without one."""
    return pattern_of(self.path)[1]


def scan(root: Path) -> list[Held]:
  """Every folder that holds images or label files, by name.

  Raises:
    UsageError: too many folders to look at.
  """
  found = []
  for number, (here, folders, files) in enumerate(os.walk(root)):
    if number >= _MOST:
      raise UsageError(f"{root}: over {_MOST} folders; give the one that holds the pairs")
    path = Path(here).relative_to(root)
    deep = len(path.parts) >= _DEEPEST
    folders[:] = [] if deep else sorted(name for name in folders if not name.startswith("."))
    shown = [name for name in files if not name.startswith(".")]
    images = _stems(shown, EXTENSIONS)
    texts = _stems((name for name in shown if name not in NO_LABELS), _TEXTS)
    if images or texts:
      found.append(Held(path.as_posix(), role_of(path.parts), images, texts))
  return sorted(found)


def _stems(names: Iterable[str], endings: tuple[str, ...]) -> frozenset[str]:
  paths = map(Path, names)
  return frozenset(composed(path.stem) for path in paths if path.suffix.lower() in endings)


def role_of(parts: Iterable[str]) -> str:
  """What a path's words say that it holds; the last part that says something counts.

  Words end at signs, at digits and at capitals: `visible_train`, `imagesIR`.
  """
  for part in reversed(list(parts)):
    words = [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", part)]
    roles = {_ROLES[word] for word in words if word in _ROLES}
    if "label" in roles:
      return "label"
    if len(roles) == 1:
      return roles.pop()
  return ""


def pattern_of(path: str) -> tuple[str, str]:
  """(`path` with `{split}` in the place of a split's name, that name); as it is without one."""
  names = set(_SPLIT.findall(path))
  if len(names) != 1:
    return path, ""
  return _SPLIT.sub(SPLIT, path), names.pop()
