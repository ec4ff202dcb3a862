"""What is asked where a folder does not say enough: what was seen, and how to answer."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tdfusion_jax.files import UsageError
from tdfusion_jax.init.scan import Held

_SHOWN = 8


class UnclearError(UsageError):
  """A question to the user, of one screen."""


def no_pairs(
  root: Path,
  images: Sequence[Held],
  infrared: Sequence[Held],
  visible: Sequence[Held],
  given: Mapping[str, str],
) -> str:
  """Where no two folders hold pairs.

  Args:
    root: the folder that was looked at.
    images: the folders with images.
    infrared: those taken for infrared ones.
    visible: those taken for visible ones.
    given: what the user named.
  """
  if not images:
    return f"{root} holds no image, nor does a folder in it. {_NEEDED}"
  absent = [f"--{part}={path}" for part, path in given.items() if part != "labels"]
  seen = "\n".join(_lines(images))
  head = f"No infrared and visible pairs were found in {root}. Folders with images:\n{seen}\n"
  if infrared and visible:
    ir, vi = infrared[0], visible[0]
    return (
      f"{head}\n{ir.path} and {vi.path} look like infrared and visible images, but their names "
      f"differ:\n  {_names(ir)}\n  {_names(vi)}\nA pair needs one name in both: rename the files."
    )
  if absent:
    return f"{head}\n{' and '.join(absent)}: no such folder with images in {root}."
  if len(images) == 1:
    return f"{head}\nThat is one kind of image only. {_NEEDED}"
  return (
    f"{head}\nWhich folder is infrared, and which visible? Name them, below {root}:\n"
    f"  tdfusion init {root} --ir={images[0].pattern} --vi={images[1].pattern}\n"
    "Both images of a pair need the same name and size."
  )


_NEEDED = """Pairs are needed:
two folders, such as ir/ and vi/, with files of equal names. `tdfusion init` also takes
train/ and test/ with the same inside, LLVIP, M3FD, MSRS and FMB as they are distributed, and
folders of a data.yaml."""


def several(root: Path, patterns: Sequence[tuple[str, str]]) -> str:
  """Where several pairs of folders are there.

  Args:
    root: the folder that was looked at.
    patterns: (infrared, visible) of each.
  """
  lines = [f"  --ir={ir} --vi={vi}" for ir, vi in sorted(patterns)]
  more = [f"  ... and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
  shown = "\n".join(lines[:_SHOWN] + more)
  return f"{root} holds several sets of pairs. Which one? Repeat the command with one of\n{shown}"


def which_set(root: Path, folders: Sequence[str]) -> str:
  """Where each of several folders is a data set of its own.

  Args:
    root: the folder that was looked at.
    folders: below it.
  """
  lines = [f"  tdfusion init {root / folder}" for folder in folders[:_SHOWN]]
  more = [f"  ... and {len(folders) - _SHOWN} more"] if len(folders) > _SHOWN else []
  shown = "\n".join(lines + more)
  return (
    f"{root} holds pairs in several folders, and none of them is called train or test. Which one?\n"
    f"{shown}"
  )


def which_classes(root: Path, reason: str) -> str:
  """Where labels name their classes by number only.

  Args:
    root: the folder that was looked at.
    reason: of the reader.
  """
  where = reason.partition(": ")[0]
  return (
    f"{where} holds labels, but no list of class names. Which classes are these, from number 0 "
    f"on?\n  tdfusion init {root} --classes=person,car"
  )


def _lines(images: Sequence[Held]) -> list[str]:
  width = max(len(h.path) for h in images[:_SHOWN])
  lines = [f"  {h.path:<{width}}  {_count(h)}" for h in images[:_SHOWN]]
  more = len(images) - _SHOWN
  return lines + ([f"  ... and {more} more"] if more > 0 else [])


def _count(folder: Held) -> str:
  return f"{len(folder.images)} image{'s' if len(folder.images) != 1 else ''}"


def _names(folder: Held) -> str:
  return ", ".join(sorted(folder.images)[:3]) + (", ..." if len(folder.images) > 3 else "")
