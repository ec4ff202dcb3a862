"""Records (array_record files made by `tdfusion data build`) as a source, equal to the folder's.

Needs neither TensorFlow nor, until a record is read, tensorflow-datasets.
"""

import hashlib
import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from tdfusion_jax.batch import Boxes, Sample
from tdfusion_jax.data.images import read_gray, read_visible, require_equal_size
from tdfusion_jax.data.labels.census import Look, look_at
from tdfusion_jax.data.labels.masks import read_labels
from tdfusion_jax.data.source import DatasetError, Kind, checked_index, describe_source

VERSION = "1.0.0"
ABOUT = "tdfusion"
"""Key of our part of a prepared data set's metadata."""
OPENING = threading.Lock()
"""Held while records are opened.

tensorflow-datasets imports its parts on first use, under locks of its own: two threads that do so
at once can wait for each other for ever.
"""


def plain_options(options: Mapping[str, Any]) -> dict[str, Any]:
  """Reader options as JSON values; a split list stands for its content, wherever it lies."""
  found = json.loads(json.dumps(dict(options), default=str))
  if found.get("split_file") and not str(found["split_file"]).startswith("sha256:"):
    path = Path(found["split_file"])
    try:
      found["split_file"] = "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
      raise DatasetError(f"{path}: cannot be read ({error})") from None
  return found


def read_about(data_dir: str | Path, name: str) -> dict[str, Any] | None:
  """What `tdfusion data build` noted about the records of `name`; None if there are none."""
  path = Path(data_dir).expanduser() / name / VERSION / "metadata.json"
  if not path.is_file():
    return None
  try:
    return json.loads(path.read_text(encoding="utf-8"))[ABOUT]
  except (KeyError, RecursionError, TypeError, ValueError) as error:
    raise DatasetError(
      f"{path}: not written by `tdfusion data build` ({type(error).__name__} {error})"
    ) from None


class RecordSource:
  """Pairs from prepared records.

  Args:
    data_dir: the folder given to `tdfusion data build --data_dir`.
    name: the data set.
    split: "train" or "test"; records of a folder without splits serve every split.
    **options: the reader's options; must be those that the records were built with.

  Raises:
    DatasetError: nothing prepared there, another split or other options.
  """

  def __init__(self, data_dir: str | Path, name: str, split: str = "train", **options: Any):
    about = read_about(data_dir, name)
    if about is None:
      raise DatasetError(
        f"no records of {name!r} in {data_dir}; prepare them: "
        f"tdfusion data build --dataset={name} --root=DIR --data_dir={data_dir}"
      )
    self.folder = Path(data_dir).expanduser() / name / VERSION
    names: dict[str, list[str]] = about["names"]
    self.split = split if about["has_splits"] else "train"
    if self.split not in names:
      raise DatasetError(f"{self.folder} has no split {split!r}; prepared: {', '.join(names)}")
    built, wanted = about["options"][self.split], plain_options(options)
    if built != wanted:
      raise DatasetError(
        f"{self.folder}: its split {self.split!r} was built with options {built}, not {wanted}"
      )
    self.names = names[self.split]
    self.kind: Kind | None = about["kind"]
    self.classes: tuple[str, ...] = tuple(about["classes"])
    self._records: Any = None

  def __getstate__(self):
    return {**self.__dict__, "_records": None}  # each worker opens the files itself

  def __len__(self) -> int:
    return len(self.names)

  def files(self, index: int) -> list[Path]:
    """What is written anew when the records are."""
    del index
    return [self.folder / "metadata.json"]

  def _read(self, index: int) -> dict[str, Any]:
    if self._records is None:
      with OPENING:
        if self._records is None:
          self._records = self._open()
    return self._records[index]

  def _open(self) -> Any:
    import tensorflow_datasets as tfds  # slow to import

    library = cast(Any, tfds)  # its decorators hide the signatures
    builder = library.builder_from_directory(str(self.folder))
    # Images are decoded here, by the folder readers' own functions: what the library does with
    # palettes and channels depends on what else is installed.
    images = {"ir", "vi"} | ({"labels"} if self.kind == "segmentation" else set())
    records = builder.as_data_source(
      self.split, decoders={k: library.decode.SkipDecoding() for k in images}
    )
    if len(records) != len(self.names):
      raise DatasetError(
        f"{self.folder}: {len(records)} records, but {len(self.names)} names; build it anew"
      )
    if len(records):
      records[0]  # the first read imports more
    return records

  def __getitem__(self, index: int) -> Sample:
    index = checked_index(index, len(self))
    record = self._read(index)
    name = record["name"].decode()
    if name != self.names[index]:
      raise DatasetError(
        f"{self.folder}: record {index} is {name}, not {self.names[index]}; build it anew"
      )
    origin = Path(f"{self.folder} ({self.split} {name})")
    ir, vi = read_gray(origin, record["ir"]), read_visible(origin, record["vi"])
    require_equal_size(origin, ir.shape, origin, vi.shape[:2])
    vi = np.ascontiguousarray(vi[..., 0]) if record["vi_gray"] and vi.ndim == 3 else vi
    return Sample(name, ir, vi, self._target(record, origin) if record["labelled"] else None)

  def _target(self, record: dict[str, Any], origin: Path) -> Any:
    if self.kind == "segmentation":
      return read_labels(origin, len(self.classes), content=record["labels"])
    objects = record["objects"]
    boxes = np.asarray(objects["xyxy"], np.float32).reshape(-1, 4)
    return Boxes(boxes, np.asarray(objects["label"], np.int32).reshape(-1))

  def look(self, index: int) -> Look | None:
    """What the label of a pair holds; None without one."""
    record = self._read(index)
    origin = Path(f"{self.folder} ({self.split} {self.names[index]})")
    return look_at(self._target(record, origin), self.kind) if record["labelled"] else None

  def describe(self) -> str:
    """Folder, split, number of pairs, labels."""
    return describe_source(
      f"records {self.folder} {self.split}", len(self), self.kind, self.classes
    )
