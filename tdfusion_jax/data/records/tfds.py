"""The readers as tensorflow-datasets builders, prepared and read without TensorFlow.

Importing this module registers them: `tfds.builder("llvip")` and `tfds.data_source` work then.

Images go in as files: JPEG as it is where its channels fit, else PNG of what our reader sees, since
the library does not enforce channel counts and decodes palettes differently from one environment to
the next.
"""

import abc
import contextlib
import io
import json
import logging
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from tdfusion_jax import printing
from tdfusion_jax.data.labels.notes import told
from tdfusion_jax.data.readers import DATASETS, get_source
from tdfusion_jax.data.readers.paired import require_root
from tdfusion_jax.data.records.examples import example, label_names
from tdfusion_jax.data.records.source import ABOUT, VERSION, plain_options, read_about
from tdfusion_jax.data.records.splits import (
  Options,
  files_digest,
  of_split,
  open_splits,
  require_same,
  splits_of,
)
from tdfusion_jax.data.source import DataSet, DatasetError, Kind, Source
from tdfusion_jax.files import of_full_disk

log = logging.getLogger(__name__)


class PairBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """Registered infrared and visible pairs.

  Args:
    options: reader options by split; under "" those of every split.
    splits: the splits to prepare; None for all.
    root: the folder, where it is not given as `manual_dir`.
    **kwargs: of the library's builders.
  """

  VERSION = tfds.core.Version(VERSION)
  RELEASE_NOTES: ClassVar[dict[str, str]] = {str(VERSION): "First one."}

  def __init__(
    self,
    *,
    options: Options | None = None,
    splits: Sequence[str] | None = None,
    root: str | None = None,
    **kwargs: Any,
  ):
    self._options = {split: dict(values) for split, values in (options or {}).items()}
    self._wanted, self._root, self._where = splits, root, kwargs.get("data_dir")
    super().__init__(**kwargs)

  def _source(self, split: str, root: Any) -> Source:
    return get_source(self.name, root=root, split=split, **of_split(self._options, split))

  def _splits(self, root: Path | None) -> list[str]:
    """All splits that are prepared if none are asked for."""
    return splits_of(self.name, root)

  def _has_splits(self, root: Path | None) -> bool:
    """False for a folder of pairs that are the same in every split."""
    del root
    return True

  @abc.abstractmethod
  def _kind_and_classes(self) -> tuple[Kind | None, tuple[str, ...]]:
    """What the labels are, and the names of their classes."""

  def _info(self) -> tfds.core.DatasetInfo:
    kind, classes = self._kind_and_classes()
    features: dict[str, Any] = {
      "name": tfds.features.Text(),
      "ir": tfds.features.Image(shape=(None, None, 1), doc="infrared"),
      "vi": tfds.features.Image(shape=(None, None, 3), doc="visible, RGB"),
      "vi_gray": tfds.features.Scalar(np.bool_, doc="the visible file had one channel"),
      "labelled": tfds.features.Scalar(
        np.bool_, doc="False: nothing is known, which is not the same as empty"
      ),
    }
    if kind == "segmentation":
      features["labels"] = tfds.features.LabeledImage(
        labels=label_names(classes), shape=(None, None, 1)
      )
    elif kind == "detection":
      features["objects"] = tfds.features.Sequence(
        {
          "bbox": tfds.features.BBoxFeature(doc="fractions of the image"),
          "label": tfds.features.ClassLabel(names=list(classes)),
          "xyxy": tfds.features.Tensor(
            shape=(4,), dtype=np.float32, doc="x1, y1, x2, y2 in pixels, exactly as read"
          ),
        }
      )
    return tfds.core.DatasetInfo(
      builder=self,
      description=f"{self.__doc__} Registered pairs of infrared and visible images.",
      features=tfds.features.FeaturesDict(features),
      citation=DATASETS[self.name].citation,
      license=DATASETS[self.name].licence,
      # In the readers' order, so that records and folder give the same batches for one seed.
      disable_shuffling=True,
      metadata=tfds.core.MetadataDict({}),
    )

  def _split_generators(self, dl_manager: tfds.download.DownloadManager):
    root = None
    if self.MANUAL_DOWNLOAD_INSTRUCTIONS:
      root = Path(self._root or dl_manager.manual_dir)
    sources = {split: self._source(split, root) for split in self._wanted or self._splits(root)}
    first = next(iter(sources.values()))
    if any(
      (source.kind, source.classes) != (first.kind, first.classes) for source in sources.values()
    ):
      raise DatasetError(
        f"{self.name}: its splits differ in the kind of labels or in their classes"
      )
    about = {
      "kind": first.kind,
      "classes": first.classes,
      "names": {split: source.names for split, source in sources.items()},
      "has_splits": self._has_splits(root),
      "files": {split: files_digest(source) for split, source in sources.items()},
      "options": {split: plain_options(of_split(self._options, split)) for split in sources},
    }
    self.info.metadata[ABOUT] = json.loads(json.dumps(about))  # type: ignore[index]
    return {split: self._generate_examples(source) for split, source in sources.items()}

  def _generate_examples(self, source: Source) -> Iterator[tuple[int, dict[str, Any]]]:
    for index in range(len(source)):
      sample = source[index]
      files = getattr(source, "pairs", [None] * len(source))[index]
      yield index, example(sample, files, source.kind)
    notes = getattr(source, "notes", None) or Counter()
    for line in told(notes.elements()):
      log.info("%s: %s", source.describe(), line)


class _FolderBuilder(PairBuilder, skip_registration=True):
  """Of a data set whose labels and classes each folder states itself."""

  def _has_splits(self, root: Path | None) -> bool:
    return root is None or not (root / "ir").is_dir()

  def _kind_and_classes(self) -> tuple[Kind | None, tuple[str, ...]]:
    if self._root is not None:
      root = Path(self._root).expanduser()
      source = self._source((self._wanted or self._splits(root))[0], root)
      return source.kind, source.classes
    about = read_about(self._where or Path.home() / "tensorflow_datasets", self.name)
    if about is None:
      raise DatasetError(
        "a folder's features depend on its labels: give root=DIR, or the data_dir of its records"
      )
    return about["kind"], tuple(about["classes"])


def _builder(dataset: DataSet) -> type[PairBuilder]:
  """The builder's class; that it is made registers it with the library."""
  body: dict[str, Any] = {"__doc__": dataset.about, "__module__": __name__, "name": dataset.name}
  if dataset.layout is not None:
    body["MANUAL_DOWNLOAD_INSTRUCTIONS"] = dataset.layout.help()
  if dataset.kind is None:
    return type(dataset.name.capitalize(), (_FolderBuilder,), body)
  body["_kind_and_classes"] = lambda self: (dataset.kind, dataset.classes)
  return type(dataset.name.capitalize(), (PairBuilder,), body)


BUILDERS = {name: _builder(dataset) for name, dataset in DATASETS.items()}
"""By the data set's name."""


def build(
  name: str,
  root: str | Path | None,
  data_dir: str | Path,
  *,
  options: Options | None = None,
  splits: Sequence[str] | None = None,
) -> Path:
  """Prepares records of a data set, without TensorFlow.

  Args:
    name: a key of `SOURCES`.
    root: the data set's folder; not used for the synthetic ones.
    data_dir: where the records go, as `<data_dir>/<name>/<version>/`.
    options: reader options by split; under "" those of every split.
    splits: the splits to prepare; None for all.

  Returns:
    The folder of the records.

  Raises:
    DatasetError: unfitting data, unknown splits or options, or there are records already that were
      built with other options or from other files.
  """
  if name not in BUILDERS:
    raise DatasetError(f"unknown data set {name!r}; known: {', '.join(BUILDERS)}")
  here = Path(data_dir).expanduser()
  layout = DATASETS[name].layout
  folder = None if layout is None else require_root(root, layout)
  sources = open_splits(name, folder, options or {}, splits)
  made = read_about(here, name)
  if made is not None:
    require_same(here / name, made, sources, options or {})
    return here / name / VERSION
  place = None if folder is None else str(folder)
  if not sys.stderr.isatty():
    tfds.disable_progress_bar()
  try:
    with (
      contextlib.redirect_stdout(io.StringIO()),  # it speaks of downloading
      contextlib.redirect_stderr(printing.unguarded(sys.stderr)),  # its bars move the cursor
    ):
      builder = BUILDERS[name](
        options=options, splits=splits, root=place, data_dir=str(here), file_format="array_record"
      )
      builder.download_and_prepare(
        file_format="array_record", download_config=tfds.download.DownloadConfig(manual_dir=place)
      )
  except RuntimeError as error:  # of array_record's writer
    if full := of_full_disk(error, here):
      raise full from error
    raise
  finally:
    for empty in (here / "downloads" / "extracted", here / "downloads", here / name):
      with contextlib.suppress(OSError):  # not empty, or not there
        empty.rmdir()
  return Path(str(builder.data_dir))
