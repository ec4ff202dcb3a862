"""Fusing folders: decoding, computing and encoding overlap, and a broken file does not stop the rest."""

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tdfusion_jax.fusing.pairs import PairFuser
from tdfusion_jax.images.files import (
  LINEAR,
  ImageError,
  Scale,
  image_size,
  list_pairs,
  read_image,
  write_image,
)

_AHEAD = 6  # pairs decoded ahead of the one being fused
_BEHIND = 3  # results computed and not yet written: enough to keep the processor busy, few enough for memory
_PLANNED = 2000  # files whose sizes are looked up before the first is fused


class Reading(NamedTuple):
  """How a pair of files becomes a pair of images."""

  scale: Scale = LINEAR
  """Of the infrared file."""
  vi_scale: Scale = LINEAR
  align: Callable | None = None
  """(ir, vi) -> the same in equal size, for pairs that differ; None makes that an error."""
  check: Callable | None = None
  """(ir, vi) -> what looks wrong with the pair, or an empty string."""


AS_IT_IS = Reading()


class Huge(NamedTuple):
  """What is done with pairs that would not fit the memory whole."""

  pixels: int
  """From how many pixels on a pair counts as huge."""
  fuse: Callable[[Path, Path, Reading], np.ndarray]
  """(infrared file, visible file, reading) -> [H, W, 1 or 3] uint8; raises ImageError. One pair at a time."""


class Report(NamedTuple):
  """What became of a folder."""

  written: list[Path]
  skipped: list[Path]
  """Outputs that existed already."""
  failed: list[str]
  """One line per pair that could not be fused, naming the file."""
  warnings: list[str]
  """One line per pair that was fused and looks wrong."""


class _Job(NamedTuple):
  ir: Path
  vi: Path
  out: Path


def fuse_folder(
  fuser: PairFuser,
  ir_dir: str | Path,
  vi_dir: str | Path,
  out_dir: str | Path,
  *,
  skip_existing: bool = False,
  reading: Reading = AS_IT_IS,
  fuse_batch: Callable | None = None,
  batch: int = 1,
  huge: Huge | None = None,
  track: Callable[[Iterable, int], Iterable] = lambda outs, total: outs,
) -> Report:
  """Fuses all pairs of two folders into PNG files of the same names.

  Args:
    fuser: from `fusing.make_pair_fuser`.
    ir_dir, vi_dir: folders with equal file names.
    out_dir: made if needed.
    skip_existing: leave outputs that are there.
    reading: scaling, aligning, checking.
    fuse_batch: from `fusing.make_fuse_fn`; fuses `batch` pairs of equal size at once, the rest go
      one by one.
    huge: for pairs of very many pixels, which are then not read by `fuser`.
    track: wraps the outputs, as they are finished, for a progress display.

  Raises:
    ImageError: folders that cannot be paired, or `out_dir` is one of them.
  """
  if Path(out_dir).resolve() in (Path(ir_dir).resolve(), Path(vi_dir).resolve()):
    raise ImageError(
      f"{out_dir} holds inputs, which the results would replace; name another folder."
    )
  try:
    Path(out_dir).mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise ImageError(f"{out_dir} cannot be made: {error.strerror}.") from error
  report = Report([], [], [], [])
  jobs = []
  for name, ir, vi in list_pairs(ir_dir, vi_dir):
    out = Path(out_dir) / f"{name}.png"
    if skip_existing and out.is_file():
      report.skipped.append(out)
    else:
      jobs.append(_Job(ir, vi, out))
  with ThreadPoolExecutor(2) as readers, ThreadPoolExecutor(2) as writers:
    groups = _groups(jobs, readers, fuser, batch if fuse_batch else 1, huge)
    finished = _finished(
      groups, partial(_read, reading=reading, huge=huge), readers, writers, fuser, fuse_batch
    )
    try:
      for job, warning, error in track(finished, len(jobs)):
        if error is None:
          report.written.append(job.out)
          report.warnings.extend([f"{job.out.stem}: {warning}"] if warning else [])
        else:
          report.failed.append(str(error))
    finally:
      readers.shutdown(cancel_futures=True)  # on Ctrl-C nothing more is begun
      writers.shutdown(cancel_futures=True)
  return report


def _groups(
  jobs: list[_Job], pool: ThreadPoolExecutor, fuser: PairFuser, batch: int, huge: Huge | None
) -> list[list[_Job]]:
  """Jobs in the order of work: neighbours in size follow each other, `batch` of one size go together."""
  known = jobs if batch > 1 else jobs[:_PLANNED]
  sizes = dict(zip(known, pool.map(lambda job: image_size(job.vi), known), strict=True))
  fuser.plan([size for size in sizes.values() if size and not _is_huge(size, huge)])
  if batch == 1:
    return [[job] for job in jobs]
  by_size = defaultdict(list)
  for job, size in sizes.items():
    by_size[size].append(job)
  whole = [same[i : i + batch] for same in by_size.values() for i in range(0, len(same), batch)]
  return [
    part
    for group in whole
    for part in ([group] if len(group) == batch else [[job] for job in group])
  ]


def _is_huge(size: tuple[int, int] | None, huge: Huge | None) -> bool:
  return huge is not None and size is not None and size[0] * size[1] >= huge.pixels


class _Later(NamedTuple):
  """A pair whose files are read when its turn comes."""

  fuse: Callable[[], np.ndarray]


def _read(
  job: _Job, reading: Reading, huge: Huge | None
) -> tuple[np.ndarray, np.ndarray, str] | _Later | ImageError:
  """(ir, vi, warning)."""
  if huge is not None and _is_huge(image_size(job.vi), huge):
    return _Later(partial(huge.fuse, job.ir, job.vi, reading))
  try:
    ir, vi = read_image(job.ir, reading.scale), read_image(job.vi, reading.vi_scale)
    if reading.align is not None:
      ir, vi = reading.align(ir, vi)
    if ir.shape[:2] != vi.shape[:2]:
      return unequal(job.ir, job.vi, ir.shape, vi.shape)
    return ir, vi, reading.check(ir, vi) if reading.check else ""
  except (ImageError, MemoryError) as error:
    named = isinstance(error, ImageError) and job.ir.stem in str(error)
    return ImageError(str(error) if named else f"{job.ir} and {job.vi}: {error or 'out of memory'}")


def unequal(ir: Path, vi: Path, ir_shape: tuple[int, ...], vi_shape: tuple[int, ...]) -> ImageError:
  """The error for two files of unequal sizes."""
  sizes = " and ".join(f"{shape[1]}x{shape[0]}" for shape in (ir_shape, vi_shape))
  return ImageError(f"{ir} and {vi} differ in size ({sizes}); register them first, or see --align.")


def _decoded(
  groups: Iterable, read: Callable, pool: ThreadPoolExecutor
) -> Iterator[list[tuple[_Job, Any]]]:
  """[(job, what `_read` gives)] of each group in order, decoding a few pairs ahead."""
  running: deque[list[tuple[_Job, Future]]] = deque()
  waiting = iter(groups)
  while True:
    while sum(map(len, running)) < _AHEAD or len(running) < 2:
      group = next(waiting, None)
      if group is None:
        break
      running.append([(job, pool.submit(read, job)) for job in group])
    if not running:
      return
    yield [(job, future.result()) for job, future in running.popleft()]


def _finished(
  groups: Iterable,
  read: Callable,
  readers: ThreadPoolExecutor,
  writers: ThreadPoolExecutor,
  fuser: PairFuser,
  fuse_batch: Callable | None,
) -> Iterator[tuple[_Job, str, ImageError | None]]:
  """(job, warning, error) as outputs are written, or fail."""
  writing: deque[tuple[_Job, str, Future]] = deque()

  def settle(most):
    while len(writing) > most:
      job, warning, future = writing.popleft()
      try:
        future.result()
        yield job, warning, None
      except ImageError as error:
        yield job, warning, error

  for group in _decoded(groups, read, readers):
    yield from ((job, "", pair) for job, pair in group if isinstance(pair, ImageError))
    good = [
      (job, pair) for job, pair in group if isinstance(pair, tuple) and not isinstance(pair, _Later)
    ]
    shapes = {(ir.shape, vi.shape) for _, (ir, vi, _) in good}
    if fuse_batch and len(good) > 1 and len(shapes) == 1:
      fused = fuse_batch(*(np.stack([pair[side] for _, pair in good]) for side in (0, 1)))
      results = [lambda i=i, fused=fused: np.asarray(fused)[i] for i in range(len(good))]
    else:
      results = [_start(fuser, ir, vi) for _, (ir, vi, _) in good]
    for (job, pair), result in zip(good, results, strict=True):
      writing.append((job, pair[2], writers.submit(_write, job, result)))
    for job, pair in group:
      if isinstance(pair, _Later):
        yield from settle(0)  # the memory is its own
        writing.append((job, "", writers.submit(_write, job, pair.fuse)))
        yield from settle(0)
    yield from settle(_BEHIND)
  yield from settle(0)


def _start(fuser: PairFuser, ir: np.ndarray, vi: np.ndarray) -> Callable[[], np.ndarray]:
  """A pair too large for the memory fails when its result is asked for, as any other."""
  try:
    return fuser.start(ir, vi)
  except (MemoryError, RuntimeError) as error:  # XLA's errors are RuntimeErrors
    caught = error

    def fail():
      raise caught

    return fail


def _write(job: _Job, result: Callable[[], np.ndarray]) -> None:
  out = job.out
  try:
    fused = result()
  except ImageError:
    raise
  except (MemoryError, RuntimeError) as error:
    reason = str(error).strip().partition("\n")[0] or "out of memory"
    raise ImageError(f"{job.ir} and {job.vi} could not be fused: {reason}") from error
  if fused.dtype != np.uint8 and not np.isfinite(fused).all():
    raise ImageError(f"{out.name}: the fused image is not finite.")
  write_image(out, fused)
