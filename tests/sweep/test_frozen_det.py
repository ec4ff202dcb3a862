"""configs/sweeps/frozen_det.toml: from pairs, folds and a T to the table, in small."""

import json
from pathlib import Path

import numpy as np
import pytest
import tiny
from made_data import save

from tdfusion_jax.sweep import compare
from tdfusion_jax.sweep import run as sweep
from tdfusion_jax.weightfiles import save_weights

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "configs/sweeps/frozen_det.toml"
SIZE = (32, 32)


@pytest.fixture
def changes(tmp_path):
  """Squares that only infrared shows, and a T that takes bright pixels for their class."""
  root, rng = tmp_path / "pairs", np.random.default_rng(0)
  for number in range(20):
    labels = np.zeros(SIZE, np.uint8)
    top, left = rng.integers(4, 16, 2)
    labels[top : top + 12, left : left + 12] = 1
    save(root / f"ir/{number:02}.png", (60 + 150 * labels).astype(np.uint8))
    save(root / f"vi/{number:02}.png", rng.integers(0, 255, SIZE).astype(np.uint8))
    save(root / f"labels/{number:02}.png", labels)
  lines = [f"{number:02} {number // 5 % 2}\n" for number in range(20)]
  (root / "folds.txt").write_text("".join(lines))
  (root / "labels/classes.txt").write_text("background\nsquare\n")
  t = {"params": {"w": np.array([[-9.0, 9.0]], np.float32), "b": np.array([4.5, -4.5], np.float32)}}
  save_weights(tmp_path / "t.safetensors", t, {"arch": "pixel_task"})
  return {
    "data.root": str(root),
    "data.task_size": SIZE,
    "task.kind": "pixel_task:pixel_task",
    "init.t": str(tmp_path / "t.safetensors"),
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
