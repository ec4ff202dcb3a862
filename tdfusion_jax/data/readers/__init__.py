"""Data sets by name: as their authors distribute them, folders of one's own, and synthetic."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tdfusion_jax.data import synthetic
from tdfusion_jax.data.options import check_options
from tdfusion_jax.data.readers import fmb, folder, llvip, m3fd, msrs
from tdfusion_jax.data.readers.own import OwnSource, check_source
from tdfusion_jax.data.source import DataSet, DatasetError, Source
from tdfusion_jax.files import is_plugin, plugin

DATASETS: dict[str, DataSet] = {
  dataset.name: dataset
  for dataset in (
    llvip.DATASET,
    m3fd.DATASET,
    msrs.DATASET,
    fmb.DATASET,
    folder.DATASET,
    *synthetic.DATASETS,
  )
}
"""By name; a data set of the package stands here and in its reader's file, nowhere else."""
SOURCES: dict[str, Callable[..., Source]] = {
  name: dataset.reader for name, dataset in DATASETS.items()
}
"""The readers by name."""


def find_reader(name: str, field: str = "config.data.name") -> Callable[..., Source]:
  """The reader `(root, split, **options) -> Source` of a data set.

  The user's own must be annotated with what it returns, `-> data.Source`, see `files.plugin`.

  Args:
    name: a key of `SOURCES`, or `package.module:function`.
    field: what named it, for messages.

  Raises:
    DatasetError: unknown name.
    UsageError: the user's own cannot be found.
  """
  if is_plugin(name):
    return plugin(name, field, Source)
  if name not in SOURCES:
    known = ", ".join(SOURCES)
    raise DatasetError(
      f"unknown data set {name!r}; known: {known}, or your own as package.module:function"
    )
  return SOURCES[name]


def check_reader_options(name: str, options: Mapping[str, Any]) -> None:
  """Checks options of the reader of data set `name` before anything is read.

  Raises:
    DatasetError: an option that the reader does not have, or a value of another type.
  """
  reader = find_reader(name)
  if reader in (synthetic.synthetic_det, synthetic.synthetic_seg):
    reader = synthetic.SyntheticSource  # they pass all options on
  check_options(name, reader, options)


def get_source(
  name: str,
  *,
  root: str | Path | None = None,
  split: str = "train",
  **options: Any,
) -> Source:
  """A data source by name.

  Args:
    name: a key of `SOURCES`, or `package.module:function`, a reader of the user's own.
    root: the data set's folder; not needed for the synthetic ones.
    split: "train" or "test" (see each reader).
    **options: passed to the reader, e.g. `every=10` for LLVIP.

  Raises:
    DatasetError: unknown name, option or split, or missing or incomplete data.
  """
  reader = find_reader(name)
  check_reader_options(name, options)
  source = reader(root, split, **options)
  if is_plugin(name):
    check_source(source, name)
    return OwnSource(source)
  return source
