"""configs/sweeps/frozen_det.toml: from pairs, folds and a T to the table, in small."""

import json
from pathlib import Path

import pytest
import tiny
from made_data import squares

from tdfusion_jax.sweep import compare
from tdfusion_jax.sweep import run as sweep

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "configs/sweeps/frozen_det.toml"
SIZE = (32, 32)


@pytest.fixture
def changes(tmp_path):
  root, t = squares(tmp_path, 20, folds=lambda number: number // 5 % 2)
  return {
    "data.root": str(root),
    "data.task_size": SIZE,
    "task.kind": "pixel_task:pixel_task",
    "init.t": str(t),
    "train.compile_cache": "",
  }


OF_FUSION = """[fusion]
"fusion.network" = "tiny:fuser"
"fusion.variant" = "paper"
"init.f" = ""
"loss.network" = "tiny:weigher"
"meta.steps" = 2
"train.epochs" = 2
"""


def test_constants_and_what_is_learned_in_one_table(tmp_path, monkeypatch, changes):
  monkeypatch.chdir(ROOT)
  file = tmp_path / "small.toml"
  text = FILE.read_text().replace("[fusion]\n", OF_FUSION)
  text = text.replace("folds = [0, 1, 2]", "folds = [0]").replace("AP50", "mIoU")
  file.write_text(text.replace('"mIoU", "mAP"', '"mIoU"'))
  arms = ["learned", "w = 0.5", "w = 0.8"]
  best = text[text.index("[best.") :]
  file.write_text(
    file.read_text().replace(best, best.replace('"w = 0.6", "w = 0.7", "w = 0.75", ', ""))
  )
  tiny.compile_quickly(monkeypatch)
  runs = tmp_path / "runs"
  for arm in arms:
    sweep.run_one(str(file), arm, 0, str(runs), changes=changes, fold=0)
  found = compare.write_comparison(sweep.load_sweep(file, changes), runs, resamples=20)
  scores = {arm: found[arm]["mIoU"]["mean"] for arm in [*arms, "best constant"]}
  # Only infrared shows the squares: the more of it, the better for this T.
  assert scores["w = 0.8"] > scores["w = 0.5"] + 0.1
  assert scores["best constant"] == scores["w = 0.8"] > 0.9
  # T is judged as it came: at w = 0.8 a square's pixel is above 1/2 whatever the noise.
  assert scores["w = 0.8"] == pytest.approx(1.0)
  run = runs / "learned/fold_0/seed_0"
  lines = [json.loads(line) for line in (run / "fusion/metrics.jsonl").read_text().splitlines()]
  held = [line["val/w_a"] for line in lines if line["phase"] == "val"]
  assert held == pytest.approx([0.75] * len(held), abs=0.02) and held
  assert scores["learned"] == json.loads((run / "task/result.json").read_text())["test"]["mIoU"]
  assert "| learned |" in (runs / "sweep.md").read_text()
