"""Hostile and damaged files: every reader names file and field; the fuzzer finds nothing."""

import json
import time

import fuzz_readers
import fuzzing
import numpy as np
import pytest
from PIL import Image

from tdfusion_jax.data import DatasetError
from tdfusion_jax.data.images import read_gray, read_visible
from tdfusion_jax.data.labels.coco import read_coco
from tdfusion_jax.data.labels.masks import read_labels
from tdfusion_jax.data.labels.splitlist import read_split_file
from tdfusion_jax.data.labels.voc import read_voc
from tdfusion_jax.data.labels.yolo import read_yolo

LAUGHS = """<!DOCTYPE lolz [<!ENTITY lol "lol"><!ENTITY lol2 "&lol;&lol;&lol;">
<!ENTITY lol3 "&lol2;&lol2;&lol2;">]>
<annotation><object><name>&lol3;</name></object></annotation>"""


def voc(name="person", box=(1, 2, 3, 4), size=""):
  sides = "".join(
    f"<{s}>{v}</{s}>" for s, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
  )
  return (
    f"<annotation>{size}<object><name>{name}</name><bndbox>{sides}</bndbox></object></annotation>"
  )


@pytest.mark.parametrize(
  ("text", "match"),
  [
    (LAUGHS, "refused"),
    (
      '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><annotation>&b;</annotation>',
      "refused",
    ),
    ('<?xml version="1.0" encoding="nonsense"?><annotation/>', "cannot be read as XML"),
    (voc(box=("nan", 1, 2, 3)), "object 1: person xmin is 'nan', not a finite number"),
    (voc(box=(9, 1, 2, 3)), "object 1: person bndbox is inverted"),
    (voc(box=(0, 0, "1e300", 3)), "object 1: person xmax is '1e300', beyond the limit"),
    (voc(name="dog"), "object 1: unknown class 'dog'; known: person"),
    (
      voc(size="<size><width>1e30</width><height>4</height></size>"),
      "size/width is '1e30', beyond the limit",
    ),
    ("<html/>", "not a Pascal VOC file"),
  ],
)
def test_voc(tmp_path, text, match):
  path = tmp_path / "x.xml"
  path.write_text(text)
  with pytest.raises(DatasetError, match=match) as error:
    read_voc(path, ("person",))
  assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
  ("line", "match"),
  [
    ("0 .5 .5 nan .2", "line 2: w is 'nan', not a finite"),
    ("0 .5 .5 -.1 .2", r"line 2 has values outside \[0, 1\]"),
    ("7 .5 .5 .1 .2", "line 2: class index 7 is not in 0 to 1"),
    ("0.5 .5 .5 .1 .2", "line 2: class index 0.5"),
    ("0 .5 .5 .1", "line 2 has 4 fields"),
  ],
)
def test_yolo(tmp_path, line, match):
  path = tmp_path / "x.txt"
  path.write_text(f"0 .5 .5 .1 .1\n{line}\n")
  with pytest.raises(DatasetError, match=match):
    read_yolo(path, 2, (10, 10))


def coco(**changes):
  content = {
    "images": [{"id": 1, "file_name": "a.png"}],
    "categories": [{"id": 1, "name": "x"}],
    "annotations": [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}],
  }
  return {**content, **changes}


@pytest.mark.parametrize(
  ("content", "match"),
  [
    ("[" * 100000, "cannot be read as JSON"),
    ('{"images": ' + "9" * 5000 + "}", "cannot be read as JSON"),
    ("[]", "not a COCO file"),
    (coco(images=3), "images is not a list"),
    (
      coco(images=[{"id": 1, "file_name": "../../a.png"}]),
      r"images\[0\].file_name is '../../a.png'",
    ),
    (coco(images=[{"id": 1, "file_name": "/etc/passwd"}]), r"images\[0\].file_name"),
    (coco(images=[{"id": [], "file_name": "a.png"}]), r"images\[0\].id is \[\], not an integer"),
    (
      coco(images=[{"id": 1, "file_name": "a.png", "width": "wide", "height": 3}]),
      r"images\[0\].width",
    ),
    (
      coco(annotations=[{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3]}]),
      r"annotations\[0\].bbox is \[1, 2, 3\]",
    ),
    (
      coco(annotations=[{"image_id": 1, "category_id": 1, "bbox": [1, 2, -3, 4]}]),
      r"annotations\[0\].bbox is inverted",
    ),
    (
      coco(annotations=[{"image_id": 1, "category_id": 1, "bbox": [1, 2, True, 4]}]),
      "True, not a number",
    ),
    (
      coco(annotations=[{"image_id": 1, "category_id": 9, "bbox": [1, 2, 3, 4]}]),
      "category_id 9 is not among",
    ),
    (
      coco(annotations=[{"image_id": 5, "category_id": 1, "bbox": [1, 2, 3, 4]}]),
      "image_id 5 is not among",
    ),
    (
      '{"images": [], "categories": [], "annotations": [], "x": NaN, "images": [NaN]}',
      "images is not a list",
    ),
  ],
)
def test_coco(tmp_path, content, match):
  path = tmp_path / "x.json"
  path.write_text(content if isinstance(content, str) else json.dumps(content))
  with pytest.raises(DatasetError, match=match) as error:
    read_coco(path)
  assert str(path) in str(error.value)


@pytest.mark.parametrize(
  "name", ["../a.png", "/etc/passwd", "..", "C:\\a.png", "a\x00.png", "a" * 300]
)
def test_split_lists_cannot_leave_the_folder(tmp_path, name):
  path = tmp_path / "x.txt"
  path.write_text(f"b.png\n{name} 1,2,3,4,0\n")
  with pytest.raises(DatasetError, match="not a plain file name") as error:
    read_split_file(path, 1)
  assert len(str(error.value)) < len(str(path)) + 100


def test_enormous_label_files_are_not_read(tmp_path):
  path = tmp_path / "x.txt"
  with path.open("wb") as file:
    file.truncate(17 << 20)  # sparse
  with pytest.raises(DatasetError, match="larger than the limit of 16 MiB"):
    read_yolo(path, 1, (4, 4))


@pytest.mark.parametrize("reader", [read_gray, read_visible, lambda path: read_labels(path, 9)])
def test_images(tmp_path, reader):
  path = tmp_path / "x.png"
  Image.fromarray(np.random.default_rng(0).integers(0, 9, (40, 40), np.uint8)).save(path)
  content = path.read_bytes()
  reader(path)
  postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(x) show\n"
  for damaged in (
    content[:-200],
    content[:30],
    b"",
    postscript,
    content[:60] + bytes(90) + content[150:],
  ):
    path.write_bytes(damaged)
    with pytest.raises(DatasetError, match=r"x\.png: cannot be read as an image"):
      reader(path)
  long = tmp_path / "long.png"
  Image.fromarray(np.zeros((1, 70_000), np.uint8)).save(long)
  with pytest.raises(DatasetError, match="70000x1 pixels, a side longer than the limit"):
    reader(long)


def test_fuzzer_finds_nothing():
  """The full run has 10,000 files, see docs/project/reliability.md; another seed here."""
  counts, failures, longest = fuzzing.fuzz(fuzz_readers.target(), 400, seed=7)
  assert not failures and longest < 5
  kinds = ("image", "voc", "yolo", "coco", "split", "names")
  assert all(counts[kind, "refused"] > 20 for kind in kinds if kind != "names"), counts
  assert counts["names", "refused"] > 5  # nearly any text is a list of names
  assert sum(counts[kind, "read"] for kind in kinds) > 40  # harmless damage gets through


def test_fuzzer_notices_what_it_looks_for(monkeypatch):
  """tests/test_fuzzing.py has each kind of fault; these are seen through the readers too."""

  def broken(*_):
    raise KeyError("bbox")

  def nameless(*_):
    raise DatasetError("something is wrong")

  def slow(*_):
    time.sleep(0.6)
    return {}, ()

  found = {}
  for reader in (broken, nameless, slow):
    monkeypatch.setattr(fuzz_readers, "read_coco", reader)
    limit = 0.5 if reader is slow else 5.0
    found[reader] = fuzzing.fuzz(fuzz_readers.target(), 40, seed=0, limit=limit).failures
    assert found[reader] and all("(coco)" in line for line in found[reader])
  assert "KeyError" in found[broken][0]
  assert "message without the file's name: something is wrong" in found[nameless][0]
  assert "(coco): took 0." in found[slow][0]
