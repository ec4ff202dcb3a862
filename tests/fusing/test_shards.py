"""Parts of a folder fused by themselves: together they are what one run writes."""

from pathlib import Path

import numpy as np
import pytest

from tdfusion_jax import cli, fusers
from tdfusion_jax.cluster.shards import Shard
from tdfusion_jax.fusing.jobs import list_shard
from tdfusion_jax.images.writing import write_image

RNG = np.random.default_rng(11)
COUNT = 10


@pytest.fixture
def photos(tmp_path, monkeypatch):
  """Ten pairs of two sizes, and an F that takes the mean."""
  monkeypatch.setattr(fusers, "load_fusion", lambda **_: (lambda params, ir, vi: (ir + vi) / 2, {}))
  for name in range(COUNT):
    size = (6, 8) if name % 3 else (5, 9)
    for side, channels in (("ir", 1), ("vi", 3)):
      image = RNG.random((*size, channels)).astype(np.float32)
      write_image(tmp_path / side / f"{name:02}.png", image)
  return tmp_path


def fuse(photos: Path, out: str, *more: str) -> int:
  sides = ["--ir", str(photos / "ir"), "--vi", str(photos / "vi")]
  return cli.main(["fuse", *sides, "--out", str(photos / out), "--cache", "", "--no-check", *more])


def files(folder: Path) -> dict[str, bytes]:
  return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_shards_together_write_what_one_run_writes_each_once(photos, capsys):
  assert fuse(photos, "whole") == 0
  written = 0
  for index in range(4):
    before = files(photos / "parts") if index else {}
    assert fuse(photos, "parts", f"--shard={index}/4") == 0
    shown = capsys.readouterr().out
    assert f"shard {index}/4:" in shown
    now = files(photos / "parts")
    assert before.items() <= now.items()
    written += len(now) - len(before)
    assert f"{len(now) - len(before)} written" in shown
  assert written == COUNT and files(photos / "parts") == files(photos / "whole")


def test_a_shard_that_starts_again_skips_what_is_done(photos, monkeypatch, capsys):
  """As a Kubernetes job starts it: by its index, with the same command."""
  monkeypatch.setenv("JOB_COMPLETION_INDEX", "1")
  command = ("parts", "--shard=auto/3", "--skip-existing")
  assert fuse(photos, *command) == 0
  done = files(photos / "parts")
  assert sorted(done) == ["01.png", "04.png", "07.png"]
  (photos / "parts" / "04.png").unlink()
  capsys.readouterr()
  assert fuse(photos, *command) == 0
  assert "1 written" in (shown := capsys.readouterr().out) and "2 were there" in shown
  assert files(photos / "parts") == done


def test_a_failing_pair_is_its_shards_alone(photos, capsys):
  (photos / "ir" / "01.png").write_bytes(b"no image")
  assert [fuse(photos, "parts", f"--shard={index}/4") for index in range(4)] == [0, 1, 0, 0]
  assert len(files(photos / "parts")) == COUNT - 1
  assert capsys.readouterr().err.count("failed:\n") == 1


def test_what_is_compiled_does_not_depend_on_the_shard(photos):
  sides = photos / "ir", photos / "vi", photos / "out"
  lists = [list_shard(*sides, shard=Shard(index, 4)) for index in range(4)]
  assert len({tuple(listed.first) for listed in lists}) == 1 and len(lists[0].first) == COUNT
  assert sorted(job.out.name for listed in lists for job in listed.jobs) == [
    f"{name:02}.png" for name in range(COUNT)
  ]


def test_a_pair_of_files_is_in_the_first_shard(photos):
  pair = photos / "ir" / "00.png", photos / "vi" / "00.png", photos / "one.png"
  assert [len(list_shard(*pair, shard=Shard(i, 2)).jobs) for i in range(2)] == [1, 0]


def test_no_such_part_is_an_error_before_anything_is_read(photos, capsys):
  assert fuse(photos, "parts", "--shard=auto") == 2
  assert "neither JOB_COMPLETION_INDEX" in capsys.readouterr().err
  assert not (photos / "parts").exists()
