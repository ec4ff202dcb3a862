"""`tdfusion evaluate` from folders to tables."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from tdfusion_jax import cli
from tdfusion_jax.metrics.fusion import fusion_metrics

RNG = np.random.default_rng(3)
SIZE = (20, 24)


@pytest.fixture
def folders(tmp_path):
  """Three pairs and two methods: the mean, and one pair's infrared image for all."""
  images = {kind: RNG.integers(0, 256, (3, *SIZE), dtype=np.uint8) for kind in ("ir", "vi")}
  images["mean"] = ((images["ir"].astype(int) + images["vi"]) // 2).astype(np.uint8)
  images["odd"] = images["ir"][::-1].copy()
  for kind, stack in images.items():
    (tmp_path / kind).mkdir()
    for index, image in enumerate(stack):
      Image.fromarray(image).save(tmp_path / kind / f"n{index}.png")
  return tmp_path, images


def evaluate(folder, *more):
  return cli.main(["evaluate", "--ir", str(folder / "ir"), "--vi", str(folder / "vi"), *map(str, more)])


def test_methods_side_by_side(folders, capsys):
  folder, images = folders
  out = folder / "out" / "scores"
  assert evaluate(folder, "--fused", folder / "mean", "--fused", f"rival={folder / 'odd'}", "--out", out) == 0
  expected = {m: fusion_metrics(images["ir"], images["vi"], images[k]) for m, k in (("mean", "mean"), ("rival", "odd"))}
  report = json.loads((folder / "out" / "scores.json").read_text())
  for method, scores in expected.items():
    for name, values in scores.items():
      assert report["means"][method][name] == pytest.approx(values.mean(), rel=1e-5)
      assert report["images"][method]["n1"][name] == pytest.approx(values[1], rel=1e-5)
  rows = list(csv.DictReader((folder / "out" / "scores.csv").read_text().splitlines()))
  assert len(rows) == 6 and float(rows[4]["EN"]) == pytest.approx(expected["rival"]["EN"][1], rel=1e-5)
  shown = capsys.readouterr().out
  assert "3 pairs" in shown and (folder / "out" / "scores.md").read_text() in shown
  assert r"\textbf" in (folder / "out" / "scores.tex").read_text()


def test_shipped_weights_are_measured(folders, capsys):
  folder, _ = folders
  assert evaluate(folder, "--metrics", "EN,SF") == 0
  assert "| shipped weights |" in capsys.readouterr().out


def test_what_does_not_fit_is_named(folders, capsys):
  folder, _ = folders

  def refusal(*more):
    assert evaluate(folder, *more) == 2
    return capsys.readouterr().err

  assert "unknown QABF" in refusal("--metrics", "QABF")
  assert "no such folder" in refusal("--fused", folder / "nowhere")
  assert "two methods are called 'mean'" in refusal("--fused", folder / "mean", "--fused", folder / "mean")
  Image.new("L", (12, 10), 9).save(folder / "mean" / "n1.png")
  assert "n1.png is 12x10, its pair 24x20" in refusal("--fused", folder / "mean")
  assert evaluate(folder, "--fused", folder / "mean", "--resize") == 0
  assert "1 of 1 fused images are flat" in capsys.readouterr().err
  (folder / "mean" / "n2.png").unlink()
  assert "no fused image for 1 of 3 pairs: n2" in refusal("--fused", folder / "mean")
  (folder / "odd" / "n0.png").write_bytes(b"no image")
  assert "n0.png: cannot be read" in refusal("--fused", folder / "odd")


def test_a_dataset_in_place_of_folders(folders, capsys, monkeypatch):
  from tdfusion_jax.commands import evaluate as command
  from tdfusion_jax.data import SyntheticSource

  source = SyntheticSource("detection", "test", size=(32, 48), count=2)
  monkeypatch.setattr(command, "get_source", lambda name, root, split: source)
  assert cli.main(["evaluate", "--dataset", "synthetic_det", "--metrics", "EN"]) == 0
  assert "2 pairs" in capsys.readouterr().out
  assert cli.main(["evaluate", "--dataset", "synthetic_det", "--ir", "x"]) == 2
  assert cli.main(["evaluate"]) == 2
