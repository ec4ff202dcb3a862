"""Data sets by name: in the layouts that their authors distribute, in folders of one's own, and synthetic."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tdfusion_jax.data.options import check_options
from tdfusion_jax.data.readers.fmb import fmb
from tdfusion_jax.data.readers.folder import folder
from tdfusion_jax.data.readers.llvip import llvip
from tdfusion_jax.data.readers.m3fd import m3fd
from tdfusion_jax.data.readers.msrs import msrs
from tdfusion_jax.data.readers.own import check_source
from tdfusion_jax.data.source import DatasetError, Source
from tdfusion_jax.data.synthetic import SyntheticSource, synthetic_det, synthetic_seg
from tdfusion_jax.files import is_plugin, plugin

SOURCES: dict[str, Callable[..., Source]] = {
  "llvip": llvip,
  "m3fd": m3fd,
  "msrs": msrs,
  "fmb": fmb,
  "folder": folder,
  "synthetic_det": synthetic_det,
  "synthetic_seg": synthetic_seg,
}


def find_reader(name: str, field: str = "config.data.name") -> Callable[..., Source]:
  """The reader `(root, split, **options) -> Source` of a data set: one of `SOURCES`, or the user's own.

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
  """Raises `DatasetError` unless the reader of data set `name` has these options, and they are of its types."""
  reader = SyntheticSource if name.startswith("synthetic_") else find_reader(name)
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
  return source
