"""Pairs fused on the workers of a Ray cluster, by the same line from files to files."""

import contextlib
from collections.abc import Callable, Generator, Iterable
from pathlib import Path

from tdfusion_jax.cluster.choice import Cluster
from tdfusion_jax.cluster.on_ray import run_on_ray
from tdfusion_jax.cluster.working import portions
from tdfusion_jax.files import remove_leftovers
from tdfusion_jax.fusing.folders import left, note, sizes_to_plan
from tdfusion_jax.fusing.jobs import Job, list_shard
from tdfusion_jax.fusing.line import FolderOptions, Outcome
from tdfusion_jax.fusing.outcome import Report
from tdfusion_jax.images.listing import Place
from tdfusion_jax.images.opening import ImageError

Make = Callable[[list[tuple[int, int]]], Callable[[list[Job]], list[Outcome]]]
"""Called on a worker with (height, width) of pairs to come; returns what fuses a list of pairs."""


def fuse_on_ray(
  make: Callable[[], Make],
  sides: tuple[str, str, str],
  options: FolderOptions,
  cluster: Cluster,
  *,
  track: Callable[[Iterable, int], Iterable] = lambda outs, total: outs,
) -> Report:
  """`fusing.folders.fuse_folder` on many machines, which all see the same folders.

  What a lost worker had is done again by another; a pair that no worker survives is among those
  that failed.

  Args:
    make: called on each worker; pickled.
    sides: infrared, visible, results, as for `fuse_folder`.
    options: what `fuse_folder` needs here: which pairs, and which are fused whole.
    cluster: which machines.
    track: as for `fuse_folder`.

  Raises:
    ImageError: as `fuse_folder`.
    UsageError: Ray is not there, or the workers cannot begin.
  """
  listed = list_shard(*sides, options.form, options.shard)
  report = Report([], [], [], [])
  jobs = left(listed.jobs, report, options)
  sizes = sizes_to_plan(listed.first, options)
  ended: dict[Place, Outcome] = {}
  with contextlib.closing(_outcomes(make, sizes, jobs, options, cluster)) as outcomes:
    for outcome in track(outcomes, len(jobs)):
      ended[outcome.job.out] = outcome
  for job in jobs:  # in the order of one run, whichever worker was first
    note(report, ended[job.out])
  return report


def _outcomes(
  make: Callable[[], Make],
  sizes: list[tuple[int, int]],
  jobs: list[Job],
  options: FolderOptions,
  cluster: Cluster,
) -> Generator[Outcome]:
  folders = {job.out.parent for job in jobs if isinstance(job.out, Path)}

  def lost(process: int) -> None:
    for folder in folders:
      remove_leftovers(folder, process)

  work = run_on_ray(
    _Prepared(make, sizes),
    portions(jobs, cluster.workers, options.batch),
    cluster,
    split=_single,
    lost=lost,
  )
  with contextlib.closing(work) as done:
    for portion, result in done:
      if isinstance(result, Exception):
        yield from (Outcome(job, error=_failure(job, result)) for job in portion)
      else:
        yield from result


class _Prepared:
  """`make` with its sizes; what a worker gets."""

  def __init__(self, make: Callable[[], Make], sizes: list[tuple[int, int]]):
    self._make, self._sizes = make, sizes

  def __call__(self) -> Callable[[list[Job]], list[Outcome]]:
    return self._make()(self._sizes)


def _single(portion: list[Job]) -> list[list[Job]]:
  return [[job] for job in portion]


def _failure(job: Job, error: Exception) -> ImageError:
  return ImageError(f"{job.ir} and {job.vi} could not be fused: {error}")
