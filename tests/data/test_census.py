"""What labels show together is said before a training: absent classes, ignored pixels, notes."""

import numpy as np
import pytest
from made_data import picture, save
from pixel_task import pixel_task

from configs import load
from tdfusion_jax.data import CachedSource, SkippingSource, get_source
from tdfusion_jax.data.census import first_images, first_look
from tdfusion_jax.data.labels.census import remarks
from tdfusion_jax.train import build, loop

H, W = 64, 64


def masked(root, *masks, classes="background\nperson\ncar\n"):
  for i, mask in enumerate(masks):
    save(root / f"ir/{i:02d}.png", np.resize(picture(i, 1), (H, W)))
    save(root / f"vi/{i:02d}.png", np.resize(picture(50 + i), (H, W, 3)))
    save(root / f"labels/{i:02d}.png", mask)
  (root / "labels/classes.txt").write_text(classes)
  return get_source("folder", root=root)


def mask(**rows):
  """Of class 0 but for `v255=8`, eight rows of 255."""
  made = np.zeros((H, W), np.uint8)
  start = 0
  for name, count in rows.items():
    made[start : start + count] = int(name[1:])
    start += count
  return made


def test_masks_of_0_and_255(tmp_path):
  source = masked(tmp_path, mask(v255=16), mask())
  first, second, third = first_look(SkippingSource(CachedSource(source)))
  assert first.startswith("all 2 masks looked at: the masks hold only 0 and 255: classes?")
  assert "store the class index in place of 255" in first
  assert second.endswith("12 % of the pixels are ignored (unknown, 255)")  # 16 of 128 rows
  assert third.endswith("2 of 3 classes without a single pixel: person, car")


def test_what_is_as_it_should_be_is_not_mentioned(tmp_path):
  assert first_look(masked(tmp_path, mask(v1=1, v2=1, v255=12), mask())) == []  # 9 % ignored
  assert first_look(get_source("synthetic_seg", count=2)) == []


def test_a_sample_of_many(tmp_path):
  source = masked(tmp_path, *[mask(v1=4)] * 3)
  source.pairs = source.pairs * 100
  source.names = [f"{i}" for i in range(300)]
  assert first_look(source) == [
    "64 of 300 masks looked at: 1 of 3 classes without a single pixel: car"
  ]


def test_unreadable_labels_are_left_to_the_training(tmp_path):
  source = masked(tmp_path, mask(v1=4, v2=4), mask())
  (tmp_path / "labels/01.png").write_bytes(b"x")
  assert first_look(source) == []


def test_boxes(tmp_path):
  masked(tmp_path, mask(), mask())
  for path in (tmp_path / "labels").glob("*.png"):
    path.with_suffix(".txt").write_text("1 0.1 0.1 0.5 0.1 0.3 0.5\n1 .5 .5 .5 .5 0.9\n")
    path.unlink()
  assert first_look(get_source("folder", root=tmp_path)) == [
    "all 2 labels of boxes looked at: 2 of 3 classes without a single box: background, car",
    "all 2 labels of boxes looked at: 2 polygon(s), each read as the box around it",
    "all 2 labels of boxes looked at: 2 line(s) with a sixth column, a confidence or a track id: "
    "it is left out",
  ]


@pytest.mark.parametrize(
  ("counts", "classes", "kinds"),
  [
    ([], 2, []),
    ([{0: 9}], 1, []),
    ([{0: 9, 255: 1}], 1, ["ignored-share"]),  # with one class 255 can only be unknown
    ([{0: 9, 255: 1}], 2, ["binary-mask", "ignored-share", "absent-class"]),
    ([{0: 95, 255: 1}, {1: 4}], 2, []),
  ],
)
def test_remarks(counts, classes, kinds):
  found = remarks(counts, [f"c{i}" for i in range(classes)], "pixel")
  assert [remark.kind for remark in found] == kinds


def test_a_training_says_it_first(tmp_path, caplog, monkeypatch):
  masked(tmp_path / "mine", mask(v255=16), mask())
  monkeypatch.setitem(build.TASKS, "segmentation", pixel_task)

  class StartedError(Exception):
    pass

  def start(*_):
    raise StartedError

  monkeypatch.setattr(loop, "RunFolder", start)  # all that comes before is quick
  config = load("folder_seg")
  changes = {
    "data.root": str(tmp_path / "mine"),
    "data.crop_size": (32, 32),
    "data.task_size": (32, 32),
    "meta.pairs": 2,
    "meta.steps": 1,
    "train.epochs": 0,
    "train.compile_cache": "",
    "log.validate_every": 0,
  }
  config.update_from_flattened_dict(changes)
  with pytest.raises(StartedError):
    loop.train(config, tmp_path / "run")
  assert "data: all 2 masks looked at: the masks hold only 0 and 255" in caplog.text


def test_false_colours_are_said(tmp_path):
  """A rainbow over gray values: brightness no longer follows them."""
  source = masked(tmp_path, mask(v1=1), mask(v1=1), mask(v1=1))
  assert first_images(SkippingSource(CachedSource(source))) == []
  save(tmp_path / "ir/01.png", np.resize(picture(9), (H, W, 3)))
  (line,) = first_images(SkippingSource(CachedSource(source)))
  assert line.startswith("1 of 3 infrared images looked at: ") and "ir/01.png: in colours" in line
  assert first_images(get_source("synthetic_seg", count=2)) == []
