"""Intervals over images, folds as an axis, and what a run leaves for them."""

import json
from pathlib import Path

import numpy as np
import pytest
from made_data import picture, save
from pixel_task import pixel_task

from tdfusion_jax.config import ConfigError
from tdfusion_jax.data.source import Kind
from tdfusion_jax.evaluate import contributions
from tdfusion_jax.evaluate.contributions import Contributions, gathered
from tdfusion_jax.evaluate.resampling import draws
from tdfusion_jax.files import UsageError
from tdfusion_jax.metrics import segmentation
from tdfusion_jax.sweep import compare, intervals
from tdfusion_jax.sweep import run as sweep
from tdfusion_jax.train import build

ROOT = Path(__file__).resolve().parents[2]


def test_holm_by_hand():
  """0.01 x 3, 0.02 x 2, 0.03 x 1, none below the one before it; at most 1."""
  found = intervals.holm({"a": 0.03, "b": 0.01, "c": 0.02})
  assert found == pytest.approx({"b": 0.03, "c": 0.04, "a": 0.04})
  assert intervals.holm({"a": 0.6, "b": 0.7}) == {"a": 1, "b": 1}


def of_images(seed, names, blocks, hits):
  """Confusion matrices in which a share `hits` of the pixels is right, more or less."""
  rng = np.random.default_rng(seed)
  matrices = np.zeros((len(names), 2, 2), int)
  for matrix in matrices:
    share = np.clip(hits + 0.2 * rng.standard_normal(), 0.05, 0.95)
    right = rng.binomial(100, share, 2)
    matrix[:] = [[right[0], 100 - right[0]], [100 - right[1], right[1]]]
  return Contributions("segmentation", ("a", "b"), names, np.asarray(blocks), matrices)


def compared_of(images, base):
  """As `compare.compare`, of mIoU alone."""
  whole = {
    row: {run: float(of.scores(np.ones((1, 12)))["mIoU"][0]) for run, of in runs.items()}
    for row, runs in images.items()
  }
  out = {}
  for row, values in whole.items():
    mean = np.mean([value - whole[base][run] for run, value in values.items()])
    out[row] = {"mIoU": {"values": values, "difference": mean}, "task_loss": {"values": values}}
  return out


def made(blocks) -> dict[str, dict[int | str, Contributions]]:
  names = {fold: tuple(f"{fold}{i}" for i in range(12)) for fold in (0, 1)}
  hits = {"base": 0.5, "better": 0.75, "same": 0.5}
  return {
    row: {
      f"fold_{fold}/seed_0": of_images(10 * fold + i, names[fold], blocks, share) for fold in (0, 1)
    }
    for i, (row, share) in enumerate(hits.items())
  }


def test_intervals_are_those_of_repeated_images():
  """Expected: each draw written out, its images repeated, scored by `segmentation.scores`."""
  images = made(np.arange(12) // 3)
  compared = compared_of(images, "base")
  intervals.add_intervals(
    compared, images, "base", resamples=80, counted={row: row for row in images}
  )
  differences = np.zeros(81)
  for number, run in enumerate(("fold_0/seed_0", "fold_1/seed_0")):
    counts = draws(np.arange(12) // 3, 80, number).astype(int)
    assert (counts.reshape(81, 4, 3) == counts.reshape(81, 4, 3)[..., :1]).all()  # whole blocks
    for sign, row in ((1, "better"), (-1, "base")):
      parts = images[row][run].parts
      repeated = [np.repeat(parts, of_draw, axis=0).sum(0) for of_draw in counts]
      differences += sign * np.array([segmentation.scores(m)["mIoU"] for m in repeated]) / 2
  better = compared["better"]["mIoU"]
  assert better["difference"] == pytest.approx(differences[0])
  np.testing.assert_allclose(
    (better["low"], better["high"]), np.percentile(differences[1:], [2.5, 97.5]), atol=1e-12
  )
  assert better["low"] > 0 and better["p"] == pytest.approx(2 * 2 / 81)  # two arms: Holm doubles it
  same = compared["same"]["mIoU"]
  assert same["low"] < 0 < same["high"] and same["p"] > 0.05
  assert "low" not in compared["base"]["mIoU"] and "low" not in compared["better"]["task_loss"]


def test_images_of_a_single_block_have_no_interval():
  """All draws would be alike, and a difference of chance as sure as can be."""
  images = made(np.zeros(12, int))
  compared = compared_of(images, "base")
  counted = {row: row for row in images}
  intervals.add_intervals(compared, images, "base", resamples=20, counted=counted)
  assert not any("low" in compared[row]["mIoU"] for row in images)


def test_a_run_without_images_has_no_interval():
  images = made(np.arange(12))
  del images["better"]["fold_1/seed_0"]
  compared = compared_of(made(np.arange(12)), "base")
  intervals.add_intervals(
    compared, images, "base", resamples=20, counted={row: row for row in images}
  )
  assert "low" not in compared["better"]["mIoU"] and "low" in compared["same"]["mIoU"]


class Boxes:
  names, classes = ["a", "b"], ("person", "car")
  kind: Kind | None = "detection"

  def __len__(self):
    return 2

  def __getitem__(self, index):
    raise AssertionError("nothing is read")

  def describe(self):
    return "two images"


def test_what_a_run_found_is_read_as_it_was_written(tmp_path):
  box = np.array([[1.0, 2, 9, 9], [20, 20, 30, 40]])
  found = {"boxes": box, "scores": np.array([0.9, 0.4]), "classes": np.array([0, 1])}
  true = {"boxes": box[:1], "classes": np.array([0])}
  written = gathered(Boxes(), [(found, true), (found, {"boxes": box, "classes": np.array([1, 1])})])
  file = tmp_path / "images_test.npz"
  contributions.write(file, written)
  again = contributions.read(file)
  assert (again.names, again.classes, again.kind) == (("a", "b"), ("person", "car"), "detection")
  weights = np.array([[1, 1], [2, 0], [0, 1]])
  expected = written.scores(weights)
  assert expected["AP50/person"][1] == 1
  for name, values in again.scores(weights).items():
    np.testing.assert_array_equal(values, expected[name])
  for damaged in (file.read_bytes()[:-40], b"", b"nothing"):
    file.write_bytes(damaged)
    with pytest.raises(UsageError, match=r"images_test.npz cannot be read.*remove result.json"):
      contributions.read(file)
  person, car = written.parts
  for unfit in (
    written._replace(names=("a",)),
    written._replace(blocks=np.array([0, 2])),
    written._replace(parts=[person._replace(image=person.image - 1), car]),
    written._replace(parts=[person]),
  ):
    contributions.write(file, unfit)
    with pytest.raises(UsageError, match="does not hold what its run found"):
      contributions.read(file)


def test_what_a_damaged_zip_makes_other_libraries_raise_is_one_line(tmp_path):
  """An encrypted part, an unknown compression, a stream that is none."""
  file = tmp_path / "images_test.npz"
  contributions.write(file, of_images(0, ("a", "b"), [0, 1], 0.5))
  whole = file.read_bytes()
  directory = whole.index(b"PK\x01\x02")  # of its first entry: flags at 8, method at 10
  stream = 30 + int.from_bytes(whole[26:28], "little") + int.from_bytes(whole[28:30], "little")
  for place, byte in ((directory + 8, 1), (directory + 10, 99), (stream, 0xFF)):
    damaged = bytearray(whole)
    damaged[place] = byte
    file.write_bytes(damaged)
    with pytest.raises(UsageError, match=r"images_test.npz cannot be read"):
      contributions.read(file)


FOLDS = """
config = "configs/folder_seg.py"
seeds = [0]
folds = [0, 1]
compare_to = "infrared"
scores = ["mIoU"]
[set]
"data.root" = "ROOT"
"data.val_split" = "val"
"data.task_size" = [32, 32]
"data.cache_mb" = 0
"data.batch_size" = 2
[task]
"data.test_split" = "test"
"data.augment" = "none"
"train.epochs" = 1
[arms.infrared]
images = "infrared"
[arms.visible]
images = "visible"
"""


def test_a_sweep_over_folds(tmp_path, monkeypatch):
  """Every pair is tested once, by a T that has not seen its fold.

  One arm runs; the runs of the other, which it is compared to, are written down as all wrong.
  """
  monkeypatch.setitem(build.TASKS, "segmentation", pixel_task)
  monkeypatch.chdir(ROOT)
  names = [f"n{i:02d}" for i in range(20)]
  for index, name in enumerate(names):
    save(tmp_path / f"data/ir/{name}.png", picture(index, 1)[:32, :32])
    save(tmp_path / f"data/vi/{name}.png", picture(index + 50)[:32, :32])
    save(tmp_path / f"data/labels/{name}.png", (picture(index, 1)[:32, :32] > 99).astype(np.uint8))
  (tmp_path / "data/labels/classes.txt").write_text("dark\nbright\n")
  lines = [f"{name} {i // 5 % 2}\n" for i, name in enumerate(names)]
  (tmp_path / "data/folds.txt").write_text("".join(lines))
  file = tmp_path / "sweep.toml"
  file.write_text(FOLDS.replace("ROOT", str(tmp_path / "data")))
  read = sweep.load_sweep(file)
  few = tmp_path / "few.toml"
  few.write_text(file.read_text().replace("folds = [0, 1]", "folds = [0, 7]"))
  with pytest.raises(ConfigError, match="arm infrared: fold=7: folds.txt has the folds 0, 1"):
    sweep.run_sweep(few, tmp_path / "none")
  runs = tmp_path / "runs"
  for turn in read.turns:
    sweep.run_one(str(file), "visible", turn.seed, str(runs), fold=turn.fold)
  tested = {
    fold: contributions.read(runs / f"visible/fold_{fold}/seed_0/task/images_test.npz")
    for fold in (0, 1)
  }
  assert [*tested[0].names, *tested[1].names] == [
    *names[:5], *names[10:15], *names[5:10], *names[15:]
  ]  # fmt: skip
  assert tested[0].blocks.tolist() == [0] * 5 + [1] * 5
  for fold, found in tested.items():
    task = runs / f"infrared/fold_{fold}/seed_0/task"
    task.mkdir(parents=True)
    wrong = np.zeros_like(found.parts) + [[0, 1], [1, 0]]
    contributions.write(task / "images_test.npz", found._replace(parts=wrong))
    (task / "result.json").write_text(json.dumps({"test": {"mIoU": 0.0}}))
  compared = compare.write_comparison(read, runs, resamples=50)
  row = compared["visible"]["mIoU"]
  assert list(row["values"]) == ["fold_0/seed_0", "fold_1/seed_0"]
  result = json.loads((runs / "visible/fold_1/seed_0/task/result.json").read_text())
  assert row["values"]["fold_1/seed_0"] == pytest.approx(result["test"]["mIoU"])
  assert row["low"] <= row["difference"] <= row["high"] and row["low"] > 0
  assert row["difference"] == pytest.approx(row["mean"])  # to 0
  text = (runs / "sweep.md").read_text()
  assert "paired by fold and seed" in text and "difference (95 %)" in text and "p (Holm)" in text
  assert "(4 to draw from, which is few: they are likely too narrow)" in text
