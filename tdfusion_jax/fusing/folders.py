"""Fusing files: reading, computing and writing overlap; a broken file does not stop the rest."""

import contextlib
import tempfile
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tdfusion_jax.fusing.jobs import Job, list_shard
from tdfusion_jax.fusing.line import FolderOptions as FolderOptions
from tdfusion_jax.fusing.line import Outcome, Work, is_huge
from tdfusion_jax.fusing.outcome import Report
from tdfusion_jax.fusing.pairs import PairFuser
from tdfusion_jax.images.reading import image_size
from tdfusion_jax.remote.addresses import Address

_TRANSFERS = 8  # files fetched or stored at a time: mostly waiting


def fuse_folder(
  fuser: PairFuser,
  ir_dir: str | Path,
  vi_dir: str | Path,
  out_dir: str | Path,
  options: FolderOptions = FolderOptions(),  # noqa: B008 (a named tuple does not change)
  *,
  track: Callable[[Iterable, int], Iterable] = lambda outs, total: outs,
) -> Report:
  """Fuses all pairs of two folders into files of the same names, or one pair of files.

  Args:
    fuser: from `fusing.make_pair_fuser`.
    ir_dir: infrared images, or one file.
    vi_dir: visible images of the same names, or one file.
    out_dir: made if needed; of one pair also a file.
    options: reading, batches, huge pairs, the results' form.
    track: wraps the outputs, as they are finished, for a progress display.

  Raises:
    ImageError: files that cannot be paired, or results in the place of inputs.
  """
  listed = list_shard(ir_dir, vi_dir, out_dir, options.form, options.shard)
  report = Report([], [], [], [])
  jobs = left(listed.jobs, report, options)
  fuser.plan(sizes_to_plan(listed.first, options))
  fused = fuse_jobs(fuser, jobs, options, lambda outcomes: track(outcomes, len(jobs)))
  with contextlib.closing(fused) as outcomes:  # at once on Ctrl-C, whoever still refers to it
    for outcome in outcomes:
      note(report, outcome)
  return report


def left(jobs: list[Job], report: Report, options: FolderOptions) -> list[Job]:
  """Those of `jobs` that are not done yet; the others are noted in `report`."""
  if not options.skip_existing:
    return jobs
  names = {}  # one list of a folder elsewhere, not a question for each file
  for folder in {job.out.parent for job in jobs if isinstance(job.out, Address)}:
    names[folder] = folder.names()
  there = [
    job.out.name in names[job.out.parent] if isinstance(job.out, Address) else job.out.is_file()
    for job in jobs
  ]
  report.skipped.extend(job.out for job, done in zip(jobs, there, strict=True) if done)
  return [job for job, done in zip(jobs, there, strict=True) if not done]


def sizes_to_plan(files: list[Any], options: FolderOptions) -> list[tuple[int, int]]:
  """(height, width) of those that are here, can be read and are fused whole."""
  with ThreadPoolExecutor(2) as pool:
    sizes = list(pool.map(image_size, [file for file in files if isinstance(file, Path)]))
  return [size for size in sizes if size and not is_huge(size, options.huge)]


def fuse_jobs(
  fuser: PairFuser,
  jobs: list[Job],
  options: FolderOptions,
  track: Callable[[Iterable[Outcome]], Iterable[Outcome]] = lambda outcomes: outcomes,
) -> Generator[Outcome]:
  """Fuses pairs that are listed, and yields each as it ends."""
  elsewhere = any(isinstance(place, Address) for job in jobs[:1] for place in job[:3])
  threads = _TRANSFERS if elsewhere else 2
  with (
    tempfile.TemporaryDirectory(prefix="tdfusion_") as scratch,
    ThreadPoolExecutor(threads) as readers,
    ThreadPoolExecutor(threads) as writers,
  ):
    groups = _groups(jobs, readers, options)
    try:
      yield from track(Work(fuser, options, readers, writers, Path(scratch)).run(groups))
    finally:
      readers.shutdown(cancel_futures=True)  # on Ctrl-C nothing more is begun
      writers.shutdown(cancel_futures=True)


def note(report: Report, outcome: Outcome) -> None:
  """Enters what became of a pair."""
  if outcome.error is not None:
    report.failed.append(str(outcome.error))
    return
  report.written.append(outcome.job.out)
  if outcome.warning:
    report.warnings.append(f"{outcome.job.out.stem}: {outcome.warning}")


def _groups(jobs: list[Job], pool: ThreadPoolExecutor, options: FolderOptions) -> list[list[Job]]:
  """Jobs in the order of work: one by one, or `batch` of one size together."""
  batch = options.batch if options.fuse_batch else 1
  if batch == 1:
    return [[job] for job in jobs]
  by_size = defaultdict(list)
  for job, size in zip(jobs, pool.map(_size, jobs), strict=True):
    by_size[size].append(job)
  groups = []
  for same in by_size.values():
    whole = len(same) - len(same) % batch
    groups.extend(same[i : i + batch] for i in range(0, whole, batch))
    groups.extend([job] for job in same[whole:])
  return groups


def _size(job: Job) -> tuple[int, int] | None:
  return image_size(job.vi) if isinstance(job.vi, Path) else None
