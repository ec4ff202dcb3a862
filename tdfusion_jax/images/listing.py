"""Images of a folder, listed and paired by name."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tdfusion_jax.images.opening import ImageError
from tdfusion_jax.remote.addresses import Address

EXTENSIONS = (
  *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".tif", ".tiff", ".webp", ".avif"),
  *(".jp2", ".j2k", ".jpf", ".jpx", ".pgm", ".ppm", ".pnm", ".pbm", ".pfm"),
)
"""Of image files, in lower case; nothing else in a folder is looked at, but it is counted."""


Place = Path | Address


class Listing(NamedTuple):
  """Files of a folder."""

  files: dict[str, Any]
  """By `composed` stem, in name order."""
  clashes: list[tuple[Place, Place]]
  """(the file in `files`, a further file of the same stem)."""
  others: list[Place]
  """What has another extension, and pipes, sockets and devices whatever they are called."""

  def passed_over(self, folder: str | Place) -> str:
    """A line that counts `others` by their kind; empty if there are none."""
    if not self.others:
      return ""
    kinds = Counter(_kind(path) for path in self.others)
    counted = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    return f"{folder}: {len(self.others)} not looked at ({counted})"


def _kind(path: Place) -> str:
  if isinstance(path, Address):
    return path.suffix.lower() or "without an extension"
  if not path.exists():
    return "broken link"
  special = path.suffix.lower() in EXTENSIONS or not path.is_file()
  return "pipe, socket or device" if special else path.suffix.lower() or "without an extension"


def composed(name: str) -> str:
  """`name` with each accent and its letter as one character (NFC).

  macOS stores names with the two apart, most others together: what looks alike is one name here.
  """
  return unicodedata.normalize("NFC", name)


def list_files(folder: Path, extensions: Sequence[str] = EXTENSIONS) -> Listing:
  """The files with one of `extensions` (lower case); hidden files are skipped."""
  inside = (path for path in sorted(folder.iterdir()) if not path.is_dir())
  return _listing(((path, path.is_file()) for path in inside), extensions)


def list_addresses(folder: Address, extensions: Sequence[str] = EXTENSIONS) -> Listing:
  """`list_files` of a folder that is elsewhere.

  Raises:
    RemoteError: it cannot be listed.
  """
  inside = sorted(name for name, is_file in folder.names().items() if is_file)
  return _listing(((folder / name, True) for name in inside), extensions)


def _listing(inside: Iterable[tuple[Place, bool]], extensions: Sequence[str]) -> Listing:
  """Of (what is in a folder and is no folder, whether it is a plain file), in name order."""
  listing = Listing({}, [], [])
  for place, plain in inside:
    if place.name.startswith("."):
      continue
    if place.suffix.lower() not in extensions or not plain:
      listing.others.append(place)
      continue
    first = listing.files.setdefault(composed(place.stem), place)
    if first is not place:
      listing.clashes.append((first, place))
  return listing


def passed_over(*folders: str | Path) -> list[str]:
  """A line for each folder, of those that are folders, that holds files not looked at."""
  found = [folder for folder in dict.fromkeys(folders) if Path(folder).is_dir()]
  lines = [list_files(Path(folder)).passed_over(folder) for folder in found]
  return [line for line in lines if line]


def list_images(folder: str | Path) -> dict[str, Path]:
  """The images of a folder by stem, in name order.

  Raises:
    ImageError: no such folder, no image in it, or two of one stem.
  """
  return _folder(folder).files


def _folder(folder: str | Place) -> Listing:
  if isinstance(folder, Address):
    listing = list_addresses(folder)
  elif Path(folder).is_dir():
    listing = list_files(Path(folder))
  else:
    raise ImageError(f"{folder} is not a folder.")
  for first, second in listing.clashes:
    raise ImageError(f"{first} and {second} have the same name.")
  if not listing.files:
    others = listing.passed_over(folder)
    raise ImageError(
      f"{folder} holds no image ({', '.join(EXTENSIONS)}).{others and f' {others}.'}"
    )
  return listing


def list_pairs(ir_dir: str | Place, vi_dir: str | Place) -> list[tuple[str, Any, Any]]:
  """(name, infrared file, visible file) of two folders, paired by equal file stems, in name order.

  Files of a folder are what the folder is: `Path` or `Address`.

  Raises:
    ImageError: a folder is missing or empty, two files share a stem, or files have no partner
      (listed).
  """
  sides = [_folder(folder) for folder in (ir_dir, vi_dir)]
  ir, vi = (side.files for side in sides)
  lonely = []
  for here, there, folder in ((*sides, vi_dir), (*sides[::-1], ir_dir)):
    unread = {composed(path.stem): path for path in there.others}
    for name in sorted(here.files.keys() - there.files.keys()):
      why = f"{unread[name]} is not of a kind that is read" if name in unread else ""
      lonely.append(f"{here.files[name]} has no partner in {folder}{why and f': {why}'}")
  if lonely:
    more = f"\n  and {len(lonely) - 10} more" if len(lonely) > 10 else ""
    raise ImageError("files are paired by equal names, but\n  " + "\n  ".join(lonely[:10]) + more)
  return [(name, ir[name], vi[name]) for name in sorted(ir)]
