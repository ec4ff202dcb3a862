"""`tdfusion data convert`: there and back gives the same numbers; what cannot go is named."""

import itertools
import json

import numpy as np
import pytest
from helpers import real_data
from PIL import Image

from tdfusion_jax import cli
from tdfusion_jax.data import DatasetError, get_source
from tdfusion_jax.data.labels.convert import convert, read_labels_of

SIZES = {
  "a": (480, 641),
  "b": (1023, 1279),
  "empty": (7, 13),
}  # odd, so that few fractions are finite


@pytest.fixture
def images(tmp_path):
  folder = tmp_path / "images"
  folder.mkdir()
  for name, size in SIZES.items():
    Image.fromarray(np.zeros(size, np.uint8)).save(folder / f"{name}.jpg")
  return folder


def place(tmp_path, form, name):
  return tmp_path / (f"{name}.json" if form == "coco" else name)


def rows(labels):
  return {k: (v.boxes.tolist(), v.classes.tolist(), v.size) for k, v in labels.boxes.items()}


@pytest.mark.parametrize("way", list(itertools.permutations(["voc", "yolo", "coco"])))
def test_round_trips_lose_nothing(tmp_path, images, way):
  """The numbers are drawn here as whole pixels and hundredths of pixels.

  Each form must hand them back exactly.
  """
  rng = np.random.default_rng(0)
  annotations, pictures = [], []
  for number, (name, (height, width)) in enumerate(SIZES.items()):
    pictures.append({"id": number, "file_name": f"{name}.jpg", "height": height, "width": width})
    for i in range(0 if name == "empty" else 200):
      scale = (1, 100)[i % 2]
      x, y = (int(rng.integers(0, (n - 9) * scale)) / scale for n in (width, height))
      box = [x, y, int(rng.integers(1, 9 * scale)) / scale, int(rng.integers(1, 9 * scale)) / scale]
      annotations.append({"image_id": number, "category_id": i % 3, "bbox": box})
  names = ["zebra & co", "ape", "Moth"]
  content = {"images": pictures, "annotations": annotations}
  content["categories"] = [{"id": i, "name": name} for i, name in enumerate(names)]
  first = tmp_path / "first.json"
  first.write_text(json.dumps(content))
  start = rows(read_labels_of(first))
  expected = [
    round(v, 9)
    for x, y, w, h in (a["bbox"] for a in annotations[:200])
    for v in (x, y, x + w, y + h)
  ]
  assert sum(start["a"][0], []) == expected
  here = first
  for turn, form in enumerate((*way, *way)):
    there = place(tmp_path, form, f"{turn}_{form}")
    labels = convert(here, there, form, images=images)
    assert rows(labels) == start and labels.classes == tuple(names)
    assert {**labels.files} == {name: f"{name}.jpg" for name in SIZES}
    here = there
  assert rows(read_labels_of(here, images=images)) == start


def test_yolo_fractions_come_back_as_they_were(tmp_path, images):
  rng = np.random.default_rng(1)
  lines = []
  for _ in range(100):
    w, h = (int(v) / 10**6 for v in rng.integers(1, 10**5, 2))
    lines.append(
      f"{int(rng.integers(2))} {int(rng.integers(10**5, 9 * 10**5)) / 10**6} 0.5 {w} {h}\n"
    )
  (tmp_path / "yolo").mkdir()
  (tmp_path / "yolo/b.txt").write_text("".join(lines))
  (tmp_path / "yolo/classes.txt").write_text("x\ny\n")
  for form in ("voc", "coco"):
    convert(tmp_path / "yolo", place(tmp_path, form, form), form, images=images)
    convert(place(tmp_path, form, form), tmp_path / f"back_{form}", "yolo")
    back = (tmp_path / f"back_{form}/b.txt").read_text().splitlines()
    assert [[float(v) for v in line.split()] for line in back] == [
      [float(v) for v in line.split()] for line in lines
    ]
  assert not (tmp_path / "back_voc/a.txt").exists()  # unlabelled is not empty


def test_the_readers_take_what_is_written(tmp_path, images):
  root = tmp_path / "set"
  for folder in ("ir", "vi"):
    (root / folder).mkdir(parents=True)
    for path in images.iterdir():
      (root / folder / path.name).write_bytes(path.read_bytes())
  for form in ("voc", "yolo", "coco"):
    (tmp_path / f"in_{form}").mkdir()
    (tmp_path / f"in_{form}/a.txt").write_text("1 0.5 0.5 0.25 0.5\n")
    (tmp_path / f"in_{form}/classes.txt").write_text("x\ny\n")
    out = root / "labels"
    convert(
      tmp_path / f"in_{form}", out / "all.json" if form == "coco" else out, form, images=images
    )
    source = get_source("folder", root=root)
    assert (
      source.classes == ("x", "y") and source.names == ["a"] and source[0].target[1].tolist() == [1]
    )
    height, width = SIZES["a"]
    expected = [[width * 3 / 8, height / 4, width * 5 / 8, height * 3 / 4]]
    np.testing.assert_allclose(source[0].target[0], expected, rtol=1e-6)
    for path in out.iterdir():
      path.unlink()
    out.rmdir()


def test_what_cannot_be_converted_is_named(tmp_path, images):
  folder = tmp_path / "voc"
  folder.mkdir()
  box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>700</xmax><ymax>4</ymax></bndbox>"
  (folder / "a.xml").write_text(f"<annotation><object><name>x</name>{box}</object></annotation>")
  with pytest.raises(DatasetError, match="size of image 'a' is not known.*--images"):
    convert(folder, tmp_path / "out", "yolo")
  with pytest.raises(
    DatasetError, match=r"a: box \(1, 1, 700, 4\) does not fit its image of 641x480"
  ):
    convert(folder, tmp_path / "out", "yolo", images=images)
  assert not (tmp_path / "out").exists()
  with pytest.raises(DatasetError, match="exists"):
    convert(folder, images, "yolo", images=images)
  with pytest.raises(DatasetError, match="neither a folder"):
    convert(tmp_path / "nowhere", tmp_path / "out", "yolo")
  (folder / "b.txt").write_text("")
  with pytest.raises(DatasetError, match="both"):
    convert(folder, tmp_path / "out.json", "coco", images=images)


def test_coco_goes_into_a_json_file(tmp_path, images):
  """Under another name it could not be read back."""
  folder = tmp_path / "yolo"
  folder.mkdir()
  (folder / "a.txt").write_text("0 .5 .5 .2 .2\n")
  with pytest.raises(
    DatasetError, match="out: COCO is one file; give it a name that ends with .json"
  ):
    convert(folder, tmp_path / "out", "coco", images=images, classes=["x"])
  with pytest.raises(DatasetError, match=r"nowhere \(--images\) is not a folder"):
    convert(folder, tmp_path / "out.json", "coco", images=tmp_path / "nowhere", classes=["x"])
  (folder / "zzz.txt").write_text("0 .5 .5 .2 .2\n")
  with pytest.raises(
    DatasetError,
    match="zzz.txt: the size of image 'zzz' is not known; .*images has no image of this",
  ):
    convert(folder, tmp_path / "out.json", "coco", images=images, classes=["x"])


@pytest.mark.parametrize(
  ("classes", "match"),
  [
    (["car", "car"], "must be different, got car, car"),
    (["car", "Car"], "differ in case only"),
    (["car", " van"], "' van' has blanks"),
    (["car", "a\nb"], "cannot be printed"),
  ],
)
def test_class_names_that_would_not_come_back(tmp_path, images, classes, match):
  folder = tmp_path / "yolo"
  folder.mkdir()
  (folder / "a.txt").write_text("1 .5 .5 .2 .2\n")
  with pytest.raises(DatasetError, match=match):
    convert(folder, tmp_path / "voc", "voc", images=images, classes=classes)
  assert not (tmp_path / "voc").exists()
  if "case" in match:  # the other forms keep them apart
    convert(folder, tmp_path / "all.json", "coco", images=images, classes=classes)
    labels = read_labels_of(tmp_path / "all.json")
    assert labels.classes == ("car", "Car") and labels.boxes["a"].classes.tolist() == [1]


def test_the_command_on_real_labels(tmp_path, capsys):
  source = real_data() / "LLVIP" / "Annotations"
  for form, here, there in (
    ("yolo", source, tmp_path / "yolo"),
    ("coco", tmp_path / "yolo", tmp_path / "all.json"),
    ("voc", tmp_path / "all.json", tmp_path / "voc"),
  ):
    (tmp_path / "images").mkdir(exist_ok=True)
    for split in ("train", "test"):
      for path in (source.parent / "visible" / split).iterdir():
        (tmp_path / "images" / path.name).symlink_to(path) if not (
          tmp_path / "images" / path.name
        ).exists() else None
    arguments = ["data", "convert", f"--labels={here}", f"--to={form}", f"--out={there}"]
    assert cli.main([*arguments, f"--images={tmp_path / 'images'}"]) == 0
    assert "30 boxes of 11 images, classes person" in capsys.readouterr().out
  assert rows(read_labels_of(tmp_path / "voc")) == rows(read_labels_of(source))
