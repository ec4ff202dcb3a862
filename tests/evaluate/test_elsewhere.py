"""`tdfusion evaluate` of images at addresses: the tables of the same files on this machine."""

import json

import numpy as np
import pytest

from tdfusion_jax import cli
from tdfusion_jax.images.writing import write_image

pytest.importorskip("fsspec")
RNG = np.random.default_rng(6)


@pytest.fixture
def box(tmp_path):
  """Three pairs and a rival's images, in a folder and in fsspec's memory."""
  import fsspec

  memory = fsspec.filesystem("memory")
  memory.store.clear()
  for side, channels in (("ir", 1), ("vi", 3), ("rival", 1)):
    for name in range(3):
      file = tmp_path / side / f"{name}.png"
      write_image(file, RNG.random((24, 32, channels)).astype(np.float32))
      memory.pipe_file(f"/box/{side}/{name}.png", file.read_bytes())
  yield memory
  memory.store.clear()


def evaluate(root, out, *more):
  where = [f"--ir={root}/ir", f"--vi={root}/vi", f"--fused=rival={root}/rival"]
  return cli.main(["evaluate", *where, "--metrics=EN,SF", f"--out={out}", *more])


def test_the_same_scores_as_from_a_folder(tmp_path, box, capsys):
  assert evaluate(tmp_path, tmp_path / "near", "--baseline=average") == 0
  assert evaluate("memory://box", tmp_path / "far", "--baseline=average") == 0
  near, far = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("near", "far"))
  assert near == far and near["means"]["rival"]["SF"] > 1
  assert "tdfusion_" not in capsys.readouterr().err


def test_shards_share_what_is_elsewhere(tmp_path, box):
  assert evaluate(tmp_path, tmp_path / "near") == 0
  for part in ("0/2", "1/2"):
    assert evaluate("memory://box", tmp_path / "parts", f"--shard={part}") == 0
  near, parts = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("near", "parts"))
  assert near["means"] == parts["means"]


@pytest.mark.parametrize(
  ("spoil", "message"),
  [
    (lambda box: box.pipe_file("/box/vi/1.png", b"no image"), "memory://box/vi/1.png: cannot be"),
    (lambda box: box.rm("/box/rival/2.png"), "memory://box/rival: no fused image for 1 of 3"),
    (
      lambda box: box.rm("/box/ir/0.png"),
      "memory://box/vi/0.png has no partner in memory://box/ir",
    ),
    (lambda box: box.rm("/box/rival", recursive=True), "memory://box/rival: no fused image for 3"),
  ],
)
def test_messages_name_the_address(tmp_path, box, capsys, spoil, message):
  spoil(box)
  assert evaluate("memory://box", tmp_path / "out") == 2
  shown = capsys.readouterr().err
  assert message in shown and "tdfusion_" not in shown


def test_a_fused_image_of_another_size(tmp_path, box, capsys):
  write_image(tmp_path / "small.png", np.zeros((12, 16, 1), np.float32))
  box.pipe_file("/box/rival/1.png", (tmp_path / "small.png").read_bytes())
  assert evaluate("memory://box", tmp_path / "out") == 2
  assert "memory://box/rival/1.png is 16x12, its pair 32x24" in capsys.readouterr().err
  assert evaluate("memory://box", tmp_path / "out", "--resize") == 0


def test_tables_and_parts_of_them_are_written_to_addresses(tmp_path, box):
  assert evaluate(tmp_path, tmp_path / "near") == 0
  assert evaluate("memory://box", "memory://box/tables/far") == 0
  for count, part in enumerate(("1/2", "0/2"), 1):
    assert evaluate("memory://box", "memory://box/tables/parts", f"--shard={part}") == 0
    assert box.exists("/box/tables/parts.json") == (count == 2)
  names = {name for name in box.store if name.startswith("/box/tables")}
  kinds = "md", "tex", "csv", "json"
  assert names == {f"/box/tables/{stem}.{kind}" for stem in ("far", "parts") for kind in kinds}
  for name in names:
    near = tmp_path / f"near{name[name.index('.') :]}"
    assert box.cat_file(name) == near.read_bytes()


def test_a_place_that_tables_cannot_go_to_is_named_before(box, capsys):
  assert evaluate("memory://box", "nowhere://box/scores") == 2
  assert "nowhere://" in capsys.readouterr().err
