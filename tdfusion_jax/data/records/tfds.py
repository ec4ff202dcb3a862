"""The readers as tensorflow-datasets builders, prepared and read without TensorFlow.

Importing this module registers them: `tfds.builder("llvip")` and `tfds.data_source` work then.

Images go in as files: JPEG as it is where its channels fit, else PNG of what our reader sees, since
the library does not enforce channel counts and decodes palettes differently from one environment to
the next.
"""

import contextlib
import hashlib
import io
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from tdfusion_jax.batch import Sample
from tdfusion_jax.data.images import open_image
from tdfusion_jax.data.readers import DATASETS, check_reader_options, get_source
from tdfusion_jax.data.readers.paired import require_root
from tdfusion_jax.data.records.source import ABOUT, VERSION, plain_options, read_about
from tdfusion_jax.data.source import DataSet, DatasetError, Kind, Source

Options = Mapping[str, Mapping[str, Any]]


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
    return get_source(self.name, root=root, split=split, **_of_split(self._options, split))

  def _splits(self, root: Path | None) -> list[str]:
    """All splits that are prepared if none are asked for."""
    return _splits_of(self.name, root)

  def _has_splits(self, root: Path | None) -> bool:
    """False for a folder of pairs that are the same in every split."""
    del root
    return True

  def _kind_and_classes(self) -> tuple[Kind | None, tuple[str, ...]]:
    raise NotImplementedError

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
        labels=_label_names(classes), shape=(None, None, 1)
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
      "files": {split: _files_digest(source) for split, source in sources.items()},
      "options": {split: plain_options(_of_split(self._options, split)) for split in sources},
    }
    self.info.metadata[ABOUT] = json.loads(json.dumps(about))  # type: ignore[index]
    return {split: self._generate_examples(source) for split, source in sources.items()}

  def _generate_examples(self, source: Source) -> Iterator[tuple[int, dict[str, Any]]]:
    for index in range(len(source)):
      sample = source[index]
      files = getattr(source, "pairs", [None] * len(source))[index]
      yield index, _example(sample, files, source.kind)


def _splits_of(name: str, root: Path | None) -> list[str]:
  if name != "folder":
    return ["train", "test"]
  found = [p.name for p in sorted(root.iterdir()) if (p / "ir").is_dir()] if root else []
  return found or ["train"]  # one set of pairs, whatever split is asked for


def _files_digest(source: Source) -> str:
  """Equal for equal files: names, sizes of the images, contents of the labels."""
  digest = hashlib.sha256()
  labels: dict[Path, str] = {}  # one COCO file belongs to every pair
  for name, ir, vi, label in getattr(source, "pairs", ()):
    if label is not None and label not in labels:
      labels[label] = hashlib.sha256(label.read_bytes()).hexdigest()
    digest.update(
      f"{name!r} {ir.stat().st_size} {vi.stat().st_size} {label and labels[label]}\n".encode()
    )
  return digest.hexdigest()


def _of_split(options: Options, split: str) -> dict[str, Any]:
  return {**options.get("", {}), **options.get(split, {})}


def _example(sample: Sample, files: Any, kind: Kind | None) -> dict[str, Any]:
  vi = sample.vi if sample.vi.ndim == 3 else np.repeat(sample.vi[..., None], 3, axis=-1)
  example = {
    "name": sample.name,
    "ir": _jpeg(files and files.ir, "L") or _png(sample.ir),
    "vi": _jpeg(files and files.vi, "RGB") or _png(vi),
    "vi_gray": sample.vi.ndim == 2,
    "labelled": sample.target is not None,
  }
  if kind == "segmentation":
    unknown = np.full(sample.ir.shape, 255, np.uint8)
    example["labels"] = _png(unknown if sample.target is None else sample.target)
  elif kind == "detection":
    boxes, classes = sample.target if sample.target is not None else ((), ())
    height, width = sample.ir.shape
    example["objects"] = [
      {
        "bbox": tfds.features.BBox(
          ymin=float(box[1] / height),
          xmin=float(box[0] / width),
          ymax=float(box[3] / height),
          xmax=float(box[2] / width),
        ),
        "label": int(index),
        "xyxy": box,
      }
      for box, index in zip(boxes, classes, strict=True)
    ]
  return example


def _png(pixels: np.ndarray) -> bytes:
  buffer = io.BytesIO()
  Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
  return buffer.getvalue()


def _jpeg(path: Path | None, mode: str) -> bytes | None:
  """The file itself if it is a JPEG of this mode: decoded pixels would take ten times its space."""
  if path is None or path.suffix.lower() not in (".jpg", ".jpeg"):
    return None
  with open_image(path) as image:
    fits = image.format == "JPEG" and image.mode == mode and image.getexif().get(0x0112, 1) == 1
  return path.read_bytes() if fits else None


def _label_names(classes: Sequence[str]) -> list[str]:
  """256 names, so that 255 (unknown) is a valid value too."""
  return [*classes, *(f"value {i}" for i in range(len(classes), 255)), "ignored"]


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
  sources = _sources(name, folder, options or {}, splits)
  made = read_about(here, name)
  if made is not None:
    _require_same(here / name, made, sources, options or {})
    return here / name / VERSION
  place = None if folder is None else str(folder)
  if not sys.stderr.isatty():
    tfds.disable_progress_bar()
  try:
    with contextlib.redirect_stdout(io.StringIO()):  # it speaks of downloading
      builder = BUILDERS[name](
        options=options, splits=splits, root=place, data_dir=str(here), file_format="array_record"
      )
      builder.download_and_prepare(
        file_format="array_record", download_config=tfds.download.DownloadConfig(manual_dir=place)
      )
  finally:
    for empty in (here / "downloads" / "extracted", here / "downloads", here / name):
      with contextlib.suppress(OSError):  # not empty, or not there
        empty.rmdir()
  return Path(str(builder.data_dir))


def _sources(
  name: str, root: Path | None, options: Options, splits: Sequence[str] | None
) -> dict[str, Source]:
  """The source of every split to prepare: faults are found before anything is written."""
  wanted = list(splits or _splits_of(name, root))
  if name == "folder" and root is not None and (root / "ir").is_dir() and wanted != ["train"]:
    raise DatasetError(
      f"{root} holds one set of pairs, not splits; leave out --splits={','.join(wanted)}"
    )
  unknown = sorted(options.keys() - {"", *wanted})
  if unknown:
    raise DatasetError(
      f"options are given for {', '.join(unknown)}, but the splits are {', '.join(wanted)}"
    )
  for split in wanted:
    check_reader_options(name, _of_split(options, split))
  sources = {
    split: get_source(name, root=root, split=split, **_of_split(options, split)) for split in wanted
  }
  first = sources[wanted[0]]
  for split, source in sources.items():
    if (source.kind, source.classes) != (first.kind, first.classes):
      raise DatasetError(
        f"{root}: split {split!r} holds {_labels_of(source)}, but {wanted[0]!r} "
        f"{_labels_of(first)}; build them in places of their own"
      )
    for stem in source.names:
      if stem != stem.encode("utf-8", "replace").decode():
        raise DatasetError(f"{root}: the file name {stem!r} is not UTF-8; rename it")
  return sources


def _labels_of(source: Source) -> str:
  return f"{source.kind or 'no labels'} ({', '.join(source.classes)})"


def _require_same(
  folder: Path, made: Mapping[str, Any], sources: Mapping[str, Source], options: Options
) -> None:
  """Raises unless the records in `folder` are those that would be built now."""
  wanted = {split: plain_options(_of_split(options, split)) for split in sources}
  if wanted != made["options"]:
    raise DatasetError(
      f"{folder}: holds records of other splits or options; remove them or use another data_dir"
    )
  for split, digest in made.get("files", {}).items():
    if digest != _files_digest(sources[split]):
      raise DatasetError(
        f"{folder}: its split {split!r} was built from other files; remove the records, "
        "to build them anew, or use another data_dir"
      )
