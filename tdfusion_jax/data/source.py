"""What a data source and a data set are, and the error every reader raises."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

from tdfusion_jax.batch import Sample
from tdfusion_jax.files import UsageError

Kind = Literal["segmentation", "detection"]


class DatasetError(UsageError):
  """Data that is missing, incomplete or contradicts itself.

  The message names the file and the remedy.
  """


@runtime_checkable
class Source(Protocol):
  """Random access to registered pairs. Must be picklable: loader workers get a copy."""

  names: list[str]
  """Stems in index order, unique within the source."""
  classes: tuple[str, ...]
  """Class names, index = class id; empty without labels."""
  kind: Kind | None
  """What `Sample.target` holds; None for label-free data."""

  def __len__(self) -> int: ...

  def __getitem__(self, index: int) -> Sample: ...

  def describe(self) -> str:
    """One line for logs: name, split, number of pairs, classes."""
    ...


class Folders(NamedTuple):
  """Where the files of a data set lie under its root; `{split}` stands for the name of a split."""

  ir: str
  vi: str
  labels: str
  form: Literal["mask", "voc"]
  """What a label file is; where it is a mask, every pair has one."""

  @property
  def splits(self) -> tuple[str, ...]:
    """The splits on the disk; "all" where every split picks from the same folders."""
    return ("train", "test") if "{split}" in self.ir else ("all",)

  def of(self, root: Path, split: str) -> tuple[Path, Path, Path]:
    """Infrared, visible and labels of a split."""
    ir, vi, labels = (root / text.format(split=split) for text in self[:3])
    return ir, vi, labels


class Layout(NamedTuple):
  """How a data set is distributed; the text of every "not found" message."""

  title: str
  origin: str
  tree: str
  folders: Folders | None = None
  """None where they depend on the copy."""

  def help(self) -> str:
    """Where to get the data set, and how its folder must look."""
    return f"Get {self.title} from {self.origin}; the folder must look like\n{self.tree}"


class DataSet(NamedTuple):
  """All that is known about a data set; it stands in the reader's file as `DATASET`.

  What lists data sets (`data.SOURCES`, `tdfusion data verify` and `build`) is made from these.
  """

  reader: Callable[..., Source]
  """`(root, split, **options) -> Source`; its name is the data set's."""
  about: str
  """One line."""
  layout: Layout | None
  """None for a set without files."""
  classes: tuple[str, ...]
  """Names, index = class id; empty where each copy has its own."""
  kind: Kind | None
  """What its labels are; None where each copy has its own."""
  expected: Mapping[str, int] = {}
  """Pairs of the complete official set, by split."""
  unlabelled: int | None = None
  """A value of masks that means unknown by default."""
  licence: str = "the owner's"
  citation: str = ""
  """BibTeX."""

  @property
  def name(self) -> str:
    """As in `config.data.name`."""
    return self.reader.__name__


def owners_terms(place: str) -> str:
  """The licence of a set whose terms stand at `place`."""
  return (
    f"The owners' terms apply, see {place}; records may not be passed on where the images may not."
  )


def find(source: Any, name: str) -> Any:
  """The attribute `name` of a source, or of the one that it wraps, however deep; None without one.

  Caches, `SkippingSource` and `FusedSource` hold what they wrap as `source`. What only some sources
  have (the synthetic world's `scene`, a reader's `files`) is found through all of them.
  """
  while source is not None:
    if hasattr(source, name):
      return getattr(source, name)
    source = getattr(source, "source", None)
  return None


def describe_source(title: str, count: int, kind: Kind | None, classes: tuple[str, ...]) -> str:
  """`"LLVIP train: 1203 pairs, detection, 1 class (person)"`."""
  labels = "no labels"
  if kind is not None:
    labels = (
      f"{kind}, {len(classes)} class{'es' if len(classes) != 1 else ''} ({', '.join(classes)})"
    )
  return f"{title}: {count} pair{'s' if count != 1 else ''}, {labels}"


def checked_index(index: int, length: int) -> int:
  """A plain index in [0, length); negative ones count from the end. Raises IndexError outside."""
  position = int(index)
  if position < 0:
    position += length
  if not 0 <= position < length:
    raise IndexError(f"index {index} outside a source of {length} pairs")
  return position
