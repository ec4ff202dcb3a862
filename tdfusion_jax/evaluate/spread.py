"""Pairs measured on the workers of a Ray cluster: the scores of one measurement."""

import contextlib
from collections.abc import Callable, Sequence

from tdfusion_jax.cluster.choice import Cluster
from tdfusion_jax.cluster.on_ray import run_on_ray
from tdfusion_jax.cluster.working import LostError, portions
from tdfusion_jax.evaluate.measure import Measured, Scores, gather, report_missing
from tdfusion_jax.evaluate.methods import Pairs, some
from tdfusion_jax.files import UsageError
from tdfusion_jax.progress import Progress


def measure_on_ray(
  make: Callable[[], Callable[[list[str]], list[Measured]]],
  pairs: Pairs,
  methods: Sequence[str],
  cluster: Cluster,
) -> Scores:
  """`evaluate.measure.measure` on many machines, which all see the same images.

  What a lost worker had is measured again by another. An image that cannot be measured ends the
  measurement, as it does on one machine.

  Args:
    make: called on each worker; returns what measures the pairs of some names. Pickled.
    pairs: what is measured; its remarks become those of all workers.
    methods: titles, in the order of the table.
    cluster: which machines.

  Raises:
    ImageError: as `measure`.
    UsageError: Ray is not there, the workers cannot begin, or none survives a pair.
  """
  names, found = list(pairs.sizes), dict[str, Measured]()
  work = run_on_ray(make, portions(names, cluster.workers), cluster, split=_single)
  with (
    contextlib.closing(work) as ended,
    Progress(len(names), "measured", unit="pairs") as progress,
  ):
    for portion, result in ended:
      if isinstance(result, LostError):
        raise UsageError(f"{some(portion)} could not be measured: {result}") from result
      if isinstance(result, Exception):
        raise result
      found.update({measured.name: measured for measured in result})
      progress.update(len(found))
  ordered = [found[name] for name in names]  # as on one machine, whichever worker was first
  for measured in ordered:
    pairs.remarks.update(dict.fromkeys(measured.remarks))
  scores = gather(methods, ordered)
  report_missing(scores)
  return scores


def _single(names: list[str]) -> list[list[str]]:
  return [[name] for name in names]
