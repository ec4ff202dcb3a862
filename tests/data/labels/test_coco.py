"""COCO as Roboflow, CVAT, Label Studio and others write it. Boxes are worked out by hand."""

import numpy as np
import pytest
from dialects import BOX, Dialect, H, W, check, coco, named, place, rows, same

from tdfusion_jax.data import get_source

DIALECTS = {
  "Label Studio, names as in an address": Dialect(
    named("images/my%20a.png"), ("person",), {"my a": [BOX]}, {"renamed": 1}, image="my a"
  ),
  "Label Studio, local files": Dialect(
    named("/data/local-files/?d=shots/a.png"), ("person",), {"a": [BOX]}
  ),
  "an address": Dialect(named("s3://bucket/shots/a.png"), ("person",), {"a": [BOX]}),
  "X-AnyLabeling, Windows paths": Dialect(named("D:\\shots\\a.png"), ("person",), {"a": [BOX]}),
  "absolute paths": Dialect(named("/home/x/shots/a.png"), ("person",), {"a": [BOX]}),
  "here": Dialect(named("./a.png"), ("person",), {"a": [BOX]}),
  "ids as texts": Dialect(
    {
      "labels/all.json": coco(
        [{"id": "im-7", "file_name": "a.png"}],
        [{"id": "x", "image_id": "im-7", "category_id": "2", "bbox": [10, 12, 20, 30]}],
        [{"id": "1", "name": "car"}, {"id": 2, "name": "person"}],
      )
    },
    ("car", "person"),
    {"a": [(1, *BOX[1:])]},
  ),
  "ids with gaps, from 0": Dialect(
    {
      "labels/all.json": coco(
        [{"id": 0, "file_name": "a.png"}],
        [{"image_id": 0, "category_id": 90, "bbox": [10.0, 12.0, 20.5, 30.25]}],
        [{"id": 90, "name": "car"}, {"id": 0, "name": "person"}],
      )
    },
    ("person", "car"),
    {"a": [(1, 10, 12, 30.5, 42.25)]},
  ),
  "Roboflow, COCO": Dialect(
    {
      "labels/_annotations.coco.json": coco(
        [{"id": 0, "file_name": "a_png.rf.0123456789abcdef0123456789abcdef.jpg"}],
        [{"image_id": 0, "category_id": 1, "bbox": [10, 12, 20, 30]}],
        [
          {"id": 0, "name": "people", "supercategory": "none"},
          {"id": 1, "name": "person", "supercategory": "people"},
          {"id": 2, "name": "rider", "supercategory": "people"},
        ],
      )
    },
    ("person", "rider"),
    {"a": [BOX]},
    {"root-category": 1, "renamed": 1},
  ),
  "CVAT, crowds": Dialect(
    {
      "labels/all.json": coco(
        annotations=[
          {"image_id": 1, "category_id": 1, "bbox": [10, 12, 20, 30], "iscrowd": 0},
          {"image_id": 1, "category_id": 1, "bbox": [0, 0, 80, 64], "iscrowd": 1},
        ]
      )
    },
    ("person",),
    {"a": [BOX]},
    {"crowd": 1},
  ),
  "makesense, polygons without a bbox": Dialect(
    {
      "labels/all.json": coco(
        annotations=[
          {"image_id": 1, "category_id": 1, "segmentation": [[10, 12, 30, 20, 15, 42]]},
          {"image_id": 1, "category_id": 1, "bbox": [], "segmentation": [10, 12, 30, 20, 15, 42]},
        ]
      )
    },
    ("person",),
    {"a": [BOX, BOX]},
    {"regions": 2},
  ),
  "runs of pixels without a bbox": Dialect(
    {
      # Two columns from x = 3 on, 5 pixels from y = 2 on: 3 * 64 + 2 zeros come first.
      "labels/all.json": coco(
        annotations=[
          {
            "image_id": 1,
            "category_id": 1,
            "segmentation": {"size": [H, W], "counts": [194, 5, 59, 5, H * W - 263]},
          }
        ]
      )
    },
    ("person",),
    {"a": [(0, 3, 2, 5, 7)]},
    {"regions": 1},
  ),
  "COCO in UTF-16": Dialect(
    {"labels/all.json": coco(categories=[{"id": 1, "name": "träger"}]).encode("utf-16")},
    ("träger",),
    {"a": [BOX]},
  ),
}


@pytest.mark.parametrize("name", DIALECTS)
def test_dialects(tmp_path, name):
  check(tmp_path, DIALECTS[name])


def test_the_runs_of_another_program(tmp_path):
  """Compact runs of pycocotools against the pixels that they were made of."""
  encoder = pytest.importorskip("pycocotools.mask")
  rng = np.random.default_rng(3)
  annotations, expected = [], []
  for _ in range(40):
    mask = np.zeros((H, W), np.uint8)
    for _ in range(rng.integers(1, 3)):
      y, x = rng.integers(0, H), rng.integers(0, W)
      mask[y : y + rng.integers(1, 30), x : x + rng.integers(1, 30)] = 1
    runs = encoder.encode(np.asfortranarray(mask))
    segmentation = {"size": [H, W], "counts": runs["counts"].decode()}
    annotations.append({"image_id": 1, "category_id": 1, "segmentation": segmentation})
    ys, xs = np.nonzero(mask)
    expected.append((0, xs.min(), ys.min(), xs.max() + 1, ys.max() + 1))
  root = place(tmp_path, {"labels/all.json": coco(annotations=annotations)})
  same(rows(*get_source("folder", root=root)[0].target), expected)
