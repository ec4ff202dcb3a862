"""CONTRIBUTING.md followed to the letter: its files are written and its commands run as they stand.

Replaced, so that it ends in seconds: `tdfusion train` runs where F and G are one convolution each
(`tiny.py`), and gets `SMALL` at its end; `mkdir mine && cd mine` is the fixture `mine`.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from safetensors.numpy import load_file

from tdfusion_jax import cli, fusers
from tdfusion_jax.data import get_source
from tdfusion_jax.data.transforms import luminance
from tdfusion_jax.fusing.arrays import make_fuse_fn
from tdfusion_jax.images.reading import read_image
from tdfusion_jax.train.runfolder import read_metrics
from tdfusion_jax.weightfiles import load_weights

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
SMALL = [
  "--config.train.epochs=1",
  "--config.train.pretrain_steps=2",
  "--config.train.compile_cache=",
  "--config.meta.pairs=4",
  "--config.meta.steps=2",
  "--config.log.every=1",
  "--config.log.pictures=1",
  "--config.loss.network=tiny:weigher",
]
SIDES = ("photos/ir", "photos/vi", "fused")
SMALL_SCENES = [
  "--config.data.train_options.count=8",
  "--config.data.val_options.count=2",
  "--config.data.crop_size=(16, 16)",
  "--config.data.task_size=(32, 32)",
]
TRAIN = """
import sys
sys.path[1:1] = {paths!r}
import pytest, tiny
tiny.compile_quickly(pytest.MonkeyPatch())
from tdfusion_jax import main
main.main(["main", *sys.argv[1:]])
"""


class Recipe(NamedTuple):
  files: dict[str, str]
  """Python code by the file name that the text before it gives last."""
  commands: list[str]


def recipe(title):
  section = re.search(rf"^### {title}\n(.*?)(?=^##)", TEXT, re.DOTALL | re.MULTILINE)
  assert section, f"CONTRIBUTING.md has no recipe {title!r}"
  files, commands, said = {}, [], ""
  for part in re.split(r"(^```\w+\n.*?^```$)", section[1], flags=re.DOTALL | re.MULTILINE):
    if part.startswith("```python"):
      files[re.findall(r"`(\w+\.py)`", said)[-1]] = body(part)
    elif part.startswith("```bash"):
      commands += body(part).replace("\\\n", " ").splitlines()
    said = part
  return Recipe(files, commands)


def body(block):
  return block.partition("\n")[2].removesuffix("```")


def run(command):
  """One line of the text, in the current folder."""
  words = shlex.split(command)
  environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
  if words[0] == "python":
    subprocess.run([sys.executable, *words[1:]], check=True, env=environment)
  elif words[:2] == ["tdfusion", "train"]:
    more = SMALL + (SMALL_SCENES if "synthetic" in command else [])
    if "fusion.network" not in command:
      more = [*more, "--config.fusion.network=tiny:fuser"]
    code = TRAIN.format(paths=[str(ROOT), str(ROOT / "tests")])
    subprocess.run([sys.executable, "-c", code, *words[2:], *more], check=True, env=environment)
  else:
    assert words[0] == "tdfusion"
    assert cli.main(words[1:]) == 0


def follow(title):
  steps = recipe(title)
  for name, code in steps.files.items():
    Path(name).write_text(code)
  for command in steps.commands:
    run(command)


@pytest.fixture
def mine(tmp_path, monkeypatch):
  """`mkdir mine && cd mine` in a checkout that has the first recipe's task in it."""
  (tmp_path / "configs").symlink_to(ROOT / "configs")
  (tmp_path / "mine").mkdir()
  monkeypatch.chdir(tmp_path / "mine")
  monkeypatch.setattr(sys, "path", list(sys.path))
  for name, code in recipe("A task").files.items():
    Path(name).write_text(code)
  yield tmp_path / "mine"
  for name in [n for n in sys.modules if n.startswith("my_")]:
    del sys.modules[name]


def last(run, phase):
  return [row for row in read_metrics(Path(run) / "metrics.jsonl") if row["phase"] == phase][-1]


def test_a_task(mine):
  follow("A task")
  t = load_file("runs/my_task/weights/t.safetensors")
  shapes = sorted(array.shape for array in t.values() if array.ndim == 4)
  assert shapes == [
    (3, 3, 1, 8),
    (3, 3, 8, 5),
  ]  # the recipe's two convolutions; the world has five classes
  first = read_metrics(Path("runs/my_task/metrics.jsonl"))
  before = next(row for row in first if row["phase"] == "val")
  # It learns: the validation loss falls from near log(5), that of an even guess among five.
  assert abs(before["val/task_loss"] - np.log(5)) < 0.5
  assert last("runs/my_task", "val")["val/task_loss"] < before["val/task_loss"]


def test_a_data_set(mine):
  follow("A data set")
  assert (
    json.loads(Path("runs/my_data/config.json").read_text())["data"]["name"] == "my_data:reader"
  )
  assert (
    last("runs/my_data", "ft")["step"] == 2 + 2 + 12
  )  # pre-training, G-steps, and 24 pairs by twos
  source = get_source("my_data:reader", root="my_pairs", split="test", every=3)
  assert source.names == ["000", "003", "006"]
  assert source[1].ir[source[1].target == 1].min() == 220  # the square that make_pairs.py draws
  assert cli.main(["evaluate", "--dataset=my_data:reader", "--root=my_pairs", "--metrics=EN"]) == 0


def test_a_metric(mine):
  follow("A metric")
  scores = json.loads(Path("scores.json").read_text())
  (method,) = scores["images"]
  source = get_source("synthetic_seg", split="test")
  assert sorted(scores["images"][method]) == source.names
  sample = source[3]
  ir, vi = (luminance(image)[None, ..., None] for image in (sample.ir, sample.vi))
  fused = np.round(np.asarray(make_fuse_fn(*fusers.load_fusion())(ir, vi))[0, ..., 0] * 255)
  # By hand: differences down and to the right, counted one by one.
  down = [abs(fused[y + 1, x] - fused[y, x]) for y in range(95) for x in range(128)]
  right = [abs(fused[y, x + 1] - fused[y, x]) for y in range(96) for x in range(127)]
  expected = np.mean(down) + np.mean(right)
  np.testing.assert_allclose(
    scores["images"][method][source.names[3]]["sharpness"], expected, rtol=1e-5
  )
  assert "sharpness" in Path("scores.md").read_text()


def convolved(image, kernel, bias):
  """[H, W, C] with zeros around, 3x3, by definition."""
  height, width, _ = image.shape
  padded = np.pad(image, ((1, 1), (1, 1), (0, 0)))
  parts = [padded[y : y + height, x : x + width] @ kernel[y, x] for y in range(3) for x in range(3)]
  return sum(parts) + bias


def test_a_fusion_network(mine):
  follow("A fusion network")
  f = load_weights("runs/my_net/weights/f.safetensors")[0]["params"]
  one, two = ([f[f"Conv_{i}"][part] for part in ("kernel", "bias")] for i in (0, 1))
  for file in sorted(Path("photos/ir").iterdir()):
    ir, vi, fused = (read_image(folder / file.name) for folder in map(Path, SIDES))
    images = np.concatenate([ir, luminance(np.uint8(np.round(vi * 255)))[..., None]], axis=-1)
    expected = 1 / (1 + np.exp(-convolved(np.maximum(convolved(images, *one), 0), *two)))[..., 0]
    # Colour is put back: where no channel is cut off, the luminance is the network's, by 8 bits.
    whole = ((fused > 0.01) & (fused < 0.99)).all(axis=-1)
    assert whole.mean() > 0.5
    found = luminance(np.uint8(np.round(fused * 255)))
    np.testing.assert_allclose(found[whole], expected[whole], atol=1.5 / 255)
    assert expected.std() > 0.01  # not one gray
  assert Path("exported/fusion.stablehlo").stat().st_size > 0
  assert not Path("exported/fusion.onnx").exists()


def test_a_rule_for_g(mine):
  follow("A rule for G")
  config = json.loads(Path("runs/my_rule/config.json").read_text())
  assert config["meta"]["rule"] == "my_rule:factory"
  row = last("runs/my_rule", "g")
  # What the recipe measures is there, and G moved by its gradient; T's loss alone has no roughness.
  assert 0 < row["roughness"] < 2
  assert row["g_update_norm"] > 0
  assert np.isfinite(row["task_loss_outer"])


def test_the_import_order_is_the_one_that_is_checked():
  contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
    "contracts"
  ]
  house = next(c for c in contracts if c["containers"] == ["tdfusion_jax"])
  assert (
    re.search(r"```text\ncli\n(.*?)```", TEXT, re.DOTALL)[0].splitlines()[1:-1] == house["layers"]
  )


def test_the_architecture_page_has_every_room():
  page = (ROOT / "docs" / "project" / "architecture.md").read_text()
  table = page.partition("## The rooms")[2].partition("## ")[0]
  rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
  names = re.findall(r"`([\w/]+(?:\.py|/))`", " ".join(rows))
  named = {name.strip("/").split("/")[0] for name in names}
  package = ROOT / "tdfusion_jax"
  there = {path.name for path in package.iterdir() if path.suffix == ".py"}
  there |= {path.parent.name for path in package.glob("*/__init__.py")}
  assert named == there


def test_the_picture_of_the_way_names_rooms_that_are_there():
  picture = (ROOT / "docs" / "project" / "way_of_a_pair.svg").read_text()
  labels = re.findall(r'class="room"[^>]*>([^<]*)<', picture)
  rooms = {word for label in labels for word in re.findall(r"[a-z]+(?:/[a-z]+)*", label)}
  rooms -= {"then"}
  assert len(rooms) > 12
  for room in rooms:
    path = ROOT / "tdfusion_jax" / room
    assert path.is_dir() or path.with_suffix(".py").is_file(), room


def test_every_recipe_is_followed():
  titles = re.findall(
    r"^### (.*)$", TEXT.partition("## Recipes")[2].partition("## Adding it here")[0], re.MULTILINE
  )
  assert titles == ["A task", "A data set", "A metric", "A fusion network", "A rule for G"]


@pytest.mark.parametrize(
  ("content", "mended"),
  [
    (b"", b""),
    (b"a", b"a\n"),
    (b"a \n\n", b"a\n"),
    (b"\n\n", b""),
    (b"a\r\n\n b\t\n", b"a\n\n b\n"),
  ],
)
def test_files_are_tidied(tmp_path, content, mended):
  path = tmp_path / "file.txt"
  path.write_bytes(content)
  command = [sys.executable, ROOT / "tools" / "tidy_files.py", path]
  assert subprocess.run(command, check=False, capture_output=True).returncode == (content != mended)
  assert path.read_bytes() == mended
  assert subprocess.run(command, check=False, capture_output=True).returncode == 0


def test_binary_files_are_not_tidied(tmp_path):
  path = tmp_path / "file.bin"
  path.write_bytes(b"\0 \n\n")
  subprocess.run([sys.executable, ROOT / "tools" / "tidy_files.py", path], check=True)
  assert path.read_bytes() == b"\0 \n\n"
