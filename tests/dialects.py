"""Labels as other programs write them: how they are made and checked, in an image 80 by 64."""

import json
from collections import Counter
from typing import NamedTuple

import numpy as np
from made_data import picture
from PIL import Image

from tdfusion_jax.data import get_source
from tdfusion_jax.data.labels.convert import read_labels_of
from tdfusion_jax.data.labels.notes import NOTES
from tdfusion_jax.data.verify.pairs import verify

W, H = 80, 64


class Dialect(NamedTuple):
  files: dict
  """Content by path in the data set's folder."""
  classes: tuple
  boxes: dict
  """(class, x1, y1, x2, y2) by the image's name."""
  notes: dict = {}
  image: str = "a"


def yolo(*lines, **more):
  return {"labels/a.txt": "".join(f"{line}\n" for line in lines), **more}


def classes(*names):
  return {"labels/classes.txt": "\n".join(names) + "\n"}


def coco(images=None, annotations=None, categories=None):
  content = {
    "images": images or [{"id": 1, "file_name": "a.png", "width": W, "height": H}],
    "annotations": annotations
    or [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 12, 20, 30]}],
    "categories": categories or [{"id": 1, "name": "person"}],
  }
  return json.dumps(content)


def named(name):
  return {"labels/all.json": coco([{"id": 1, "file_name": name, "width": W, "height": H}])}


def voc(item, head="", name="person"):
  size = f"<size><width>{W}</width><height>{H}</height></size>"
  item = f"<object><name>{name}</name>{item}</object>"
  return f"{head}<annotation>{size}{item}</annotation>"


def bndbox(*sides):
  tags = zip(("xmin", "ymin", "xmax", "ymax"), sides, strict=True)
  return f"<bndbox>{''.join(f'<{tag}>{value}</{tag}>' for tag, value in tags)}</bndbox>"


PERSON, BOTH = classes("person"), classes("person", "car")
BOX = (0, 10, 12, 30, 42)  # of `coco` and of `named`
HALF = "0 0.5 0.5 0.5 0.25"  # a box 40 wide and 16 high in the middle
MIDDLE = (0, 20, 24, 60, 40)
POLYGON = "1 0.1 0.25 0.6 0.125 0.35 0.75 0.2 0.5"  # x 0.1 to 0.6, y 0.125 to 0.75
AROUND = (1, 8, 8, 48, 48)
ONE = {"person": 1}


def place(root, files, image="a"):
  for folder, channels in (("ir", 1), ("vi", 3)):
    (root / folder).mkdir(parents=True, exist_ok=True)
    pixels = picture(channels, channels)
    Image.fromarray(np.resize(pixels, (H, W, 3)[: pixels.ndim])).save(
      root / folder / f"{image}.png"
    )
  for name, content in files.items():
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
  return root


def rows(boxes, indices):
  found = zip(np.asarray(indices).tolist(), np.asarray(boxes).tolist(), strict=True)
  return [(index, *box) for index, box in found]


def same(found, expected):
  assert [row[0] for row in found] == [row[0] for row in expected]
  np.testing.assert_allclose(np.array(found).ravel(), np.array(expected).ravel(), atol=1e-5)


def check(tmp_path, dialect):
  """Read alike in training, by `verify` and by `convert`, and counted in each."""
  root = place(tmp_path, dialect.files, dialect.image)
  source = get_source("folder", root=root)
  assert source.classes == dialect.classes and source.names == list(dialect.boxes)
  same(rows(*source[0].target), dialect.boxes[source.names[0]])
  assert source.notes == Counter(dialect.notes)

  report = verify("folder", root)
  found = {f.kind: f.message for f in report.findings}
  faulty = {kind for kind in ("no-area",) if kind in dialect.notes}  # an error there
  faulty |= {"outside"} & dialect.notes.keys()
  assert report.ok or faulty
  assert found.keys() & NOTES.keys() == dialect.notes.keys()
  assert all(f"{count} {NOTES[kind]}" in found[kind] for kind, count in dialect.notes.items())

  labels = read_labels_of(
    next(root.glob("labels/*all.json"), None)
    or next(root.glob("labels/*.coco.json"), root / "labels"),
    images=root / "vi",
  )
  assert labels.classes == dialect.classes or set(labels.classes) == set(dialect.classes)
  for stem, expected in dialect.boxes.items():
    same(rows(labels.boxes[stem].boxes, labels.boxes[stem].classes), expected)
    assert labels.boxes[stem].size == (H, W)
  assert Counter(labels.notes) == Counter(dialect.notes)
