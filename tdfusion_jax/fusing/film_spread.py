"""Segments of a video fused on the workers of a Ray cluster."""

import contextlib
from collections.abc import Callable

from tdfusion_jax.cluster.choice import Cluster
from tdfusion_jax.cluster.on_ray import run_on_ray
from tdfusion_jax.cluster.shards import Shard
from tdfusion_jax.files import UsageError, remove_leftovers
from tdfusion_jax.fusing.footage.pyav import VideoError
from tdfusion_jax.fusing.footage.schedule import Schedule
from tdfusion_jax.fusing.segments import Division, is_there, segment_file

_TURNS = 4  # segments of each worker: what is done again when it is lost
_WORKERS = 8  # where their number is not known before they begin
_LEAST = 10  # frames of a segment


def segments_on_ray(
  make: Callable[[], Callable[[Shard], list[str]]],
  division: Division,
  planned: Schedule,
  cluster: Cluster,
  *,
  skip: bool = False,
  told: Callable[[int], None] = lambda done: None,
) -> tuple[int, list[str]]:
  """Fuses all segments of a video; what a lost worker had is done again by another.

  Args:
    make: called on each worker; returns what fuses a segment. Pickled.
    division: of the video; all machines see its file and its sources.
    planned: all its pairs.
    cluster: which machines.
    skip: keep segments that are there.
    told: called with the number of finished frames.

  Returns:
    (the number of segments, what the user should know of those that were fused).

  Raises:
    UsageError: Ray is not there, or the workers cannot begin.
    VideoError: a segment failed; those that are done stay.
  """
  total = len(planned.meetings)
  wanted = _TURNS * (cluster.workers or _WORKERS)
  count = max(1, min(wanted, total // _LEAST))
  shards = [Shard(index, count) for index in range(count)]
  todo = [shard for shard in shards if not (skip and is_there(division, shard))]
  done = sum(len(shard.span(total)) for shard in shards if shard not in todo)
  notes: dict[str, None] = {}
  folder = segment_file(division.out, shards[0]).parent

  def lost(process: int) -> None:
    remove_leftovers(folder, process)

  with contextlib.closing(run_on_ray(make, todo, cluster, lost=lost)) as ended:
    for shard, result in ended:
      if isinstance(result, UsageError):
        raise VideoError(f"segment {shard} could not be fused: {result}") from result
      if isinstance(result, Exception):
        raise result
      notes.update(dict.fromkeys(result))
      done += len(shard.span(total))
      told(done)
  return count, list(notes)
