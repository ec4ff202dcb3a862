"""Pairs of infrared and visible images: readers, a synthetic world, and the loader. Imports no JAX."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tdfusion_jax.data.caches import CachedSource, DiskCachedSource
from tdfusion_jax.data.loader import StepSource, make_dataset, val_batches
from tdfusion_jax.data.options import check_options
from tdfusion_jax.data.plan import EpochPlan, plan_epoch
from tdfusion_jax.data.readers.fmb import fmb
from tdfusion_jax.data.readers.folder import folder
from tdfusion_jax.data.readers.fused import FusedSource
from tdfusion_jax.data.readers.llvip import llvip
from tdfusion_jax.data.readers.m3fd import m3fd
from tdfusion_jax.data.readers.msrs import msrs
from tdfusion_jax.data.readers.own import check_source
from tdfusion_jax.data.records.registering import register_builders
from tdfusion_jax.data.records.source import RecordSource
from tdfusion_jax.data.skipping import SkippingSource
from tdfusion_jax.data.source import DatasetError, Source
from tdfusion_jax.data.synthetic import SyntheticSource, synthetic_det, synthetic_seg
from tdfusion_jax.files import is_plugin, plugin

__all__ = [
  "SOURCES",
  "CachedSource",
  "DatasetError",
  "DiskCachedSource",
  "EpochPlan",
  "FusedSource",
  "RecordSource",
  "SkippingSource",
  "Source",
  "StepSource",
  "SyntheticSource",
  "check_reader_options",
  "find_reader",
  "get_source",
  "make_dataset",
  "plan_epoch",
  "val_batches",
]

register_builders()

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

  Args:
    name: a key of `SOURCES`, or `package.module:function`.
    field: what named it, for messages.

  Raises:
    DatasetError: unknown name.
    UsageError: the user's own cannot be found.
  """
  if is_plugin(name):
    return plugin(name, field)
  if name not in SOURCES:
    known = ", ".join(SOURCES)
    raise DatasetError(f"unknown data set {name!r}; known: {known}, or your own as package.module:function")
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
  cache: str | None = None,
  cache_bytes: int = 2 << 30,
  **options: Any,
) -> Source:
  """A data source by name.

  Args:
    name: a key of `SOURCES`, or `package.module:function`, a reader of the user's own.
    root: the data set's folder; not needed for the synthetic ones.
    split: "train" or "test" (see each reader).
    cache: "memory" keeps decoded samples, up to `cache_bytes`; None decodes each time.
    cache_bytes: budget of the cache.
    **options: passed to the reader, e.g. `every=10` for LLVIP.

  Raises:
    DatasetError: unknown name, option or split, or missing or incomplete data.
  """
  reader = find_reader(name)
  if cache not in (None, "memory"):
    raise DatasetError(f"unknown cache {cache!r}; known: None, 'memory'")
  check_reader_options(name, options)
  source = reader(root, split, **options)
  if is_plugin(name):
    check_source(source, name)
  return source if cache is None else CachedSource(source, cache_bytes)
