"""Fusing files: reading, computing and writing overlap; a broken file does not stop the rest."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tdfusion_jax.fusing.jobs import Job, list_jobs
from tdfusion_jax.fusing.line import FolderOptions as FolderOptions
from tdfusion_jax.fusing.line import Outcome, Work, is_huge
from tdfusion_jax.fusing.outcome import Report
from tdfusion_jax.fusing.pairs import PairFuser
from tdfusion_jax.images.reading import image_size

_PLANNED = 2000  # files whose sizes are looked up before the first is fused


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
  report = Report([], [], [], [])
  jobs = []
  for job in list_jobs(ir_dir, vi_dir, out_dir, options.form):
    if options.skip_existing and job.out.is_file():
      report.skipped.append(job.out)
    else:
      jobs.append(job)
  with ThreadPoolExecutor(2) as readers, ThreadPoolExecutor(2) as writers:
    groups = _groups(jobs, readers, fuser, options)
    finished = Work(fuser, options, readers, writers).run(groups)
    try:
      for outcome in track(finished, len(jobs)):
        _note(report, outcome)
    finally:
      readers.shutdown(cancel_futures=True)  # on Ctrl-C nothing more is begun
      writers.shutdown(cancel_futures=True)
  return report


def _note(report: Report, outcome: Outcome) -> None:
  if outcome.error is not None:
    report.failed.append(str(outcome.error))
    return
  report.written.append(outcome.job.out)
  if outcome.warning:
    report.warnings.append(f"{outcome.job.out.stem}: {outcome.warning}")


def _groups(
  jobs: list[Job], pool: ThreadPoolExecutor, fuser: PairFuser, options: FolderOptions
) -> list[list[Job]]:
  """Jobs in the order of work: one by one, or `batch` of one size together."""
  batch = options.batch if options.fuse_batch else 1
  known = jobs if batch > 1 else jobs[:_PLANNED]
  sizes = dict(zip(known, pool.map(lambda job: image_size(job.vi), known), strict=True))
  fuser.plan([size for size in sizes.values() if size and not is_huge(size, options.huge)])
  if batch == 1:
    return [[job] for job in jobs]
  by_size = defaultdict(list)
  for job, size in sizes.items():
    by_size[size].append(job)
  groups = []
  for same in by_size.values():
    whole = len(same) - len(same) % batch
    groups.extend(same[i : i + batch] for i in range(0, whole, batch))
    groups.extend([job] for job in same[whole:])
  return groups
