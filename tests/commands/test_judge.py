"""`tdfusion judge` from pairs and a given T to the answer."""

import csv
import json

import jax
import numpy as np
import pytest
from PIL import Image

from tdfusion_jax import cli
from tdfusion_jax.data import get_source
from tdfusion_jax.evaluate.given import load_given
from tdfusion_jax.files import UsageError
from tdfusion_jax.metrics.segmentation import scores
from tdfusion_jax.tasks.detection import detection
from tdfusion_jax.weightfiles import save_weights

COUNT, HEIGHT, WIDTH = 6, 40, 50


@pytest.fixture
def pairs(tmp_path):
  """A bright square in infrared on dark ground, four times of six in visible too. No side is a
  multiple of 32 pixels."""
  rng = np.random.default_rng(0)
  for kind in ("ir", "vi", "labels"):
    (tmp_path / "pairs" / kind).mkdir(parents=True)
  (tmp_path / "pairs" / "labels" / "classes.txt").write_text("square\n")
  for index in range(COUNT):
    left, top = rng.integers(2, 30, 2)
    ir = np.zeros((HEIGHT, WIDTH), np.uint8)
    ir[top : top + 8, left : left + 10] = 250
    vi = ir if index < 4 else np.zeros_like(ir)
    for kind, image in (("ir", ir), ("vi", vi)):
      Image.fromarray(image).save(tmp_path / "pairs" / kind / f"{index}.png")
    numbers = (left + 5) / WIDTH, (top + 4) / HEIGHT, 10 / WIDTH, 8 / HEIGHT
    text = " ".join(f"{number:.8f}" for number in numbers)
    (tmp_path / "pairs" / "labels" / f"{index}.txt").write_text(f"0 {text}\n")
  save_weights(tmp_path / "t.safetensors", {"params": {"least": np.float32(0.6)}}, {"arch": "own"})
  return tmp_path


def judge(folder, *more):
  return cli.main(
    ["judge", f"--task-weights={folder / 't.safetensors'}", f"--root={folder / 'pairs'}", *more]
  )


def test_which_images_suit_a_detector(pairs, capsys):
  """Expected: AP is 1 where every square is found, and recall where four of six are: COCO reads
  precision 1 at 67 of its 101 recalls."""
  own = "--task=bright_task:detector"
  out = pairs / "out" / "verdict"
  rows = ("--baseline=infrared,visible,average", "--constant=.7,0.3")
  assert judge(pairs, own, *rows, f"--out={out}", "--compare-to=visible") == 0
  report = json.loads((pairs / "out" / "verdict.json").read_text())
  values = {row: scores["AP50"]["value"] for row, scores in report["rows"].items()}
  some = 67 / 101
  expected = {"infrared": 1, "visible": some, "average": some, "w = .7": 1, "w = 0.3": some}
  assert values == pytest.approx(expected, abs=1e-12)
  assert report["rows"]["visible"]["mAP/square"]["value"] == pytest.approx(some, abs=1e-6)
  gained = report["differences"]["w = .7"]["AP50"]
  assert gained["value"] == pytest.approx(1 - some, abs=1e-12) and "visible" in report["compare_to"]
  visible = report["rows"]["visible"]["AP50"]
  assert visible["low"] < some < visible["high"] == 1  # the same images, drawn with replacement
  assert gained["low"] == pytest.approx(0) and gained["high"] == pytest.approx(1 - visible["low"])
  shown = capsys.readouterr().out
  assert "best AP50: infrared, 1.000 (1.000 to 1.000)" in shown
  assert "infrared alone is best: none of the fusions here helps this T" in shown
  assert (pairs / "out" / "verdict.md").read_text() in shown
  lines = list(csv.DictReader((pairs / "out" / "verdict.csv").read_text().splitlines()))
  line = next(x for x in lines if x["method"] == "w = .7" and x["score"] == "AP50")
  assert float(line["difference_value"]) == pytest.approx(1 - some)


def test_a_folder_of_images_and_no_interval(pairs, capsys):
  """A method that marks what both images lack is worse than either."""
  (pairs / "dark").mkdir()
  for index in range(COUNT):
    Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint8)).save(pairs / "dark" / f"{index}.png")
  more = (f"--fused=none={pairs / 'dark'}", "--baseline=maximum,visible", "--resamples=0")
  assert judge(pairs, "--task=bright_task:detector", *more, "--task-size=64,96") == 0
  shown = capsys.readouterr().out
  assert "| none | 0.000 | -1.000 |" in shown
  assert "maximum is +0.337 better than visible alone" in shown
  assert "nobody knows whether that is chance" in shown


def test_a_segmenter(pairs):
  """Expected: the confusion matrix by NumPy."""
  source = get_source("folder", root=pairs / "pairs")
  samples = [source[index] for index in range(COUNT)]
  true = []
  for sample in samples:
    labels = (sample.ir > 100).astype(np.uint8)
    labels[:4] = 255  # unknown
    true.append(labels)
    (pairs / "pairs" / "labels" / f"{sample.name}.txt").unlink()
    Image.fromarray(labels).save(pairs / "pairs" / "labels" / f"{sample.name}.png")
  (pairs / "pairs" / "labels" / "classes.txt").write_text("ground\nsquare\n")
  matrix = np.zeros((2, 2), int)
  for sample, labels in zip(samples, true, strict=True):
    found = (sample.vi > 0.6 * 255).astype(int)
    np.add.at(matrix, (labels[labels < 2], found[labels < 2]), 1)
  more = ("--baseline=visible,infrared", "--block=2", f"--out={pairs / 'v'}")
  assert judge(pairs, "--task=bright_task:segmenter", *more) == 0
  rows = json.loads((pairs / "v.json").read_text())["rows"]
  expected = scores(matrix)
  assert rows["visible"]["mIoU"]["value"] == pytest.approx(expected["mIoU"], abs=1e-12)
  assert rows["visible"]["IoU/square"]["value"] == pytest.approx(expected["IoU"][1], abs=1e-12)
  assert 0.3 < expected["IoU"][1] < 0.9 and rows["infrared"]["mIoU"]["value"] == 1


def test_what_cannot_be_judged_is_named(pairs, capsys):
  def refusal(*more):
    assert judge(pairs, *more) == 2
    return capsys.readouterr().err

  own = "--task=bright_task:detector"
  assert "--score: mIoU is none of AP50, mAP, for detection" in refusal(own, "--score=mIoU")
  assert "--compare-to: no row rival" in refusal(own, "--baseline=average", "--compare-to=rival")
  assert "--constant: 1.5 is no weight" in refusal(own, "--constant=1.5")
  assert "both must be multiples of 32" in refusal(own, "--task-size=40,50")
  assert "write HEIGHT,WIDTH" in refusal(own, "--task-size=40")
  assert "write HEIGHT,WIDTH" in refusal(own, "--task-size=²,32")
  assert "--block must be at least 1" in refusal(own, "--block=0")
  assert "--block 4 leaves fewer than two blocks: at most 3" in refusal(own, "--block=4")
  twice = refusal(own, "--constant=.5,.5")
  assert "two rows are called 'w = .5'; name it once." in twice
  assert "reads labels for segmentation" in refusal("--task=bright_task:segmenter")
  assert "t.safetensors holds 'own'" in refusal()
  for label in (pairs / "pairs" / "labels").glob("?.txt"):
    label.write_text("")
  nothing = refusal(own, "--baseline=infrared")
  assert "AP50 has no value: nothing is labelled in any of the 6 images" in nothing


def test_what_is_left_out_and_what_intervals_are_worth(pairs, capsys):
  """Pairs without a label are told; few images are a doubt, and one is none to draw from."""
  own, rows = "--task=bright_task:detector", "--baseline=average,infrared"
  labels = pairs / "pairs" / "labels"
  (labels / "5.txt").unlink()
  (labels / "4.txt").unlink()
  assert judge(pairs, own, rows, f"--out={pairs / 'v'}") == 0
  shown = capsys.readouterr()
  assert "2 of 6 pairs have no label and are left out" in shown.err
  assert "average is as good as infrared alone" in shown.out
  assert "intervals are of 4 images only, and likely too narrow" in shown.out
  about = json.loads((pairs / "v.json").read_text())
  assert about["root"] == str(pairs / "pairs") and about["baseline"] == "average,infrared"
  for index in (1, 2, 3):
    (labels / f"{index}.txt").unlink()
  assert judge(pairs, own, rows) == 0
  shown = capsys.readouterr().out
  assert "no intervals: there is only one image to draw from" in shown
  assert "surely" not in shown and "not to be told" not in shown


def test_a_detector_that_finds_nothing(pairs, capsys):
  save_weights(pairs / "t.safetensors", {"params": {"least": np.float32(2)}}, {"arch": "own"})
  assert judge(pairs, "--task=bright_task:detector", "--baseline=average,visible") == 0
  assert "T finds nothing that is labelled: AP50 is 0 in all rows" in capsys.readouterr().out


def test_weights_of_a_detector_know_their_classes(pairs):
  """Of three channels and two classes, one of which the data has."""
  task = detection(2, in_channels=3)
  like = jax.eval_shape(lambda: task.init(jax.random.key(0), jax.numpy.zeros((1, 64, 64, 3))))
  params, stats = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), like)
  file = pairs / "yolo.safetensors"
  options = {"variant": "n", "in_channels": 3, "num_classes": 2, "class_width": 0}
  about = {"arch": "yolov8", "options": options, "classes": ["car", "square"], "part": "whole"}
  save_weights(file, {"params": params, "batch_stats": stats}, about)
  source = get_source("folder", root=pairs / "pairs")
  with pytest.raises(UsageError, match="knows 2 classes, the data 1 .square.; --keep-classes squa"):
    load_given(file, source)
  given = load_given(file, source, keep=("square",))
  assert given.channels == 3 and jax.tree.leaves(given.stats)
  with pytest.raises(UsageError, match="knows car, the data square, in this order"):
    load_given(file, source, keep=("car",))
  with pytest.raises(UsageError, match="wants images of 2 channels, as of a training on both"):
    load_given(file, source, keep=("square",), options={"in_channels": 2})
