"""Work on Ray and on submitit's local executor: killed workers, failures, each result once."""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tdfusion_jax.cluster import working
from tdfusion_jax.cluster.choice import Cluster, cluster_of
from tdfusion_jax.cluster.on_slurm import run_on_slurm
from tdfusion_jax.evaluate.measure import choose_metrics, measure
from tdfusion_jax.evaluate.methods import pairs_of_folders
from tdfusion_jax.files import UsageError
from tdfusion_jax.fusing.footage.sources import Footage
from tdfusion_jax.fusing.video import fuse_video
from tdfusion_jax.images.writing import write_image

ROOT = Path(__file__).resolve().parents[2]
RNG = np.random.default_rng(2)


def needs(package):
  there = importlib.util.find_spec(package) is not None
  return pytest.mark.skipif(not there, reason=f"needs {package}")


def work(kind, folder):
  """What `cluster_work` finds, in a process of its own: Ray changes the one that it is used in."""
  (folder / "sweep.toml").touch()
  path = os.pathsep.join(str(ROOT / part) for part in ("", "tests"))
  environment = {**os.environ, "PYTHONPATH": path, "RAY_USAGE_STATS_ENABLED": "0"}
  command = [sys.executable, "-m", "cluster_work", kind, str(folder)]
  ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
  assert ran.returncode == 0, ran.stderr[-3000:]
  return json.loads((folder / "found.json").read_text()), ran.stderr


def check_sweep(found):
  assert set(found) == {"infrared 1", "both 1"}
  assert found["both 1"] == {"test": {"mIoU": 1.5}, "changes": {"a": 1}, "began_with": "x"}
  assert found["infrared 1"] == "FloatingPointError: not finite"  # which no repetition mends


@pytest.mark.slow  # Ray starts a process for every worker, and ten of them are killed or used up
@pytest.mark.cluster
@needs("ray")
@needs("av")
def test_on_ray_what_a_killed_worker_had_is_done_again(tmp_path):
  images = {f"n{i:02}": RNG.integers(0, 256, (4, 6, 3), np.uint8) for i in range(40)}
  for name, image in images.items():
    write_image(tmp_path / "ir" / f"{name}.png", image[..., :1])
    write_image(tmp_path / "vi" / f"{name}.png", image)
    write_image(tmp_path / "plain" / f"{name}.png", image)
  found, _ = work("ray", tmp_path)
  assert (tmp_path / "killed").exists()
  names = [f"{name}.png" for name in images if name != "n07"]
  assert found["written"] == names and found["totals"] == [40]  # one list, one bar
  assert sorted(os.listdir(tmp_path / "out")) == names
  for name in names:
    assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
  (failed,) = found["failed"]
  assert "n07.png could not be fused: 2 workers were lost with it" in failed
  check_sweep(found["sweep"])
  assert (tmp_path / "killed measuring").exists() and (tmp_path / "killed filming").exists()
  pairs = pairs_of_folders(tmp_path / "ir", tmp_path / "vi")
  plain = measure(pairs, {"mean": mean}, choose_metrics("EN,SF", ""), "tdfusion")
  assert found["scores"] == plain and list(found["scores"]["mean"]) == list(images)
  assert found["film"] == {"segments": 4, "frames": 40, "told": [10, 20, 30, 40]}
  footage = Footage(tmp_path / "ir", 10.0), Footage(tmp_path / "vi", 10.0)
  fuse_video(lambda ir, vi: (ir + vi) / 2, *footage, tmp_path / "one.mp4")
  from films import seen  # needs PyAV

  shown, whole = seen(tmp_path / "film.mp4"), seen(tmp_path / "one.mp4")
  assert [seconds for seconds, _ in shown] == [seconds for seconds, _ in whole]
  assert not list(tmp_path.glob("*.nut")) and not list(tmp_path.glob(".*.tmp*"))


def mean(name, ir, vi):
  return (ir + vi) / 2


@pytest.mark.cluster
@needs("submitit")
def test_in_jobs_of_submitit_a_killed_run_is_submitted_again(tmp_path):
  found, _ = work("slurm", tmp_path)
  check_sweep(found["sweep"])
  assert list((tmp_path / "runs" / "submitit").glob("*_log.err"))


def test_lost_work_is_divided_before_it_is_given_up():
  split = list
  (task,) = working.again(working.Task("abc"), "out of memory", 2, split)
  assert task == ("abc", 1)
  parts = working.again(task, "out of memory", 2, split)
  assert parts == [("a", 0), ("b", 0), ("c", 0)]
  (single,) = working.again(working.Task("a", 1), "out of memory", 2, split)
  with pytest.raises(working.LostError, match="3 workers were lost with it.*: out of memory"):
    working.again(single, "out of memory", 2, split)
  with pytest.raises(working.LostError, match="its worker was lost"):
    working.again(working.Task("a"), "out of memory", 0)


def options_of(cluster="", worker=(), retries=2):
  return argparse.Namespace(cluster=cluster, worker=list(worker), retries=retries)


def test_what_the_options_say():
  both = ("ray", "slurm")
  assert cluster_of(options_of(), both, None) is None
  assert cluster_of(options_of("ray"), both, None) == Cluster("ray")
  given = options_of("ray=ray://head:10001", ["cpus=4", "gpus=0.5"], 0)
  expected = Cluster("ray", "ray://head:10001", 3, {"cpus": 4, "gpus": 0.5}, 0)
  assert cluster_of(given, both, 3) == expected
  given = options_of("slurm", ["timeout_min=600", "slurm_partition=gpu"])
  resources = {"timeout_min": 600, "slurm_partition": "gpu"}
  assert cluster_of(given, both, 1) == Cluster("slurm", "", 1, resources)


@pytest.mark.parametrize(
  ("options", "workers", "message"),
  [
    (options_of("dask"), 1, "--cluster dask: ray or slurm is needed"),
    (options_of("slurm=pbs"), 1, "slurm, or slurm=local"),
    (options_of("ray"), 0, "0 workers: at least 1"),
    (options_of("ray", retries=-1), 1, "--retries -1: at least 0"),
    (options_of("ray", ["memory=3"]), 1, "--worker memory: of ray there are cpus and gpus"),
    (options_of("ray", ["cpus"]), 1, "--worker cpus: NAME=VALUE is needed"),
    (options_of("", ["cpus=1"]), 1, "--worker is for --cluster"),
  ],
)
def test_options_that_mean_nothing_are_refused(options, workers, message):
  with pytest.raises(UsageError, match=message):
    cluster_of(options, ("ray", "slurm"), workers)


def test_without_the_package_or_slurm_the_remedy_is_named(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "submitit", None)
  with pytest.raises(UsageError, match=r"pip install 'tdfusion-jax\[slurm\]'"):
    next(run_on_slurm(lambda: len, ["a"], Cluster("slurm"), tmp_path))
  monkeypatch.setitem(sys.modules, "submitit", json)  # whatever is there
  monkeypatch.setenv("PATH", "")
  with pytest.raises(UsageError, match="there is no sbatch here; slurm=local"):
    next(run_on_slurm(lambda: len, ["a"], Cluster("slurm"), tmp_path))
  from tdfusion_jax.cluster.on_ray import run_on_ray

  monkeypatch.setitem(sys.modules, "ray", None)
  with pytest.raises(UsageError, match=r"pip install 'tdfusion-jax\[ray\]'"):
    next(run_on_ray(lambda: len, ["a"], Cluster("ray")))
