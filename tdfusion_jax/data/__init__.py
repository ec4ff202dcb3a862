"""Pairs of infrared and visible images: readers, a synthetic world, and the loader. Imports no JAX."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tdfusion_jax.data.caches import DiskCachedSource
from tdfusion_jax.data.loader import StepSource, make_dataset, val_batches
from tdfusion_jax.data.options import check_options
from tdfusion_jax.data.plan import EpochPlan, plan_epoch
from tdfusion_jax.data.readers.fmb import fmb
from tdfusion_jax.data.readers.folder import folder
from tdfusion_jax.data.readers.fused import FusedSource
from tdfusion_jax.data.readers.llvip import llvip
from tdfusion_jax.data.readers.m3fd import m3fd
from tdfusion_jax.data.readers.msrs import msrs
from tdfusion_jax.data.records.registering import register_builders
from tdfusion_jax.data.records.source import RecordSource
from tdfusion_jax.data.skipping import SkippingSource
from tdfusion_jax.data.source import CachedSource, DatasetError, Source
from tdfusion_jax.data.synthetic import SyntheticSource, synthetic_det, synthetic_seg

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


def check_reader_options(name: str, options: Mapping[str, Any]) -> None:
  """Raises `DatasetError` unless the reader of data set `name` has these options, and they are of its types."""
  check_options(name, SyntheticSource if name.startswith("synthetic_") else SOURCES[name], options)


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
    name: a key of `SOURCES`.
    root: the data set's folder; not needed for the synthetic ones.
    split: "train" or "test" (see each reader).
    cache: "memory" keeps decoded samples, up to `cache_bytes`; None decodes each time.
    cache_bytes: budget of the cache.
    **options: passed to the reader, e.g. `every=10` for LLVIP.

  Raises:
    DatasetError: unknown name, option or split, or missing or incomplete data.
  """
  if name not in SOURCES:
    raise DatasetError(f"unknown data set {name!r}; known: {', '.join(SOURCES)}")
  if cache not in (None, "memory"):
    raise DatasetError(f"unknown cache {cache!r}; known: None, 'memory'")
  check_reader_options(name, options)
  source = SOURCES[name](root, split, **options)
  return source if cache is None else CachedSource(source, cache_bytes)
