"""`tdfusion data verify` of a folder of one's own."""

import re

import pytest
from made_data import picture, save
from verifying import coco, only, pairs

from tdfusion_jax import progress
from tdfusion_jax.data import DatasetError, get_source
from tdfusion_jax.data.verify.pairs import verify
from tdfusion_jax.data.verify.report import table


def test_how_far_it_is_goes_to_standard_error_if_asked_for(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(progress, "LINE_EVERY", 0.0)
  for i, name in enumerate("ab"):
    save(tmp_path / f"ir/{name}.png", picture(i, 1))
    save(tmp_path / f"vi/{name}.png", picture(9 + i))
  verify("folder", tmp_path)
  assert capsys.readouterr() == ("", "")
  verify("folder", tmp_path, shown=True)
  out, err = capsys.readouterr()
  assert not out and re.search(r"checking all 1/2, [\d.]+ pairs/s, [\d.]+ min left", err)


def test_folder_forms(tmp_path):
  for i, name in enumerate("ab"):
    save(tmp_path / f"ir/{name}.png", picture(i, 1))
    save(tmp_path / f"vi/{name}.png", picture(9 + i))
  assert verify("folder", tmp_path).ok
  (tmp_path / "labels").mkdir()
  (tmp_path / "labels/a.txt").write_text("0 .5 .5 .2 .2\n3 .5 .5 .2 .2\n0 .5 .5 nan .2\n")
  with pytest.raises(DatasetError, match="class names are needed"):
    verify("folder", tmp_path)
  found = [f for f in verify("folder", tmp_path, classes=["x"]).findings if f.level == "error"]
  assert {f.kind for f in found} == {"unknown-class", "bad-box"} and all(
    "a.txt: line" in f.message for f in found
  )


def refused(root, kind, match):
  """Finds `kind` and nothing else, of a folder that the reader does not take either."""
  assert re.search(match, only(verify("folder", root), kind)[0].message)
  with pytest.raises(DatasetError):
    get_source("folder", root=root)


def test_folders_without_images(tmp_path):
  for folder in ("ir", "vi"):
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "a.raw").write_bytes(b"x")
  refused(tmp_path, "no-images", r"ir holds no image \(\.png, ")


@pytest.mark.parametrize("file", ["a.csv", "classes.txt", None])
def test_a_label_folder_without_labels(tmp_path, file):
  pairs(tmp_path)
  (tmp_path / "labels").mkdir()
  if file:
    (tmp_path / "labels" / file).write_text("person\n")
  refused(tmp_path, "no-labels", "labels holds no label file")


def test_coco_files_that_do_not_fit(tmp_path):
  pairs(tmp_path)
  coco(tmp_path / "labels/all.json", "xy")
  refused(tmp_path, "no-labels", "all.json names no pair of .*ir, but x, y")
  coco(tmp_path / "labels/all.json", "axy")
  message = only(verify("folder", tmp_path), "stray-label", level="note")[0].message
  assert "names 2 image(s) that are not there: x, y" in message
  coco(tmp_path / "labels/all.json", classes=("x", "x"))
  refused(tmp_path, "bad-label", "1 to 255 categories of different names")
  coco(tmp_path / "labels/all.json", "ab")
  coco(tmp_path / "labels/more.json", "ab")
  refused(tmp_path, "bad-label", "labels holds 2 .json files")


def test_coco_classes_are_counted_by_name(tmp_path):
  pairs(tmp_path)
  coco(tmp_path / "labels/all.json", classes=("lamp", "sign"))
  report = verify("folder", tmp_path)
  assert report.ok and report.shape.classes == ("lamp", "sign")
  assert "2 boxes in 2" in re.search("class sign.*", table(report))[0]


@pytest.mark.parametrize("form", ["coco", "yolo"])
def test_splits_with_other_class_lists(tmp_path, form):
  for split, names in (("test", ("x", "y")), ("train", ("y", "x"))):
    pairs(tmp_path / split, "ab" if split == "test" else "cd")
    labels = tmp_path / split / "labels"
    if form == "coco":
      coco(labels / "all.json", "ab" if split == "test" else "cd", names)
    else:
      labels.mkdir()
      (labels / "classes.txt").write_text("\n".join(names))
      (labels / f"{'a' if split == 'test' else 'c'}.txt").write_text("0 .5 .5 .2 .2\n")
  for i, name in enumerate("cd"):  # not the pictures of the other split
    save(tmp_path / f"train/ir/{name}.png", picture(20 + i, 1))
    save(tmp_path / f"train/vi/{name}.png", picture(30 + i))
  (found,) = only(verify("folder", tmp_path), "class-names")
  assert (
    found.split == "train"
    and found.message == "its classes are y, x, those of split 'test' are x, y"
  )
