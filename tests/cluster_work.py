"""Work for clusters that are tested, and a script that does it in a process of its own.

`python -m cluster_work KIND FOLDER` prints, as JSON, what became of it.
"""

import json
import os
import signal
import sys
from functools import partial
from pathlib import Path

from tdfusion_jax.cluster.choice import Cluster
from tdfusion_jax.evaluate.measure import choose_metrics, measurer
from tdfusion_jax.evaluate.methods import pairs_of_folders
from tdfusion_jax.evaluate.spread import measure_on_ray
from tdfusion_jax.fusing import segments
from tdfusion_jax.fusing.film_spread import segments_on_ray
from tdfusion_jax.fusing.folders import FolderOptions, fuse_jobs
from tdfusion_jax.fusing.footage.sources import Footage
from tdfusion_jax.fusing.spread import fuse_on_ray
from tdfusion_jax.fusing.video import VideoOptions
from tdfusion_jax.sweep.file import Turn
from tdfusion_jax.sweep.machines import run_on


def die() -> None:
  """As a node that fails, or a process that gets no more memory."""
  os.kill(os.getpid(), signal.SIGKILL)


def once(file: Path) -> bool:
  """Whether this process is the first that asks."""
  try:
    file.touch(exist_ok=False)
  except FileExistsError:
    return False
  return True


class Brighter:
  """A fuser whose answer is known: the visible image."""

  compiled: list[float] = []  # noqa: RUF012

  def plan(self, sizes) -> None:
    assert sizes == [(4, 6)] * 40

  def start(self, ir, vi):
    del ir
    return lambda: vi


def fuses(folder: Path):
  """What fuses on a worker: one dies in the middle of its pairs, one pair is survived by none."""

  def ready(sizes):
    Brighter().plan(sizes)

    def do(jobs):
      if any(job.out.stem == "n07" for job in jobs):
        die()
      found = []
      for outcome in fuse_jobs(Brighter(), jobs, FolderOptions()):
        found.append(outcome)
        if outcome.job.out.stem == "n20" and once(folder / "killed"):
          die()
      return found

    return do

  return ready


def measures(folder: Path):
  """What measures on a worker: one dies in the middle of its pairs."""

  def mean(name, ir, vi):
    if name == "n20" and once(folder / "killed measuring"):
      die()
    return (ir + vi) / 2

  sources = pairs_of_folders(folder / "ir", folder / "vi")
  work = measurer(sources, {"mean": mean}, choose_metrics("EN,SF", ""), "tdfusion")
  return lambda names: [work(name) for name in names]


def films(folder: Path):
  """What fuses a segment on a worker: one dies in the middle of its frames."""

  def do(shard):
    def mean(ir, vi):
      if shard.index == 1 and once(folder / "killed filming"):
        die()
      return (ir + vi) / 2

    with segments.opened(*footage(folder), division(folder)) as film:
      return segments.fuse_segment(mean, film, film.plan(), shard).notes

  return do


def footage(folder: Path):
  return Footage(folder / "ir", 10.0), Footage(folder / "vi", 10.0)


def division(folder: Path):
  return segments.Division(folder / "film.mp4", VideoOptions(), {})


def film_on_ray(folder: Path, cluster: Cluster) -> dict:
  done: list[int] = []
  with segments.opened(*footage(folder), division(folder)) as film:
    planned = film.plan()
    make = partial(films, folder)
    count, _ = segments_on_ray(make, division(folder), planned, cluster, told=done.append)
    frames = segments.join(film, count).frames
  return {"segments": count, "frames": frames, "told": done}


def run_one(file, arm, seed, workdir, changes=None):
  """In the place of a training: it saves a step, and one of them dies and has to go on from it."""
  assert file == "sweep.toml" and Path(file).exists()  # in the folder of the command
  saved = Path(workdir) / arm / f"seed_{seed}"
  steps = saved.read_text() if saved.exists() else ""
  saved.parent.mkdir(parents=True, exist_ok=True)
  saved.write_text(steps + "x")
  if (arm, seed) == ("both", 1) and once(Path(workdir) / "killed"):
    die()
  if (arm, seed) == ("infrared", 1):
    raise FloatingPointError("not finite")
  return {"test": {"mIoU": seed + 0.5}, "changes": changes, "began_with": steps}


def sweep(cluster: Cluster) -> dict:
  todo = [("infrared", Turn(1)), ("both", Turn(1))]
  ended = run_on(cluster, run_one, todo, ("sweep.toml", "runs", {"a": 1}))
  return {f"{arm} {turn.seed}": told(result) for (arm, turn), result in ended}


def told(result) -> object:
  return f"{type(result).__name__}: {result}" if isinstance(result, Exception) else result


def on_ray(folder: Path) -> dict:
  import ray

  cluster = Cluster("ray", workers=2, retries=1)
  ray.init(num_cpus=2, include_dashboard=False, logging_level="WARNING")
  sides = str(folder / "ir"), str(folder / "vi"), str(folder / "out")
  lists = []

  def track(outcomes, total):
    lists.append(total)
    return outcomes

  report = fuse_on_ray(partial(fuses, folder), sides, FolderOptions(), cluster, track=track)
  pairs = pairs_of_folders(folder / "ir", folder / "vi")
  return {
    "scores": measure_on_ray(partial(measures, folder), pairs, ["mean"], cluster),
    "film": film_on_ray(folder, cluster),
    "written": [path.name for path in report.written],
    "failed": report.failed,
    "totals": lists,
    "sweep": sweep(cluster),
  }


if __name__ == "__main__":
  kind, where = sys.argv[1], Path(sys.argv[2])
  os.chdir(where)
  if kind == "ray":
    found = on_ray(where)
  else:
    found = {"sweep": sweep(Cluster("slurm", "local", workers=4, retries=1))}
  (where / "found.json").write_text(json.dumps(found))
