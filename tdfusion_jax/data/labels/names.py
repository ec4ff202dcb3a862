"""Which image a label belongs to: the names of images in label files, on any system."""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

from tdfusion_jax.data.fields import short
from tdfusion_jax.data.images import safe_stem
from tdfusion_jax.data.source import DatasetError
from tdfusion_jax.images.listing import EXTENSIONS

T = TypeVar("T")


def image_name(text: object) -> str:
  r"""The file name in what a label file says about its image; "" where it says nothing.

  Paths of Windows and Unix and addresses are taken: of `D:\img\a.jpg`, `./a.jpg`,
  `s3://bucket/a.jpg` and Label Studio's `/data/local-files/?d=img/a.jpg` it is `a.jpg`.
  """
  if not isinstance(text, str):
    return ""
  return PurePosixPath(_plain(text)).name


def _plain(text: str) -> str:
  """The text as a path of Unix."""
  text = text.strip()
  local = text.startswith("/data/local-files/")
  if "://" in text or local:
    try:
      address = urlsplit(text)
    except ValueError:  # no address after all
      return text
    text = parse_qs(address.query).get("d", [""])[0] if local else unquote(address.path)
  text = text.replace("\\", "/")
  return re.sub(r"^[A-Za-z]:", "", text)


def image_stem(text: object, path: Path, where: str) -> str:
  """The stem of an image's name in a label file.

  Args:
    text: as in the file, see `image_name`.
    path: the label file, for messages.
    where: the field, for messages.

  Raises:
    DatasetError: no name, or one that cannot be an image's.
  """
  if not isinstance(text, str):
    raise DatasetError(f"{path}: {where} is {short(text)}, not a name")
  plain = PurePosixPath(_plain(text))
  # Only the last part is used; but what leads elsewhere and names no image is no name of one.
  foreign = plain.is_absolute() and plain.suffix.lower() not in EXTENSIONS
  if foreign or ".." in plain.parts or not plain.parts:
    raise DatasetError(
      f"{path}: {where} is {short(text)}, not a plain file name inside the data set's folder"
    )
  return safe_stem(plain.name, path)


def fitted(found: Mapping[str, T], known: Collection[str]) -> tuple[dict[str, T], int]:
  """(labels by the stems of images, how many had another name).

  Tools rename images when they are uploaded: `my image.png` becomes `my%20image.png`, Label Studio
  puts eight letters and a dash in front, Roboflow `_png.rf.` and a key behind. Where no image has
  the name, and one has it without that, the label belongs to that one; but not if another label
  does already.

  Args:
    found: labels by stem.
    known: the stems of the images that there are.
  """
  names = set(known)
  targets = {stem: next((name for name in _origins(stem) if name in names), stem) for stem in found}
  times = Counter(targets.values())
  renamed = {stem for stem, name in targets.items() if name != stem and times[name] == 1}
  fitting = {targets[stem] if stem in renamed else stem: item for stem, item in found.items()}
  return fitting, len(renamed)


def _origins(stem: str) -> Iterator[str]:
  """The stem, and those that an upload may have made it of."""
  yield stem
  for text in (stem, unquote(stem)):
    yield text
    for pattern in (r"[0-9a-f]{8}-(.+)", r"(.+)_[A-Za-z]{3,4}\.rf\.\w{16,}"):
      match = re.fullmatch(pattern, text)
      if match:
        yield match[1]
