"""Pairs of infrared and visible images: readers, a synthetic world, and the loader; no JAX."""

from tdfusion_jax.data.batches import val_batches
from tdfusion_jax.data.caches import CachedSource, DiskCachedSource
from tdfusion_jax.data.loader import StepOptions, StepSource, make_dataset
from tdfusion_jax.data.plan import EpochPlan, plan_epoch
from tdfusion_jax.data.readers import (
  DATASETS,
  SOURCES,
  check_reader_options,
  find_reader,
  get_source,
)
from tdfusion_jax.data.readers.fused import FusedSource
from tdfusion_jax.data.records.source import RecordSource
from tdfusion_jax.data.skipping import SkippingSource
from tdfusion_jax.data.source import DataSet, DatasetError, Source
from tdfusion_jax.data.synthetic import SyntheticSource

__all__ = [
  "DATASETS",
  "SOURCES",
  "CachedSource",
  "DataSet",
  "DatasetError",
  "DiskCachedSource",
  "EpochPlan",
  "FusedSource",
  "RecordSource",
  "SkippingSource",
  "Source",
  "StepOptions",
  "StepSource",
  "SyntheticSource",
  "check_reader_options",
  "find_reader",
  "get_source",
  "make_dataset",
  "plan_epoch",
  "val_batches",
]
