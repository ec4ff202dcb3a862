"""A folder's options: which value is unlabelled, which pairs without a label are background."""

import numpy as np
import pytest
from made_data import picture, save
from PIL import Image

from configs import load
from tdfusion_jax import cli
from tdfusion_jax.data import DatasetError, RecordSource, get_source
from tdfusion_jax.data.records.tfds import build
from tdfusion_jax.train.build import config_to_json, source

H, W = 12, 16


@pytest.fixture
def root(tmp_path):
  for i, name in enumerate("abc"):
    save(tmp_path / f"ir/{name}.png", picture(i, 1)[:H, :W])
    save(tmp_path / f"vi/{name}.png", picture(9 + i)[:H, :W])
  return tmp_path


def masks(root, mask, names="abc", classes="road\nperson\ncar\n"):
  for name in names:
    save(root / f"labels/{name}.png", mask)
  (root / "labels/classes.txt").write_text(classes)


def boxes(root, names="a", line="1 .5 .5 .25 .5"):
  (root / "labels").mkdir()
  (root / "labels/classes.txt").write_text("person\ncar\n")
  for name in names:
    (root / f"labels/{name}.txt").write_text(f"{line}\n")


@pytest.mark.parametrize("value", [0, 2, 200])
def test_a_value_may_be_unlabelled_and_need_not_be_a_class(root, value):
  mask = np.arange(H * W).reshape(H, W) % 3
  mask[3] = value
  masks(root, mask)
  expected = np.where(mask == value, 255, mask)
  np.testing.assert_array_equal(
    get_source("folder", root=root, unlabelled=value)[0].target, expected
  )


def test_unlabelled_is_of_masks(root):
  boxes(root)
  with pytest.raises(DatasetError, match="unlabelled=0 is for masks, and these are boxes"):
    get_source("folder", root=root, unlabelled=0)


def test_records_take_it_too(root, tmp_path):
  mask = np.arange(H * W).reshape(H, W) % 3
  masks(root, mask)
  build("folder", root, tmp_path / "rec", options={"": {"unlabelled": 0}})
  records = RecordSource(tmp_path / "rec", "folder", "train", unlabelled=0)
  np.testing.assert_array_equal(records[1].target, np.where(mask == 0, 255, mask))
  assert {v: n for v, n in records.look(1).counts.items() if n} == {1: 64, 2: 64, 255: 64}


def test_pairs_without_a_label_are_background_on_request(root):
  boxes(root)
  assert get_source("folder", root=root).names == ["a"]
  kept = get_source("folder", root=root, unlabelled_images="keep")
  assert [sample.target is None for sample in kept] == [False, True, True]
  assert get_source("folder", root=root, labelled_only=False).names == kept.names
  source = get_source("folder", root=root, unlabelled_images="background")
  assert [len(sample.target.boxes) for sample in source] == [1, 0, 0]
  assert source[1].target.boxes.shape == (0, 4) and source[1].target.boxes.dtype == np.float32
  masks(root, np.zeros((H, W)), "a")
  (root / "labels/a.txt").unlink()
  with pytest.raises(DatasetError, match="'background' is for boxes; save masks of class 0"):
    get_source("folder", root=root, unlabelled_images="background")


def test_classes_may_be_a_text_or_a_file(root, tmp_path):
  boxes(root)
  (root / "labels/classes.txt").unlink()
  (tmp_path / "my.yaml").write_text("names: [person, car]\n")
  for given in ("person,car", ("person", "car"), str(tmp_path / "my.yaml")):
    assert get_source("folder", root=root, classes=given).classes == ("person", "car")
  with pytest.raises(DatasetError, match=r"give option classes \(data.train_options.classes and"):
    get_source("folder", root=root)


@pytest.mark.parametrize(
  ("pixels", "palette"),
  [
    (np.uint8, None),
    (np.uint8, "P"),
    (np.uint16, None),
    (np.uint8, "RGB"),
    (np.uint8, "LA"),
  ],
)
def test_kinds_of_masks(root, pixels, palette):
  """8 and 16 bits, a palette's indices, equal channels: the same classes."""
  mask = np.arange(H * W).reshape(H, W) % 3
  masks(root, mask)
  image = Image.fromarray(mask.astype(pixels))
  if palette == "P":
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
  elif palette:
    image = image.convert(palette)
  image.save(root / "labels/a.png")
  np.testing.assert_array_equal(get_source("folder", root=root)[0].target, mask)


def test_a_mask_of_one_bit(root):
  mask = np.arange(H * W).reshape(H, W) % 2
  masks(root, mask)
  Image.fromarray(mask.astype(bool)).save(root / "labels/a.png")
  np.testing.assert_array_equal(get_source("folder", root=root)[0].target, mask)
  with pytest.raises(DatasetError, match="must be 0 to 0 or 255, found 0, 1"):
    _ = get_source("folder", root=root, classes=["road"])[0]


def test_colours_are_named(root):
  masks(root, np.zeros((H, W)))
  save(
    root / "labels/b.png",
    np.where(np.arange(W)[None, :, None] < 5, [128, 0, 0], [0, 0, 128]) + np.zeros((H, 1, 1)),
  )
  with pytest.raises(DatasetError, match=r"b.png: colour-coded labels \(2 colours"):
    _ = get_source("folder", root=root)[1]


def test_the_commands_take_the_options(root, tmp_path, capsys):
  boxes(root, line="1 .1 .1 .5 .1 .3 .5")
  common = ["--dataset=folder", f"--root={root}", "--option=unlabelled_images=background"]
  assert cli.main(["data", "verify", "--no-html", *common]) == 0
  assert "2 of 3 pairs have no label file: images with nothing in them" in capsys.readouterr().out
  assert cli.main(["data", "build", f"--data_dir={tmp_path / 'rec'}", *common]) == 0
  printed = capsys.readouterr()
  assert "train: 3 pairs" in printed.out
  assert "detection, 2 classes (person, car): 1 polygon(s), each read as the box" in printed.err


def test_the_configs_hand_the_options_on(root):
  mask = np.arange(H * W).reshape(H, W) % 3
  masks(root, mask)
  config = load("folder_seg")
  config.data.root = str(root)
  np.testing.assert_array_equal(source(config, "train")[0].target, mask)
  config.data.train_options.unlabelled = 0
  expected = np.where(mask == 0, 255, mask)
  np.testing.assert_array_equal(source(config, "train")[0].target, expected)
  np.testing.assert_array_equal(source(config, "val")[0].target, mask)
  assert config_to_json(config)["data"]["val_options"]["unlabelled"] is None
  for path in (root / "labels").glob("*.png"):
    path.unlink()
  (root / "labels/a.txt").write_text("1 .5 .5 .25 .5\n")
  config = load("folder_det")
  changes = {"root": str(root), "train_options.classes": "x,y", "val_options.classes": "x,y"}
  changes["train_options.unlabelled_images"] = "background"
  config.data.update_from_flattened_dict(changes)
  train, val = source(config, "train"), source(config, "val")
  assert (len(train), len(val)) == (3, 1) and train.classes == val.classes == ("x", "y")
