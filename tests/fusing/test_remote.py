"""`tdfusion fuse` from and to addresses: the files of a run on this machine, each once."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tdfusion_jax import cli, fusers
from tdfusion_jax.images.writing import write_image

pytest.importorskip("fsspec")
RNG = np.random.default_rng(4)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def mean(monkeypatch):
  """An F that takes the mean of both luminances."""
  monkeypatch.setattr(fusers, "load_fusion", lambda **_: (lambda params, ir, vi: (ir + vi) / 2, {}))


def photos(folder, count):
  for name in range(count):
    for side, channels in (("ir", 1), ("vi", 3)):
      image = RNG.random((6, 8, channels)).astype(np.float32)
      write_image(folder / side / f"{name:02}.png", image)
  return folder


def fuse(ir, vi, out, *more):
  where = ["--ir", str(ir), "--vi", str(vi), "--out", str(out)]
  return cli.main(["fuse", *where, "--cache", "", "--no-check", "--backend", "jax", *more])


def held(folder):
  return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.fixture
def memory():
  import fsspec

  system = fsspec.filesystem("memory")
  system.store.clear()
  yield system
  system.store.clear()


def test_from_addresses_to_an_address(tmp_path, memory, capsys):
  folder = photos(tmp_path, 6)
  assert fuse(folder / "ir", folder / "vi", folder / "out") == 0
  for side in ("ir", "vi"):
    for file in (folder / side).iterdir():
      memory.pipe_file(f"/box/{side}/{file.name}", file.read_bytes())
  memory.pipe_file("/box/ir/03.png", b"no image")
  memory.pipe_file("/box/vi/notes.txt", b"not looked at")
  capsys.readouterr()
  assert fuse("memory://box/ir", "memory://box/vi", "memory://box/out") == 1
  shown = capsys.readouterr()
  assert "5 written to memory://box/out, 1 failed" in shown.out
  # The readers are those of every file; their messages name the address, not the copy.
  assert "memory://box/ir/03.png: cannot be read as an image" in shown.err
  assert "tdfusion_" not in shown.err
  written = {name for name in memory.store if name.startswith("/box/out")}
  assert written == {f"/box/out/{name:02}.png" for name in range(6) if name != 3}
  for name in written:
    assert memory.cat_file(name) == (folder / "out" / Path(name).name).read_bytes()
  memory.pipe_file("/box/ir/03.png", (folder / "ir" / "03.png").read_bytes())
  assert fuse("memory://box/ir", folder / "vi", "memory://box/out", "--skip-existing") == 0
  assert "1 written" in (shown := capsys.readouterr().out) and "5 were there" in shown
  assert fuse("memory://box/ir", "memory://box/vi", folder / "here", "--shard=1/2") == 0
  assert sorted(p.name for p in (folder / "here").iterdir()) == ["01.png", "03.png", "05.png"]


def test_what_cannot_be_done_with_addresses_is_said_before(tmp_path, memory, capsys):
  memory.pipe_file("/box/ir/a.tif", b"")
  for ir, vi, out, message in (
    ("memory://box/ir", "memory://box/ir", "memory://box/ir/", "holds inputs"),
    ("memory://box/none", "memory://box/ir", tmp_path, "memory://box/none holds no image"),
    ("memory://box/ir", "memory://box/ir", tmp_path, "a.tif: whether it is a GeoTIFF"),
  ):
    assert fuse(ir, vi, out) == 2
    assert message in capsys.readouterr().err


@pytest.mark.cluster
@pytest.mark.skipif(
  not all(map(importlib.util.find_spec, ("s3fs", "moto", "flask"))), reason="needs s3fs and moto"
)
def test_a_server_that_fails_once_in_ten_requests_loses_and_doubles_nothing(tmp_path):
  folder = photos(tmp_path, 30)
  assert fuse(folder / "ir", folder / "vi", folder / "out") == 0
  path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
  environment = {
    **os.environ,
    "PYTHONPATH": path,
    "AWS_ACCESS_KEY_ID": "x",
    "AWS_SECRET_ACCESS_KEY": "x",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_MAX_ATTEMPTS": "1",  # the attempts are ours, not botocore's
  }
  command = [sys.executable, "-m", "flaky_s3", "10"]
  with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as server:
    try:
      port = server.stdout.readline().strip()
      environment["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{port}"
      # In a process of its own: s3fs starts a thread and leaves connections to the end of it.
      command = [sys.executable, "-m", "remote_work", str(folder)]
      ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    finally:
      server.terminate()
    spoilt = server.stdout.read().splitlines()
  assert ran.returncode == 0, ran.stderr[-3000:]
  assert "30 written to s3://box/out, 0 failed" in ran.stdout
  assert {line.split()[0] for line in spoilt} == {"before", "after", "half"}
  assert any("PUT /box/out" in line for line in spoilt)
  assert held(folder / "back" / "out") == held(folder / "out")
  # Measured there by two shards, whose parts and tables went to the bucket: the tables of this
  # machine's files.
  assert any("/box/scores" in line for line in spoilt)
  sides = ["--ir", str(folder / "ir"), "--vi", str(folder / "vi")]
  out = ["--fused", f"ours={folder / 'out'}", "--metrics=EN,SF", f"--out={folder / 'near' / 'all'}"]
  assert cli.main(["evaluate", *sides, *out]) == 0
  near = held(folder / "near")
  assert held(folder / "back" / "scores") == near
  assert sorted(near) == ["all.csv", "all.json", "all.md", "all.tex"]
