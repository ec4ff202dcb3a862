"""Images of a folder, listed and paired by name."""

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tdfusion_jax.images.reading import ImageError

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
"""Of image files, in lower case; nothing else in a folder is looked at."""


class Listing(NamedTuple):
  """Files of a folder."""

  files: dict[str, Path]
  """By `composed` stem, in name order."""
  clashes: list[tuple[Path, Path]]
  """(the file in `files`, a further file of the same stem)."""


def composed(name: str) -> str:
  """`name` with each accent and its letter as one character (NFC).

  macOS stores names with the two apart, most others together: what looks alike is one name here.
  """
  return unicodedata.normalize("NFC", name)


def list_files(folder: Path, extensions: Sequence[str] = EXTENSIONS) -> Listing:
  """The files with one of `extensions` (lower case); hidden files are skipped."""
  listing = Listing({}, [])
  for path in sorted(folder.iterdir()):
    if path.name.startswith(".") or path.suffix.lower() not in extensions or not path.is_file():
      continue
    first = listing.files.setdefault(composed(path.stem), path)
    if first is not path:
      listing.clashes.append((first, path))
  return listing


def list_images(folder: str | Path) -> dict[str, Path]:
  """The images of a folder by stem, in name order.

  Raises:
    ImageError: no such folder, no image in it, or two of one stem.
  """
  folder = Path(folder)
  if not folder.is_dir():
    raise ImageError(f"{folder} is not a folder.")
  files, clashes = list_files(folder)
  for first, second in clashes:
    raise ImageError(f"{first} and {second} have the same name.")
  if not files:
    raise ImageError(f"{folder} holds no image ({', '.join(EXTENSIONS)}).")
  return files


def list_pairs(ir_dir: str | Path, vi_dir: str | Path) -> list[tuple[str, Path, Path]]:
  """(name, infrared file, visible file) of two folders, paired by equal file stems, in name order.

  Raises:
    ImageError: a folder is missing or empty, two files share a stem, or files have no partner
      (listed).
  """
  ir, vi = list_images(ir_dir), list_images(vi_dir)
  lonely = [f"{ir[name]} has no partner in {vi_dir}" for name in sorted(ir.keys() - vi.keys())]
  lonely += [f"{vi[name]} has no partner in {ir_dir}" for name in sorted(vi.keys() - ir.keys())]
  if lonely:
    more = f"\n  and {len(lonely) - 10} more" if len(lonely) > 10 else ""
    raise ImageError("files are paired by equal names, but\n  " + "\n  ".join(lonely[:10]) + more)
  return [(name, ir[name], vi[name]) for name in sorted(ir)]
