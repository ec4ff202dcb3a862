"""What all readers of folders share: finding partners, reading a pair, naming what is missing."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tdfusion_jax.batch import Sample
from tdfusion_jax.data.images import (
  files_by_stem,
  read_gray,
  read_visible,
  require_equal_size,
)
from tdfusion_jax.data.labels.census import Look, look_at
from tdfusion_jax.data.labels.masks import read_labels
from tdfusion_jax.data.source import DatasetError, Kind, Layout, checked_index, describe_source


class PairFiles(NamedTuple):
  """Where the parts of one pair lie; `label` is None for an unlabelled pair."""

  name: str
  ir: Path
  vi: Path
  label: Path | None = None


class PairedSource:
  """Pairs of image files. Subclasses override `read_target`."""

  def __init__(
    self, title: str, pairs: Sequence[PairFiles], kind: Kind | None, classes: Iterable[str]
  ):
    self.title = title
    self.pairs = list(pairs)
    self.names = [pair.name for pair in self.pairs]
    self.kind: Kind | None = kind
    self.classes = tuple(classes)
    self.blocks: list[int] | None = None
    """Which block of neighbouring frames each pair is of (`data.folds`), where that is known."""

  def __len__(self) -> int:
    return len(self.pairs)

  def __getitem__(self, index: int) -> Sample:
    pair = self.pairs[checked_index(index, len(self))]
    ir, vi = read_gray(pair.ir), read_visible(pair.vi)
    require_equal_size(pair.ir, ir.shape[:2], pair.vi, vi.shape[:2])
    return Sample(pair.name, ir, vi, self.read_target(pair, ir.shape[:2]))

  def files(self, index: int) -> list[Path]:
    """What the pair is read from."""
    return [path for path in self.pairs[index][1:] if path is not None]

  def read_target(self, pair: PairFiles, size: tuple[int, int]) -> Any:
    """`Sample.target` of a pair whose images have `size` (height, width)."""
    return None

  def look(self, index: int) -> Look | None:
    """What the label of a pair holds, without reading its images; None without one."""
    del index
    return None

  def describe(self) -> str:
    """Title, number of pairs, labels."""
    return describe_source(self.title, len(self), self.kind, self.classes)


class MaskSource(PairedSource):
  """Pairs whose label is an image of class indices; `unlabelled` is a file value to be ignored."""

  def __init__(
    self,
    title: str,
    pairs: Sequence[PairFiles],
    classes: Iterable[str],
    unlabelled: int | None = None,
  ):
    super().__init__(title, pairs, "segmentation", classes)
    self.unlabelled = unlabelled

  def read_target(self, pair: PairFiles, size: tuple[int, int]) -> Any:
    """Labels [H, W] uint8, or None for an unlabelled pair."""
    if pair.label is None:
      return None
    labels = read_labels(pair.label, len(self.classes), self.unlabelled)
    require_equal_size(pair.ir, size, pair.label, labels.shape)
    return labels

  def look(self, index: int) -> Look | None:
    """Pixels by class index."""
    label = self.pairs[index].label
    if label is None:
      return None
    return look_at(read_labels(label, len(self.classes), self.unlabelled), self.kind)


def require_root(root: str | Path | None, layout: Layout) -> Path:
  """The data set's folder, or an error that says where to get it."""
  if root is None or not str(root):
    raise DatasetError(f"{layout.title} needs its folder (data.root, --root). {layout.help()}")
  path = Path(root).expanduser()
  if not path.is_dir():
    raise DatasetError(f"{layout.title} not found: {path} is not a folder. {layout.help()}")
  return path


def require_split(split: str, allowed: Sequence[str], title: str) -> str:
  """`split` if it is one of `allowed`."""
  if split not in allowed:
    raise DatasetError(f"{title} has no split {split!r}; known: {', '.join(allowed)}")
  return split


def list_folder(
  folder: Path, layout: Layout, extensions: tuple[str, ...] | None = None
) -> dict[str, Path]:
  """Files by stem; a missing or empty folder is an error with the layout's help."""
  if not folder.is_dir():
    raise DatasetError(f"{layout.title} is incomplete: {folder} is missing. {layout.help()}")
  found = files_by_stem(folder) if extensions is None else files_by_stem(folder, extensions)
  if not found:
    raise DatasetError(
      f"{layout.title} is incomplete: {folder} holds no fitting file. {layout.help()}"
    )
  return found


def require_partners(left: dict[str, Path], right: dict[str, Path], layout: Layout) -> None:
  """Raises unless both folders hold the same stems; names the first five that lack a partner."""
  for here, there in ((left, right), (right, left)):
    lonely = sorted(here.keys() - there.keys())
    if lonely:
      folder, other = (next(iter(files.values())).parent for files in (here, there))
      raise DatasetError(
        f"{layout.title} is incomplete: {len(lonely)} file(s) of {folder} "
        f"without a partner in {other}: {shorten(lonely)}"
      )


def shorten(names: Sequence[str], count: int = 5) -> str:
  """`"a, b, c, ... (7 in all)"`."""
  text = ", ".join(names[:count])
  return text if len(names) <= count else f"{text}, ... ({len(names)} in all)"
