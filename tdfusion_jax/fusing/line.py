"""The line from files to files: reading, computing and writing overlap."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tdfusion_jax.cluster.shards import WHOLE, Shard
from tdfusion_jax.files import first_line
from tdfusion_jax.fusing.huge import HugePairs
from tdfusion_jax.fusing.jobs import Job
from tdfusion_jax.fusing.pairs import PairFuser
from tdfusion_jax.fusing.reading import Reading, read_whole
from tdfusion_jax.fusing.staging import Staged, stage
from tdfusion_jax.images.origin import origin_of
from tdfusion_jax.images.reading import ImageError, image_size
from tdfusion_jax.images.writing import write_image

_AHEAD = 6  # pairs decoded ahead of the one being fused
_BEHIND = 3  # results not yet written: enough to keep the processor busy, few enough for memory


class FolderOptions(NamedTuple):
  """How files are fused."""

  skip_existing: bool = False
  """Keep outputs that are there."""
  reading: Reading = Reading()
  """Scaling, aligning, checking."""
  batch: int = 1
  """Pairs of equal size that `fuse_batch` fuses at once; the rest go one by one."""
  fuse_batch: Callable | None = None
  """From `fusing.make_fuse_fn`."""
  huge: HugePairs | None = None
  """For pairs of very many pixels, which the fuser of single pairs then does not get."""
  form: str = ""
  """Of the results, see `fusing.jobs.list_jobs`."""
  shard: Shard = WHOLE
  """Which part of the pairs is fused."""


class Pair(NamedTuple):
  """A pair that was read."""

  job: Staged
  ir: np.ndarray
  vi: np.ndarray
  warning: str
  dtype: type
  """What the result is stored in."""


class Huge(NamedTuple):
  """A pair whose files are read when its turn comes."""

  job: Staged
  fuse: Callable[[], np.ndarray]
  remarks: list[str]
  """Filled when it is read."""


class Failed(NamedTuple):
  """A pair that cannot be fused."""

  job: Job
  error: ImageError


class Outcome(NamedTuple):
  """A job that has ended."""

  job: Job
  warning: str = ""
  error: ImageError | None = None


def is_huge(size: tuple[int, int] | None, huge: HugePairs | None) -> bool:
  """Whether a pair of (height, width) goes through `huge`."""
  return huge is not None and size is not None and size[0] * size[1] >= huge.pixels


def _read(listed: Job, options: FolderOptions, scratch: Path) -> Pair | Huge | Failed:
  try:
    staged = stage(listed, scratch)
  except ImageError as error:
    return Failed(listed, error)
  job, huge = staged.job, options.huge
  if huge is not None and is_huge(image_size(job.vi), huge):
    remarks: list[str] = []
    fuse = partial(huge.fuse, job.ir, job.vi, options.reading, job.dtype, remarks)
    return Huge(staged, fuse, remarks)
  try:
    ir, vi, warning, stored = read_whole(job.ir, job.vi, options.reading)
    return Pair(staged, ir, vi, warning, job.dtype(*stored))
  except ImageError as error:
    staged.drop()
    return Failed(listed, staged.error(error))


class Work:
  """The line from files to files: readers, the fuser, writers."""

  def __init__(
    self,
    fuser: PairFuser,
    options: FolderOptions,
    readers: ThreadPoolExecutor,
    writers: ThreadPoolExecutor,
    scratch: Path,
  ):
    self._scratch = scratch
    self._fuser, self._options = fuser, options
    self._readers, self._writers = readers, writers
    self._writing: deque[tuple[Staged, list[str], Future]] = deque()

  def run(self, groups: Iterable[list[Job]]) -> Iterator[Outcome]:
    """The jobs as their outputs are written, or fail."""
    for group in self._decoded(groups):
      pairs = [found for found in group if isinstance(found, Pair)]
      for pair, result in zip(pairs, self._start(pairs), strict=True):
        self._write(pair.job, [pair.warning], result, pair.dtype)
      for found in group:
        if isinstance(found, Failed):
          yield Outcome(found.job, error=found.error)
        elif isinstance(found, Huge):
          yield from self._settled(0)  # the memory is its own
          self._write(found.job, found.remarks, found.fuse)
          yield from self._settled(0)
      yield from self._settled(_BEHIND)
    yield from self._settled(0)

  def _decoded(self, groups: Iterable[list[Job]]) -> Iterator[list[Pair | Huge | Failed]]:
    """What was read of each group in order, a few pairs ahead."""
    running: deque[list[Future]] = deque()
    waiting = iter(groups)
    while True:
      while sum(map(len, running)) < _AHEAD or len(running) < 2:
        group = next(waiting, None)
        if group is None:
          break
        running.append(
          [self._readers.submit(_read, job, self._options, self._scratch) for job in group]
        )
      if not running:
        return
      yield [future.result() for future in running.popleft()]

  def _start(self, pairs: list[Pair]) -> list[Callable[[], np.ndarray]]:
    """Begins to fuse: in one batch where the sizes that were read allow it, else one by one."""
    shapes = {(pair.ir.shape, pair.vi.shape) for pair in pairs}
    fuse_batch = self._options.fuse_batch
    if fuse_batch is None or len(pairs) < 2 or len(shapes) > 1:
      return [_start(self._fuser, pair) for pair in pairs]
    ir, vi = np.stack([pair.ir for pair in pairs]), np.stack([pair.vi for pair in pairs])
    fused = fuse_batch(ir, vi)
    return [partial(_row, fused, i) for i in range(len(pairs))]

  def _write(
    self,
    job: Staged,
    warnings: list[str],
    result: Callable[[], np.ndarray],
    dtype: type | None = None,
  ) -> None:
    self._writing.append((job, warnings, self._writers.submit(_write, job, result, dtype)))

  def _settled(self, most: int) -> Iterator[Outcome]:
    """Waits until at most so many outputs are being written."""
    while len(self._writing) > most:
      job, warnings, future = self._writing.popleft()
      try:
        lost = future.result()
      except ImageError as error:
        yield Outcome(job.listed, error=job.error(error))
      else:
        yield Outcome(job.listed, job.told("; ".join(filter(None, [*warnings, lost]))))


def _row(fused, i: int) -> np.ndarray:
  return np.asarray(fused)[i]


def _start(fuser: PairFuser, pair: Pair) -> Callable[[], np.ndarray]:
  """A pair too large for the memory fails when its result is asked for, as any other."""
  try:
    return fuser.start(pair.ir, pair.vi)
  except (MemoryError, RuntimeError) as error:  # XLA's errors are RuntimeErrors
    caught = error

    def fail():
      raise caught

    return fail


def _write(staged: Staged, result: Callable[[], np.ndarray], dtype: type | None) -> str:
  """Writes a result where it belongs; returns what could not be kept."""
  try:
    lost = _write_here(staged.job, result, dtype)
    staged.deliver()
    return lost
  finally:
    staged.drop()


def _write_here(job: Job, result: Callable[[], np.ndarray], dtype: type | None) -> str:
  """Writes a result, in its own type without a `dtype`; returns what could not be kept."""
  out = job.out
  try:
    fused = result()
  except ImageError:
    raise
  except (MemoryError, RuntimeError) as error:
    why = first_line(error) if str(error) else "out of memory"
    raise ImageError(f"{job.ir} and {job.vi} could not be fused: {why}") from error
  if fused.dtype.kind == "f" and not np.isfinite(fused).all():
    raise ImageError(f"{out.name}: the fused image is not finite.")
  origin = origin_of(job.vi)
  write_image(out, fused, dtype=dtype or fused.dtype.type, origin=origin)
  if origin.position and out.suffix.lower() not in (".tif", ".tiff"):
    return f"{out.suffix} has no place for the position on Earth of {job.vi}; --format=tif has"
  return origin.lost
