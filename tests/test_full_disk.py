"""A full disk in every verb: one line that names the file and the remedy; what was there stays.

A limit on the size of files stands in for the disk: writing beyond it fails with EFBIG, which is
handled as ENOSPC is. Python ignores the signal that comes with it.
"""

import contextlib
import logging

import jax
import numpy as np
import pytest
import tiny
from jax.experimental.compilation_cache import compilation_cache
from PIL import Image
from pixel_task import config as task_config
from pixel_task import pixel_task

from configs import load
from tdfusion_jax import cli, fusers, tensorfiles
from tdfusion_jax.evaluate.stage import run_task_stage
from tdfusion_jax.files import UsageError, in_words
from tdfusion_jax.train import build
from tdfusion_jax.train.loop import train

resource = pytest.importorskip("resource", reason="limits are set by POSIX")
REMEDY = "File too large. Make room"


@pytest.fixture(autouse=True)
def no_compiled_programs_are_kept():
  """What an earlier test has chosen as their place would be short of room, too."""
  before = jax.config.jax_enable_compilation_cache
  jax.config.update("jax_enable_compilation_cache", False)
  compilation_cache.reset_cache()  # JAX looks at the setting once
  yield
  jax.config.update("jax_enable_compilation_cache", before)
  compilation_cache.reset_cache()


@contextlib.contextmanager
def room_for(count):
  """No file may become longer than `count` bytes."""
  _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (count, most))
  try:
    yield
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
  """Three pairs with boxes, in `ir`, `vi` and `labels`."""
  folder, rng = tmp_path_factory.mktemp("inputs"), np.random.default_rng(0)
  for side, channels in (("ir", ()), ("vi", (3,)), ("labels", ())):
    (folder / side).mkdir()
    for name in "abc":
      if side == "labels":
        (folder / side / f"{name}.txt").write_text("0 0.5 0.5 0.25 0.25\n" * 40)
      else:
        image = Image.fromarray(rng.integers(0, 256, (40, 48, *channels), np.uint8))
        image.save(folder / side / f"{name}.png")
  (folder / "labels" / "classes.txt").write_text("person\n")
  return folder


SIDES = "--ir {in}/ir --vi {in}/vi"
VERBS = {
  "fuse": (f"fuse {SIDES} --out {{out}} --cache=", "{out}/b.png"),
  "fuse png16": (f"fuse {SIDES} --out {{out}} --cache= --format=png16", "{out}/b.png"),
  "fuse tif": (f"fuse {SIDES} --out {{out}} --cache= --format=tif", "{out}/b.tif"),
  "fuse jpg": (f"fuse {SIDES} --out {{out}} --cache= --format=jpg", "{out}/b.jpg"),
  "fuse pair": (
    "fuse --ir {in}/ir/b.png --vi {in}/vi/b.png --out {out}/b.png --cache=",
    "{out}/b.png",
  ),
  "fuse huge": (
    f"fuse {SIDES} --out {{out}} --cache= --stream-from=0 --scratch={{out}}",
    "{in}/vi/b.png",
  ),
  "video": (f"video {SIDES} --out {{out}}/v.mp4 --cache=", "{out}/v.mp4"),
  "export": ("export --out {out} --format stablehlo", "{out}/fusion.stablehlo"),
  "evaluate": (f"evaluate {SIDES} --fused m={{in}}/ir --out {{out}}/s", "{out}/s.json"),
  "convert": ("convert {f} --out {out}/f.safetensors", "{out}/f.safetensors"),
  "convert back": ("convert {f} --to upstream --out {out}/f.pth", "{out}/f.pth"),
  "data convert voc": (
    "data convert --labels {in}/labels --images {in}/vi --to voc --out {out}/voc",
    "{out}/voc/a.xml",
  ),
  "data convert coco": (
    "data convert --labels {in}/labels --images {in}/vi --to coco --out {out}/c.json",
    "{out}/c.json",
  ),
  "data verify": ("data verify --dataset folder --root {in} --html {out}/p.html", "{out}/p.html"),
  "data build": (
    "data build --dataset synthetic_seg --data_dir {out} --option train:count=2 "
    "--option test:count=2",
    "{out}",
  ),
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_names_the_file_and_the_remedy(inputs, tmp_path, capsys, verb):
  if verb == "video":
    pytest.importorskip("av")
  command, file = VERBS[verb]
  places = {"in": inputs, "out": tmp_path / "out", "f": fusers.shipped_weights()}
  (tmp_path / "out").mkdir()
  (tmp_path / "out" / "earlier").write_text("as it was")
  arguments = command.format(**places).split()
  target = tmp_path / "out" / file.format(**places).rpartition("/")[2]
  overwrites = verb.startswith(("fuse", "evaluate", "export", "data verify", "video"))
  if overwrites and verb != "fuse huge":
    target.write_text("as it was")
  before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
  with room_for(512):
    status = cli.main(arguments)
  said = capsys.readouterr()
  assert status == (1 if verb.startswith("fuse") else 2)
  (line,) = [x for x in said.err.splitlines() if REMEDY in x and file.format(**places) in x]
  assert "Traceback" not in said.err and "Errno" not in said.err
  after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
  assert {path: after.get(path) for path in before} == before
  assert not [path for path in after if ".tmp" in path.name]
  if not verb.startswith(("fuse", "evaluate")):  # these go on, or write files that are short enough
    assert after == before, line
  if verb in ("evaluate", "data verify"):
    assert "| m |" in said.out or "3 pairs" in said.out  # what was found out is not lost


TRAINED = {
  **tiny.SHORT_RUN,
  "train.compile_cache": "",
  "log.checkpoint_every": 2,
}


def refusal(work, *arguments):
  """What a verb would print of the error."""
  with pytest.raises((UsageError, OSError)) as caught:
    work(*arguments)
  error = caught.value
  return in_words(error) if isinstance(error, OSError) else str(error)


def test_training_stops_in_one_line_and_goes_on(tmp_path, monkeypatch, capfd):
  """A little more room each time: what stops it lies further on, and all before is of use."""
  tiny.compile_quickly(monkeypatch)
  monkeypatch.setattr(logging.getLogger("absl"), "propagate", True)
  config = load("synthetic_seg", "weights=0.5")
  config.update_from_flattened_dict(TRAINED)
  told = []
  for room in (0, 2000, 3000, 10_000):
    with room_for(room):
      told.append(refusal(train, config, tmp_path / "run"))
    assert str(tmp_path / "run") in told[-1], told
    assert "File too large" in told[-1] and "Make room" in told[-1], told
    assert len(told[-1].splitlines()) == 1
  assert len(set(told)) > 1
  said = capfd.readouterr()
  assert "Traceback" not in said.out + said.err
  train(config, tmp_path / "run")
  with room_for(2000):
    assert cli.main(["report", str(tmp_path / "run"), f"--out={tmp_path / 'report.html'}"]) == 2
  said = capfd.readouterr().err
  assert f"{tmp_path / 'report.html'} cannot be written: {REMEDY}" in said
  assert not list(tmp_path.glob("*.html"))


@pytest.mark.parametrize("room", [0, 3000])
def test_the_task_stage_stops_in_one_line(tmp_path, monkeypatch, room):
  monkeypatch.setitem(build.TASKS, "segmentation", pixel_task)
  with room_for(room):
    told = refusal(run_task_stage, task_config(**{"fused.images": "infrared"}), tmp_path / "run")
  assert str(tmp_path / "run") in told and "Make room" in told


def test_a_weight_file_names_itself(tmp_path):
  with room_for(100):
    told = refusal(
      tensorfiles.write_safetensors, tmp_path / "w.safetensors", {"a": np.zeros(99)}, {}
    )
  assert told.startswith(f"could not write {tmp_path / 'w.safetensors'}: {REMEDY}")
