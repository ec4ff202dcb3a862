"""Which folders hold infrared images, visible images and labels, and which split is for what."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tdfusion_jax.data.folds import FILE, read_folds
from tdfusion_jax.data.readers import DATASETS
from tdfusion_jax.data.readers.places import splits_of
from tdfusion_jax.data.verify.layout import label_form
from tdfusion_jax.init.datayaml import find_yaml, folders_of
from tdfusion_jax.init.questions import UnclearError, no_pairs, several, which_set
from tdfusion_jax.init.scan import Held, pattern_of, scan

_OFFICIAL = ("llvip", "m3fd", "msrs", "fmb")
_HELD_OUT = ("test", "testing", "val", "valid", "validation")
_PAIRED = 0.5  # share of equal names from which two folders are meant as pairs


class Found(NamedTuple):
  """A data set as the readers know it."""

  dataset: str
  """As in `data.name`."""
  root: Path
  folders: str = ""
  """Of the folder reader; "" where they have its own names."""
  train: str = "train"
  """The name of the split."""
  val: str = ""
  """"" where there are no splits; the same as `train` where none is held out."""
  fold: bool = False
  """Whether `folds.txt` says what is held out."""
  others: tuple[str, ...] = ()
  """Further folders that may be labels."""

  @property
  def holds_out(self) -> bool:
    """Whether validation sees other pairs than training."""
    return self.fold or self.val not in ("", self.train)

  @property
  def options(self) -> dict[str, Any]:
    """Of the reader."""
    return {"folders": self.folders} if self.folders else {}


def find(root: Path, given: Mapping[str, str]) -> Found:
  """What lies in a folder.

  Args:
    root: the folder.
    given: "ir", "vi" and "labels" that the user named, below `root`.

  Raises:
    UnclearError: it cannot be known; its text says what was seen and how to answer.
    DatasetError: a list of folds or a `data.yaml` that cannot be read.
  """
  if not given:
    known = _official(root) or _standard(root)
    if known:
      return known
  held = scan(root)
  named = find_yaml(root)
  keys = folders_of(named) if named else {}
  pairs = _pairs(root, held, given, tuple(keys.values()))
  chosen = pairs[min(pairs)]
  labels, others = _labels(held, chosen, given)
  parts = dict(zip(("ir", "vi"), min(pairs), strict=True)) | ({"labels": labels} if labels else {})
  folders = ",".join(f"{part}={path}" for part, path in parts.items())
  by_folder = {image.path: split for split, two in chosen.items() for image in two}
  wanted = {key: by_folder[path] for key, path in keys.items() if path in by_folder}
  train, val = _train_and_val(tuple(filter(None, chosen)), wanted)
  fold = val in ("", train) and (root / FILE).is_file() and _foldable(root)
  return Found("folder", root, folders, train, val, fold, others)


def _official(root: Path) -> Found | None:
  """One of the data sets whose authors' layout is read."""
  for name in _OFFICIAL:
    layout = DATASETS[name].layout
    folders = layout.folders if layout else None
    if folders is None:
      continue
    there = [s for s in folders.splits if all(path.is_dir() for path in folders.of(root, s))]
    if there and {"train", "all"} & set(there):
      held_out = "test" if "test" in there or there == ["all"] else "train"
      return Found(name, root, val=held_out)
  return None


def _standard(root: Path) -> Found | None:
  """`ir/` and `vi/`, or a folder for each split with these inside."""
  if (root / "ir").is_dir() and (root / "vi").is_dir():
    label_form(root / "labels")  # an error where it holds several kinds
    others = [h.path for h in scan(root) if h.role == "label" and h.path != "labels"]
    return Found("folder", root, fold=_foldable(root), others=tuple(others))
  splits = splits_of(root, "ir={split}/ir,vi={split}/vi")
  if not splits:
    return None
  if not any(split == pattern_of(split)[1] for split in splits):
    if len(splits) > 1:
      raise UnclearError(which_set(root, splits))
    return None  # a folder in between: named with it
  train, val = _train_and_val(splits, {})
  return Found("folder", root, train=train, val=val)


def _foldable(root: Path) -> bool:
  file = root / FILE
  return file.is_file() and len(set(read_folds(file).values())) > 1


def _train_and_val(splits: Sequence[str], named: Mapping[str, str]) -> tuple[str, str]:
  """(split to train on, split to validate on); `named` comes from `data.yaml`."""
  if not splits:
    return "train", ""
  if "train" in named:
    return named["train"], named.get("val") or named.get("test") or named["train"]
  train = next((s for s in splits if s.lower() in ("train", "training")), "")
  if not train:
    return splits[0], splits[0]
  held_out = sorted((s for s in splits if s.lower() in _HELD_OUT), key=_order)
  return train, next(iter(held_out), train)


def _order(split: str) -> int:
  return _HELD_OUT.index(split.lower())


_Pairs = dict[tuple[str, str], dict[str, tuple[Held, Held]]]


def _pairs(
  root: Path, held: Sequence[Held], given: Mapping[str, str], keys: Sequence[str]
) -> _Pairs:
  """{(infrared pattern, visible pattern): {split: the two folders}}, of one entry."""
  images = [h for h in held if h.images]
  infrared = [h for h in images if _is(h, "ir", given)]
  visible = [h for h in images if _is(h, "vi", given)]
  if not visible and infrared and "vi" not in given:  # `images` beside `thermal`
    visible = [h for h in images if h.role == "" and h not in infrared]
  found: _Pairs = defaultdict(dict)
  for ir in infrared:
    same = [vi for vi in visible if vi.split == ir.split and vi.path != ir.path]
    share, vi = max(((_share(ir, vi), vi) for vi in same), key=lambda two: two[0], default=(0, ir))
    if share >= _PAIRED:
      found[ir.pattern, vi.pattern][ir.split] = ir, vi
  if keys:  # what data.yaml names counts, whatever else lies there
    named = {
      patterns: splits
      for patterns, splits in found.items()
      if any(h.path in keys for two in splits.values() for h in two)
    }
    found = named or found
  if not found:
    raise UnclearError(no_pairs(root, images, infrared, visible, given))
  if len(found) > 1:
    raise UnclearError(several(root, list(found)))
  return found


def _is(folder: Held, part: str, given: Mapping[str, str]) -> bool:
  if part in given:
    return folder.pattern == given[part] or folder.path == given[part]
  return folder.role == part and folder.path not in given.values()


def _share(ir: Held, vi: Held) -> float:
  return len(ir.images & vi.images) / max(len(ir.images), len(vi.images))


def _labels(
  held: Sequence[Held], pairs: Mapping[str, tuple[Held, Held]], given: Mapping[str, str]
) -> tuple[str, tuple[str, ...]]:
  """(pattern of the label folders or "", further ones)."""
  if "labels" in given:
    return given["labels"], ()
  used = {h.path for two in pairs.values() for h in two}
  covered: dict[str, int] = defaultdict(int)
  for folder in held:
    files = folder.texts or (folder.images if folder.role == "label" else frozenset())
    if folder.path in used or folder.path == ".":
      continue
    for split, (ir, _) in pairs.items():
      if folder.split in ("", split):
        covered[folder.pattern] += len(files & ir.images)
    if folder.role == "label":  # a COCO file has a name of its own
      covered[folder.pattern] += bool(files)
  ranked = sorted((-count, pattern) for pattern, count in covered.items() if count)
  patterns = [pattern for _, pattern in ranked]
  return (patterns[0], tuple(patterns[1:])) if patterns else ("", ())
