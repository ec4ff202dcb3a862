"""Records made by `tdfusion data build` hand out what the folder does, without TensorFlow.

The expected values are the folder readers' own samples and batches.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from made_data import picture, save, voc
from PIL import Image

from configs import load
from tdfusion_jax import cli
from tdfusion_jax.data import DatasetError, RecordSource, get_source
from tdfusion_jax.data.records.tfds import build
from tdfusion_jax.train import build as assemble

tfds = pytest.importorskip("tensorflow_datasets")
ROOT = str(Path(__file__).resolve().parents[3])


@pytest.fixture
def boxed(tmp_path):
  """LLVIP's layout with all that is awkward.

  Gray visible, JPEG, coloured infrared, empty and missing labels.
  """
  root = tmp_path / "llvip"
  for i, name in enumerate("abcdef"):
    split = "test" if name in "ef" else "train"
    save(root / f"infrared/{split}/{name}.png", picture(i, 3 if name == "b" else 1))
    if name == "c":
      save(root / f"visible/{split}/{name}.jpg", picture(50 + i))
    else:
      save(root / f"visible/{split}/{name}.png", picture(50 + i, 1 if name == "a" else 3))
    if name != "d":
      boxes = [("person", 1.25, 2, 30.1, 33.3), ("person", 4, 5, 6, 70)] if name != "e" else []
      voc(root / f"Annotations/{name}.xml", *boxes)
  return root


def assert_equal(one, other):
  assert one.names == other.names and one.classes == other.classes and one.kind == other.kind
  for i in range(len(one)):
    a, b = one[i], other[i]
    assert a.name == b.name
    for x, y in ((a.ir, b.ir), (a.vi, b.vi)):
      assert x.dtype == y.dtype and x.shape == y.shape
      np.testing.assert_array_equal(x, y)
    assert (a.target is None) == (b.target is None)
    targets = (
      zip(a.target, b.target, strict=True)
      if isinstance(a.target, tuple)
      else [(a.target, b.target)]
    )
    for x, y in targets:
      assert x is None or (x.dtype == y.dtype and x.shape == y.shape)
      np.testing.assert_array_equal(x, y)


def test_boxes(boxed, tmp_path):
  folder = build("llvip", boxed, tmp_path / "records")
  for split, count in (("train", 3), ("test", 2)):
    records = RecordSource(tmp_path / "records", "llvip", split)
    assert len(records) == count and f"{count} pairs, detection" in records.describe()
    assert_equal(get_source("llvip", root=boxed, split=split), records)
  assert build("llvip", boxed, tmp_path / "records") == folder  # there already
  assert "tensorflow" not in sys.modules


def test_the_library_reads_them(boxed, tmp_path):
  folder = build("llvip", boxed, tmp_path / "records")
  data = tfds.data_source("llvip", data_dir=str(tmp_path / "records"), split="train")
  first = data[0]
  assert len(data) == 3 and first["name"] == b"a" and first["vi_gray"]
  assert first["ir"].shape == (40, 56, 1) and first["vi"].shape == (40, 56, 3)  # as declared
  np.testing.assert_array_equal(
    data[2]["vi"], np.asarray(Image.open(boxed / "visible/train/c.jpg"))
  )
  # y before x, as fractions: (1.25, 2, 30.1, 33.3) in an image of 56x40
  np.testing.assert_allclose(
    first["objects"]["bbox"][0], [2 / 40, 1.25 / 56, 33.3 / 40, 30.1 / 56], rtol=1e-6
  )
  assert (
    len(tfds.data_source("llvip", data_dir=str(tmp_path / "records"), split="train[:34%]")) == 1
  )
  info = tfds.builder("llvip", data_dir=str(tmp_path / "records")).info
  assert "jia2021llvip" in info.citation and "non-commercial" in (folder / "LICENSE").read_text()
  assert (
    tfds.builder("m3fd", data_dir=str(tmp_path)).info.features["objects"]["label"].names[-1]
    == "Lamp"
  )


def test_masks(masked, tmp_path):
  palette = Image.open(masked / "train/Segmentation_labels/a.png").convert("L")
  palette.putpalette(list(np.random.default_rng(0).integers(0, 256, 768)))
  values = np.asarray(palette).copy()
  values[:3] = 255
  save(masked / "train/Segmentation_labels/b.png", values)
  palette.save(masked / "train/Segmentation_labels/a.png")
  build("msrs", masked, tmp_path / "records")
  for split in ("train", "test"):
    assert_equal(
      get_source("msrs", root=masked, split=split),
      RecordSource(tmp_path / "records", "msrs", split),
    )
  labels = tfds.data_source("msrs", data_dir=str(tmp_path / "records"), split="train")[0]["labels"]
  assert labels.shape == (40, 56, 1) and labels.dtype == np.uint8  # class indices, not colours
  np.testing.assert_array_equal(labels[..., 0], np.asarray(palette))


def test_folders_with_and_without_splits_and_labels(boxed, tmp_path):
  flat = tmp_path / "flat"
  for name, folder in (("ir", "infrared"), ("vi", "visible")):
    flat.mkdir(exist_ok=True)
    (boxed / folder / "train").rename(flat / name)
  build("folder", flat, tmp_path / "records")
  for split in ("train", "test"):
    source = get_source("folder", root=flat, split=split)
    assert source.kind is None
    assert_equal(source, RecordSource(tmp_path / "records", "folder", split))
  assert len(tfds.data_source("folder", data_dir=str(tmp_path / "records"), split="train")) == 4


def test_unlabelled_is_not_empty(boxed, tmp_path):
  options = {"": {"labelled_only": False}, "train": {"every": 3}}
  build("llvip", boxed, tmp_path / "records", options=options)
  records = RecordSource(tmp_path / "records", "llvip", "train", labelled_only=False, every=3)
  assert records.names == ["a", "d"] and records[1].target is None
  assert_equal(get_source("llvip", root=boxed, labelled_only=False, every=3), records)
  with pytest.raises(DatasetError, match=r"was built with options .*'every': 3.*, not {}"):
    RecordSource(tmp_path / "records", "llvip", "train")
  with pytest.raises(DatasetError, match="other splits or options"):
    build("llvip", boxed, tmp_path / "records")


def test_a_split_list_counts_by_its_content(boxed, tmp_path):
  listed = tmp_path / "list.txt"
  listed.write_text("b.png\nd.png 1,2,3,4,0\n")
  build(
    "llvip",
    boxed,
    tmp_path / "records",
    options={"train": {"split_file": str(listed)}},
    splits=["train"],
  )
  moved = listed.rename(tmp_path / "moved.txt")
  records = RecordSource(tmp_path / "records", "llvip", "train", split_file=str(moved))
  assert_equal(get_source("llvip", root=boxed, split_file=moved), records)
  with pytest.raises(DatasetError, match="no split 'test'; prepared: train"):
    RecordSource(tmp_path / "records", "llvip", "test")
  moved.write_text("b.png\n")
  with pytest.raises(DatasetError, match="was built with options"):
    RecordSource(tmp_path / "records", "llvip", "train", split_file=str(moved))


def test_errors(boxed, tmp_path):
  with pytest.raises(
    DatasetError, match="no records of 'llvip'.*tdfusion data build --dataset=llvip"
  ):
    RecordSource(tmp_path, "llvip")
  with pytest.raises(DatasetError, match="unknown data set"):
    build("kitti", boxed, tmp_path / "records")
  with pytest.raises(DatasetError, match="not a folder.*bupt-ai-cz/LLVIP"):
    build("llvip", tmp_path / "nowhere", tmp_path / "records")
  (boxed / "visible/train/b.png").write_bytes(b"x")
  with pytest.raises(DatasetError, match="b.png: cannot be read as an image"):
    build("llvip", boxed, tmp_path / "records")
  with pytest.raises(DatasetError, match="no records"):  # nothing half made is left
    RecordSource(tmp_path / "records", "llvip")


@pytest.mark.parametrize(
  ("options", "match"),
  [
    ({"tset": {"every": 2}}, "options are given for tset, but the splits are train, test"),
    ({"": {"every": "x"}}, "every='x' is not a whole number"),
    ({"test": {"split": "train"}}, "no option 'split'"),
    ({"": {"every": 0}}, "every must be at least 1"),
  ],
)
def test_wrong_options_leave_nothing_behind(boxed, tmp_path, options, match):
  with pytest.raises(DatasetError, match=match):
    build("llvip", boxed, tmp_path / "records", options=options)
  assert not (tmp_path / "records").exists()


def test_records_of_other_files_are_not_passed_off_as_new(boxed, tmp_path):
  build("llvip", boxed, tmp_path / "records")
  moved = boxed.rename(tmp_path / "moved")
  build("llvip", moved, tmp_path / "records")  # the same files elsewhere
  label = moved / "Annotations/f.xml"
  label.write_text(label.read_text().replace("30.1", "30.2"))  # as many bytes
  with pytest.raises(
    DatasetError, match="its split 'test' was built from other files; remove the records"
  ):
    build("llvip", moved, tmp_path / "records")
  label.write_text(label.read_text().replace("30.2", "30.1"))
  build("llvip", moved, tmp_path / "records")
  save(moved / "visible/train/a.png", picture(77, 3))
  with pytest.raises(DatasetError, match="its split 'train' was built from other files"):
    build("llvip", moved, tmp_path / "records")


def test_a_folder_without_splits_has_one(boxed, tmp_path):
  for name, folder in (("ir", "infrared"), ("vi", "visible")):
    shutil.copytree(boxed / folder / "train", tmp_path / "flat" / name)
  with pytest.raises(
    DatasetError, match="holds one set of pairs, not splits; leave out --splits=test"
  ):
    build("folder", tmp_path / "flat", tmp_path / "records", splits=["test"])
  os.rename(tmp_path / "flat/ir/a.png", os.fsencode(tmp_path / "flat/ir") + b"/\xff.png")
  os.rename(tmp_path / "flat/vi/a.png", os.fsencode(tmp_path / "flat/vi") + b"/\xff.png")
  with pytest.raises(DatasetError, match="is not UTF-8; rename it"):
    build("folder", tmp_path / "flat", tmp_path / "records")


def test_splits_of_other_classes(boxed, tmp_path):
  for split, classes in (("train", "person\ncar\n"), ("test", "car\nperson\n")):
    for name, folder in (("ir", "infrared"), ("vi", "visible")):
      shutil.copytree(boxed / folder / split, tmp_path / "own" / split / name)
    labels = tmp_path / "own" / split / "labels"
    labels.mkdir()
    (labels / "classes.txt").write_text(classes)
    (labels / f"{'a' if split == 'train' else 'f'}.txt").write_text("0 .5 .5 .2 .2\n")
  match = r"split 'train' holds detection \(person, car\), but 'test' detection \(car, person\)"
  with pytest.raises(DatasetError, match=match):
    build("folder", tmp_path / "own", tmp_path / "records")
  assert not (tmp_path / "records").exists()


def test_the_command_and_the_config(boxed, tmp_path, capsys):
  arguments = [
    "data",
    "build",
    "--dataset=llvip",
    f"--root={boxed}",
    f"--data_dir={tmp_path / 'records'}",
  ]
  assert cli.main([*arguments, "--option=every=1", "--option=test:every=2"]) == 0
  out, err = capsys.readouterr()
  assert "data.records_dir" in out and "train: 3 pairs\n" in out and "ownload" not in out
  assert err.count("1 of 4 pairs have no label file and are left out") == 1
  assert cli.main([*arguments, "--option=every"]) == 2
  config = load("llvip_det")
  config.data.records_dir = str(tmp_path / "records")
  config.data.train_options = {"every": 1}
  config.data.val_options = {"every": 2}
  assert_equal(get_source("llvip", root=boxed, every=1), assemble.source(config, "train"))
  config.data.cache_mb = 0
  assert isinstance(assemble.source(config, "val"), RecordSource)


BATCHES = """
import hashlib, sys
import numpy as np
from tdfusion_jax.data import RecordSource, StepOptions, StepSource, get_source, make_dataset

def leaves(item):
  if isinstance(item, (tuple, list, dict)):
    for part in item.values() if isinstance(item, dict) else item:
      yield from leaves(part)
  elif item is not None:
    yield np.ascontiguousarray(item).tobytes()

def main():
  root, records = sys.argv[1:]
  for source in (get_source("llvip", root=root), RecordSource(records, "llvip")):
    options = StepOptions(
      epochs=2,
      g_steps=2,
      batch_size=2,
      meta_pairs=1,
      crop_size=(16, 16),
      task_size=(32, 40),
      flip=True,
      seed=5,
    )
    steps = StepSource(source, options)
    for workers in (0, 2) if isinstance(source, RecordSource) else (0,):
      for start in (0, 3):  # the second is a resume in the middle of an epoch
        batches = list(make_dataset(steps, start_step=start, num_workers=workers))
        digests = [hashlib.sha256(b"".join(leaves(batch))).hexdigest() for batch in batches]
        print("digests", *["-"] * start, *digests)
  assert "tensorflow" not in sys.modules

if __name__ == "__main__":
  main()
"""


@pytest.mark.slow  # starts worker processes, which import the package again
def test_batches_equal_the_folders_for_any_workers_and_after_a_resume(boxed, tmp_path):
  build("llvip", boxed, tmp_path / "records")
  script = tmp_path / "run.py"
  script.write_text(BATCHES)
  environment = {**os.environ, "PYTHONPATH": ROOT, "JAX_PLATFORMS": "cpu"}
  command = [sys.executable, str(script), str(boxed), str(tmp_path / "records")]
  done = subprocess.run(
    command, capture_output=True, text=True, timeout=300, check=False, env=environment
  )
  assert done.returncode == 0, done.stderr[-2000:]
  rows = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("digests")]
  assert len(rows) == 6 and len(set(rows[0])) == len(rows[0]) == 8
  for row in rows:
    assert len(row) == 8 and all(a in ("-", b) for a, b in zip(row, rows[0], strict=True))


@pytest.mark.parametrize("builders", ["first", "last"])
def test_importing_the_builders_registers_them_in_either_order(builders):
  imports = ["import tdfusion_jax.data.records.tfds", "import tensorflow_datasets as tfds"]
  code = f"""
import sys, tdfusion_jax.data
assert "tensorflow_datasets" not in sys.modules  # it is slow to import, and few need it
{chr(10).join(imports if builders == "first" else reversed(imports))}
names = {{"llvip", "m3fd", "msrs", "fmb", "folder", "synthetic_det", "synthetic_seg"}}
assert names <= set(tfds.list_builders(with_community_datasets=False))
assert "tensorflow" not in sys.modules
"""
  assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
