"""The user's own folders: label-free, masks, YOLO, VOC and COCO."""

import json

import numpy as np
import pytest
from PIL import Image

from tdfusion_jax.data import DatasetError, get_source

H, W = 10, 20


@pytest.fixture
def root(tmp_path):
  for i, name in enumerate(("a", "b", "c")):
    for folder, image in (
      ("ir", np.full((H, W), i, np.uint8)),
      ("vi", np.full((H, W, 3), 9 + i, np.uint8)),
    ):
      (tmp_path / folder).mkdir(exist_ok=True)
      Image.fromarray(image).save(tmp_path / folder / f"{name}.png")
  return tmp_path


def labels(root, name, text):
  (root / "labels").mkdir(exist_ok=True)
  (root / "labels" / name).write_text(text)


def test_without_labels(root):
  source = get_source("folder", root=root)
  assert source.names == ["a", "b", "c"] and source.kind is None and source.classes == ()
  assert source[2].target is None and source[2].ir[0, 0] == 2 and source[-1].name == "c"
  assert "no labels" in source.describe()


def test_split_folders(root, tmp_path):
  for folder in ("ir", "vi"):
    (tmp_path / "set" / "test").mkdir(parents=True, exist_ok=True)
    (root / folder).rename(tmp_path / "set" / "test" / folder)
  assert len(get_source("folder", root=tmp_path / "set", split="test")) == 3
  with pytest.raises(DatasetError, match="ir is missing"):
    get_source("folder", root=tmp_path / "set", split="train")


def test_gray_visible_keeps_one_channel(root):
  Image.fromarray(np.full((H, W), 5, np.uint8)).save(root / "vi" / "a.png")
  assert get_source("folder", root=root)[0].vi.shape == (H, W)


def test_missing_partners_are_listed(root):
  (root / "vi" / "b.png").unlink()
  with pytest.raises(DatasetError, match="1 file.*ir without a partner in .*vi: b"):
    get_source("folder", root=root)
  (root / "ir" / "b.png").unlink()
  assert get_source("folder", root=root).names == ["a", "c"]
  Image.fromarray(np.zeros((H, W), np.uint8)).save(root / "ir" / "a.jpg")
  with pytest.raises(DatasetError, match="two files share a name"):
    get_source("folder", root=root)


def test_masks(root):
  labels(root, "classes.txt", "road\ncar\n")
  mask = np.zeros((H, W), np.uint8)
  mask[2, 3], mask[4, 5] = 1, 255
  Image.fromarray(mask).save(root / "labels" / "b.png")
  source = get_source("folder", root=root)
  assert (
    source.names == ["b"] and source.kind == "segmentation" and source.classes == ("road", "car")
  )
  np.testing.assert_array_equal(source[0].target, mask)
  assert get_source("folder", root=root, labelled_only=False)[0].target is None
  Image.fromarray(mask).save(root / "labels" / "z.png")
  with pytest.raises(DatasetError, match="without a pair: z"):
    get_source("folder", root=root)


def test_yolo(root):
  labels(root, "a.txt", "1 0.5 0.5 0.2 0.4\n")
  labels(root, "b.txt", "")
  with pytest.raises(DatasetError, match="class names are needed"):
    get_source("folder", root=root)
  source = get_source("folder", root=root, classes=("x", "y"))
  assert source.names == ["a", "b"] and source.kind == "detection"
  # centre (10, 5), 4 wide and 4 high in a 20 x 10 image
  np.testing.assert_allclose(source[0].target[0], [[8, 3, 12, 7]], rtol=1e-6)
  assert source[0].target[1].tolist() == [1] and source[1].target[0].shape == (0, 4)
  for text, match in (
    ("2 .5 .5 .2 .2", "class index 2"),
    ("0 10 5 4 4", "fractions"),
    ("0 .5 .5 .2", "4 fields"),
    ("0 .5 x .2 .2", "not a number"),
  ):
    labels(root, "a.txt", text)
    with pytest.raises(DatasetError, match=match):
      source[0]


def test_voc(root):
  labels(
    root,
    "a.xml",
    "<annotation><object><name>y</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>3</xmax>"
    "<ymax>4</ymax></bndbox></object></annotation>",
  )
  boxes, classes = get_source("folder", root=root, classes=("x", "y"))[0].target
  np.testing.assert_array_equal(boxes, [[1, 2, 3, 4]])
  assert classes.tolist() == [1]


def test_coco(root):
  content = {
    "categories": [{"id": 7, "name": "car"}, {"id": 3, "name": "man"}],
    "images": [
      {"id": 1, "file_name": "a.png", "width": W, "height": H},
      {"id": 2, "file_name": "sub/c.png"},
    ],
    "annotations": [
      {"image_id": 1, "category_id": 7, "bbox": [2, 3, 4, 5]},
      {"image_id": 1, "category_id": 3, "bbox": [0, 0, 9, 9], "iscrowd": 1},
    ],
  }
  labels(root, "all.json", json.dumps(content))
  source = get_source("folder", root=root)
  assert source.names == ["a", "c"] and source.classes == ("man", "car")
  np.testing.assert_array_equal(source[0].target[0], [[2, 3, 6, 8]])
  assert source[0].target[1].tolist() == [1] and source[1].target[0].shape == (0, 4)
  with pytest.raises(DatasetError, match="its categories are man, car"):
    get_source("folder", root=root, classes=("car", "man"))
  content["images"][1]["file_name"] = ".."
  labels(root, "all.json", json.dumps(content))
  with pytest.raises(DatasetError, match="plain file name"):
    get_source("folder", root=root)
  for text, match in (("{", "as JSON"), ("{}", "not a COCO file"), ("[]", "not a COCO file")):
    labels(root, "all.json", text)
    with pytest.raises(DatasetError, match=match):
      get_source("folder", root=root)


def test_mixed_or_empty_label_folders(root):
  (root / "labels").mkdir()
  with pytest.raises(DatasetError, match="no label file"):
    get_source("folder", root=root)
  labels(root, "a.txt", "")
  labels(root, "a.xml", "")
  with pytest.raises(DatasetError, match="several kinds"):
    get_source("folder", root=root)
