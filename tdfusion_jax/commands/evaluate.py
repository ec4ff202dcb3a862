"""`tdfusion evaluate`: fusion metrics of one or several methods, side by side."""

import argparse
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tdfusion_jax.cluster import shards
from tdfusion_jax.cluster.choice import Cluster, cluster_of
from tdfusion_jax.commands import options as shared
from tdfusion_jax.commands.evaluate_options import ABOUT, CLUSTERS, EXAMPLE, add_arguments
from tdfusion_jax.commands.methods import methods_of
from tdfusion_jax.commands.options import make_parent, named
from tdfusion_jax.data.options import parse_options
from tdfusion_jax.evaluate import measure, methods, parts, tables
from tdfusion_jax.evaluate.spread import measure_on_ray
from tdfusion_jax.files import UsageError
from tdfusion_jax.images.listing import passed_over
from tdfusion_jax.images.scaling import LINEAR
from tdfusion_jax.remote.addresses import Address, is_address

__all__ = ["ABOUT", "EXAMPLE", "INTERRUPTED", "add_arguments", "run"]

INTERRUPTED = "nothing was written"


def run(options: argparse.Namespace) -> int:
  """Measures and prints the table."""
  shard = shards.parse_shard(options.shard)
  cluster = cluster_of(options, CLUSTERS, options.workers)
  metrics = measure.choose_metrics(options.metrics, "--metrics")
  measure.check_profile(options.profile, "--profile")
  _check(options, cluster)
  pairs = pairs_of(options, shard)
  compared = methods_of(options, pairs)
  if cluster is None:
    scores = measure.measure(pairs, compared, metrics, options.profile)
  else:
    make = partial(_on_worker, options, shard, str(Path.cwd()))
    scores = measure_on_ray(make, pairs, list(compared), cluster)
  for line in (*_passed_over(options), *pairs.remarks):
    print(f"warning: {line}", file=sys.stderr)
  lower = [metric.name for metric in metrics if not metric.higher_is_better]
  about = measure.conditions(options.profile)
  about |= {"stretch": options.stretch, "resize": options.resize}
  if options.shard:
    parts.write_part(options.out, shard, parts.Part(scores, lower, about))
    whole = parts.merge(options.out, shard.count)
    if whole is None:
      print(f"shard {shard}: {len(pairs.sizes)} pairs measured; the last shard writes the tables")
      return 0
    scores = whole.scores
  _write(options, shard, parts.Part(scores, lower, about))
  return 0


def _check(options: argparse.Namespace, cluster: Cluster | None) -> None:
  """Raises where options do not fit, before anything is measured, so that no work is lost."""
  if options.workers is not None and cluster is None:
    raise UsageError("--workers is for --cluster.")
  if options.shard and not options.out:
    raise UsageError("--shard needs --out: the parts of a measurement meet in files.")
  if is_address(options.out or ""):
    Address(options.out).parent.names()  # raises where it cannot be reached
  elif options.out:
    make_parent(options.out, "--out")


def _write(options: argparse.Namespace, shard: shards.Shard, whole: parts.Part) -> None:
  """Writes the tables and prints one."""
  scores, lower, about = whole
  files = []
  try:
    if options.out:  # before anything is printed: whatever becomes of that, they are there
      files = measure.write_scores(options.out, scores, lower, about)
    if options.shard:
      parts.remove(options.out, shard.count)
  finally:
    count = len(next(iter(scores.values())))
    print(f"{count} pairs, means; profile {options.profile}: {about['profile_about']}")
    print("best **bold**, second _slanted_\n")
    print(tables.markdown(measure.means(scores), lower), end="")
  if files:
    print(f"\nwritten: {', '.join(files)}")


def _on_worker(
  options: argparse.Namespace, shard: shards.Shard, here: str
) -> Callable[[list[str]], list[measure.Measured]]:
  """On a worker of a cluster: what measures pairs, in the folder of the command."""
  os.chdir(here)
  pairs = pairs_of(options, shard)
  metrics = measure.choose_metrics(options.metrics, "--metrics")
  work = measure.measurer(pairs, methods_of(options, pairs), metrics, options.profile)
  return lambda names: [work(name) for name in names]


def _passed_over(options: argparse.Namespace) -> list[str]:
  """Lines that count files beside the images, which were not looked at."""
  folders = [] if options.dataset else [options.ir, options.vi]
  return passed_over(*folders, *(named(text)[1] for text in options.fused))


def pairs_of(options: argparse.Namespace, shard: shards.Shard = shards.WHOLE) -> methods.Pairs:
  """Those of the pairs that the options name which are in `shard`."""
  if not options.dataset:
    if not (options.ir and options.vi):
      raise UsageError("give --ir and --vi, or --dataset.")
    if options.option:
      raise UsageError("--option is for --dataset.")
    return methods.pairs_of_folders(options.ir, options.vi, *shared.scales(options), shard)
  if options.ir or options.vi:
    raise UsageError("give --dataset, or --ir and --vi, not both.")
  if shared.scales(options) != (LINEAR, LINEAR):
    raise UsageError(
      "--scale, --vi-scale, channels and --nodata are for --ir and --vi; a data set has its own."
    )
  given = parse_options(options.option).get("", {})
  pairs = methods.pairs_of_dataset(
    options.dataset, options.root, options.split, field="--dataset", options=given
  )
  return pairs._replace(sizes=dict(shard.of(list(pairs.sizes.items()))))
