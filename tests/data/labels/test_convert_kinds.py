"""What `tdfusion data convert` does with names, sizes and borders, by arithmetic."""

import json

import numpy as np
import pytest
from dialects import HALF, H, W, place, voc
from PIL import Image

from tdfusion_jax import cli
from tdfusion_jax.data import DatasetError, get_source
from tdfusion_jax.data.labels.convert import convert, read_labels_of
from tdfusion_jax.data.labels.names import fitted

BOX = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>40</ymax></bndbox>"


def stated(name):
  return voc(BOX).replace("<annotation>", f"<annotation><filename>{name}</filename>")


def test_coco_names_image_files(tmp_path):
  files = {"a.xml": voc(BOX), "b.xml": stated("b"), "c.xml": stated("D:\\img\\c.jpg")}
  root = place(tmp_path, {f"labels/{name}": text for name, text in files.items()})
  with pytest.raises(DatasetError, match=r"2 image\(s\) are not known, .*: a, b; .*--images"):
    convert(root / "labels", tmp_path / "o.json", "coco")
  assert not (tmp_path / "o.json").exists()
  for name in "abc":
    Image.new("L", (W, H)).save(root / "vi" / f"{name}.png")
  convert(root / "labels", tmp_path / "o.json", "coco", images=root / "vi")
  images = json.loads((tmp_path / "o.json").read_text())["images"]
  assert [image["file_name"] for image in images] == ["a.png", "b.png", "c.png"]
  for name in "ab":
    (root / f"labels/{name}.xml").unlink()
  convert(root / "labels", tmp_path / "p.json", "coco")
  assert json.loads((tmp_path / "p.json").read_text())["images"][0]["file_name"] == "c.jpg"


@pytest.mark.parametrize(("orientation", "size"), [(1, (60, 80)), (3, (60, 80)), (6, (80, 60))])
def test_labels_mean_the_picture_as_it_is_shown(tmp_path, orientation, size):
  exif = Image.Exif()
  exif[0x0112] = orientation
  (tmp_path / "vi").mkdir()
  Image.new("RGB", (80, 60)).save(tmp_path / "vi/a.jpg", exif=exif)
  (tmp_path / "labels").mkdir()
  (tmp_path / "labels/a.txt").write_text("0 0.25 0.125 0.5 0.25\n")
  found = read_labels_of(tmp_path / "labels", images=tmp_path / "vi", classes="person").boxes["a"]
  height, width = size
  assert found.size == size and found.boxes.tolist() == [[0, 0, width / 2, height / 4]]


def test_a_label_made_for_the_unturned_picture_is_refused(tmp_path):
  exif = Image.Exif()
  exif[0x0112] = 6
  (tmp_path / "vi").mkdir()
  Image.new("RGB", (W, H)).save(tmp_path / "vi/a.jpg", exif=exif)
  (tmp_path / "labels").mkdir()
  (tmp_path / "labels/a.xml").write_text(voc(BOX))
  with pytest.raises(DatasetError, match="image of 80x64, but .*a.jpg is 64x80; .*EXIF"):
    read_labels_of(tmp_path / "labels", images=tmp_path / "vi")


def test_the_command_counts(tmp_path, capsys):
  far = "0 0.9 0.5 0.4 0.1"  # to 1.1 of the width: 8 pixels outside
  near = "0 0.1 0.5 0.201 0.1"  # 0.04 pixels outside
  gone = "0 1.005 0.5 0.004 0.1"
  lines = [f"{HALF} 0.9", far, near, gone]
  root = place(tmp_path, {"labels/a.txt": "\n".join(lines), "names.yaml": "names: [person]"})
  common = ["data", "convert", f"--labels={root / 'labels'}", f"--images={root / 'vi'}"]
  common.append(f"--classes={root / 'names.yaml'}")
  assert cli.main([*common, "--to=coco", f"--out={root / 'o.json'}"]) == 0
  printed = capsys.readouterr().out
  assert "o.json: 3 boxes of 1 images, classes person" in printed
  for text in (
    "note: 1 line(s) with a sixth column",
    "note: 1 box(es) that reach outside their image, cut at its border",
    "note: 1 box(es) that reach more than a pixel outside their image, kept as they are",
    "note: 1 box(es) with nothing inside their image, left out",
  ):
    assert text in printed
  boxes = [b["bbox"] for b in json.loads((root / "o.json").read_text())["annotations"]]
  expected = [[20, 24, 40, 16], [56, 28.8, 32, 6.4], [0, 28.8, 16.04, 6.4]]
  np.testing.assert_allclose(boxes, expected, atol=1e-9)


def test_labels_in_folders_below_are_named(tmp_path):
  root = place(tmp_path, {"labels/train/a.txt": HALF, "labels/val/b.txt": HALF})
  with pytest.raises(
    DatasetError, match="labels: holds no .*; give one of its folders: train, val"
  ):
    read_labels_of(root / "labels", images=root / "vi", classes="person")
  (root / "data.yaml").write_text("names: [person]")
  with pytest.raises(DatasetError, match="give a folder of labels, and it as --classes="):
    read_labels_of(root / "data.yaml", images=root / "vi")


@pytest.mark.parametrize("where", ["data.yaml", "train/data.yaml", "train/labels/data.yaml"])
def test_classes_are_found_above_the_labels(tmp_path, where):
  """Roboflow's way: data.yaml beside train/ and valid/."""
  root = place(tmp_path / "set/train", {"labels/a.txt": HALF}).parent
  (root / where).write_text("train: ../train/images\nnc: 1\nnames: ['person']\n")
  labels = read_labels_of(root / "train/labels", images=root / "train/vi")
  assert labels.classes == get_source("folder", root=root).classes == ("person",)


@pytest.mark.parametrize(
  ("labels", "images", "expected"),
  [
    ("a", "a", "a"),
    ("0a1b2c3d-a", "a", "a"),
    ("0a1b2c3d-a", "a 0a1b2c3d-a", "0a1b2c3d-a"),  # an image of just this name comes first
    ("0a1b2c3d-a a", "a", "0a1b2c3d-a a"),  # another label has the image
    ("0a1b2c3d-a 11111111-a", "a", "0a1b2c3d-a 11111111-a"),  # which of both?
    ("a_jpg.rf.0123456789abcdef0123", "a", "a"),
    ("b", "a", "b"),
  ],
)
def test_names_after_an_upload(labels, images, expected):
  found, renamed = fitted(dict.fromkeys(labels.split()), images.split())
  assert sorted(found) == sorted(expected.split())
  assert renamed == len(set(expected.split()) - set(labels.split()))
