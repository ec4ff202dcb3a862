"""`tdfusion data verify` finds each planted fault, and nothing else; clean data passes."""

import os
import shutil

import numpy as np
import pytest
import tifffile
from made_data import H, W, picture, save, voc
from PIL import Image
from verifying import only

from tdfusion_jax.data import DatasetError, get_source
from tdfusion_jax.data.verify.images import names_digest
from tdfusion_jax.data.verify.labels import HINTS
from tdfusion_jax.data.verify.pairs import verify
from tdfusion_jax.data.verify.report import table


def test_clean_sets_pass(boxed):
  report = verify("llvip", boxed)
  assert report.ok and len(report.pairs) == 5 and all(p.labelled for p in report.pairs)
  assert sum(p.objects[0] for p in report.pairs) == 5
  assert report.manifests["train"] == (3, names_digest(["c", "a", "b"]))
  assert "class person" in table(report)


def test_clean_masks_pass(masked):
  report = verify("msrs", masked)
  assert report.ok and report.pairs[0].objects.total() == H * W
  with pytest.raises(DatasetError, match="unknown kind"):
    verify("msrs", masked, allow=["labels"])
  with pytest.raises(DatasetError, match="no files to verify"):
    verify("synthetic_det", masked)
  with pytest.raises(DatasetError, match="LLVIP not found"):
    verify("llvip", masked)


def test_fault_1_missing_partner(boxed):
  (boxed / "visible/train/b.png").unlink()
  (found,) = only(verify("llvip", boxed), "missing-partner")
  assert found.name == "b" and str(boxed / "infrared/train/b.png") in found.message


def test_fault_2_wrong_size(boxed):
  save(boxed / "visible/test/d.png", picture(7)[:-1])
  (found,) = only(verify("llvip", boxed), "size")
  assert found.split == "test" and "d.png is 56x40" in found.message and "is 56x39" in found.message


def test_fault_2_label_of_another_size(boxed, masked):
  voc(boxed / "Annotations/a.xml", size=(H * 2, W * 2))
  assert "made for an image of 112x80" in only(verify("llvip", boxed), "size")[0].message
  save(masked / "train/Segmentation_labels/a.png", np.zeros((H, W - 2)))
  assert "a.png is 54x40" in only(verify("msrs", masked), "size")[0].message


def test_fault_3_ir_and_vi_swapped(boxed):
  ir, vi = boxed / "infrared/train/c.png", boxed / "visible/train/c.png"
  ir.rename(boxed / "x.png")
  vi.rename(ir)
  (boxed / "x.png").rename(vi)
  (found,) = only(verify("llvip", boxed), "swapped")
  assert found.name == "c"


def test_fault_4_label_value_out_of_range(masked):
  labels = picture(5, 1) % 9
  labels[2, 3], labels[4, 5] = 9, 255  # 255 means ignored
  save(masked / "train/Segmentation_labels/b.png", labels)
  (found,) = only(verify("msrs", masked), "label-value")
  assert found.name == "b" and "values 9 are" in found.message


@pytest.mark.parametrize("which", ["infrared", "visible"])
def test_fault_5_truncated_file(boxed, which):
  path = boxed / which / "train/a.png"
  path.write_bytes(path.read_bytes()[:-900])
  (found,) = only(verify("llvip", boxed), "unreadable-image")
  assert str(path) in found.message


def test_fault_5_truncated_label(masked):
  path = masked / "test/Segmentation_labels/c.png"
  path.write_bytes(path.read_bytes()[:200])
  assert str(path) in only(verify("msrs", masked), "unreadable-image")[0].message


def test_fault_6_duplicate_across_splits(boxed):
  # Another name, another file format: the pixels are compared.
  Image.open(boxed / "visible/train/a.png").save(boxed / "visible/test/d.bmp")
  (boxed / "visible/test/d.png").unlink()
  (found,) = only(verify("llvip", boxed), "duplicate")
  assert (
    "test/d.bmp shows the same visible picture as" in found.message
    and "train/a.png" in found.message
  )


def test_the_same_picture_twice_in_one_split(boxed):
  shutil.copy(boxed / "infrared/train/a.png", boxed / "infrared/train/b.png")
  only(verify("llvip", boxed), "repeated")


def test_fault_7_unknown_class(boxed):
  voc(boxed / "Annotations/e.xml", ("person", 1, 1, 9, 9), ("dog", 1, 1, 9, 9))
  report = verify("llvip", boxed)
  (found,) = only(report, "unknown-class")
  assert "object 2: unknown class 'dog'; known: person" in found.message
  assert report.pairs[-1].objects[0] == 1  # the good box is still counted


def test_fault_8_box_outside_the_image(boxed):
  voc(boxed / "Annotations/a.xml", ("person", 1, 1, W, H), ("person", 30, 2, W + 5, 9))
  (found,) = only(verify("llvip", boxed), "box-outside")
  assert "box 2 (30, 2, 61, 9)" in found.message


@pytest.mark.parametrize(
  "box", [(9, 1, 3, 9), ("nan", 1, 2, 3), ("1e400", 1, 2, 3), (5, 5, 5, 9), ("", 1, 2, 3)]
)
def test_boxes_that_are_none(boxed, box):
  voc(boxed / "Annotations/a.xml", ("person", 1, 1, 5, 5), ("person", *box))
  assert "a.xml" in only(verify("llvip", boxed), "bad-box")[0].message


def test_fault_9_empty_label_file_is_allowed_and_reported(boxed):
  voc(boxed / "Annotations/b.xml")
  (found,) = only(verify("llvip", boxed), "empty-label", level="note")
  assert found.name == "b"
  (boxed / "Annotations/b.xml").unlink()
  report = verify("llvip", boxed)
  assert "1 of 3 pairs are unlabelled" in only(report, "unlabelled", level="note")[0].message


def test_fault_10_wrong_name_in_a_split_list(boxed, tmp_path):
  train, test = tmp_path / "train.txt", tmp_path / "test.txt"
  train.write_text("a.png 1,2,3,4,0\nzzz.png 1,2,3,4,0\n")
  test.write_text("d.png\n")
  report = verify("llvip", boxed, split_files={"train": train, "test": test})
  (found,) = only(report, "split-name")
  assert found.name == "zzz" and str(train) in found.message
  assert report.manifests[str(train)][0] == 2
  train.write_text("../../a.png 1,2,3,4,0\n")
  assert (
    "not a plain file name"
    in only(verify("llvip", boxed, split_files={"train": train}), "bad-label")[0].message
  )


def test_one_name_in_two_lists(boxed, tmp_path):
  for split in ("Ir", "Vis", "Annotation"):
    (tmp_path / "m3fd").mkdir(exist_ok=True)
    source = {"Ir": "infrared/train", "Vis": "visible/train", "Annotation": "Annotations"}[split]
    shutil.copytree(boxed / source, tmp_path / "m3fd" / split)
  for name in "de":
    (tmp_path / f"m3fd/Annotation/{name}.xml").unlink()
  for path in (tmp_path / "m3fd/Annotation").iterdir():
    path.write_text(path.read_text().replace("person", "People"))
  lists = {split: tmp_path / f"{split}.txt" for split in ("train", "test")}
  lists["train"].write_text("a.png\nb.png\n")
  lists["test"].write_text("b.png\nc.png\n")
  (found,) = only(verify("m3fd", tmp_path / "m3fd", split_files=lists), "duplicate")
  assert found.message == "b is in the lists of train and test"


@pytest.mark.parametrize(
  "text",
  ["<annotation>", "", '<!DOCTYPE x [<!ENTITY a "b">]><annotation>&a;</annotation>', "<other/>"],
)
def test_fault_11_unreadable_xml(boxed, text):
  (boxed / "Annotations/c.xml").write_text(text)
  (found,) = only(verify("llvip", boxed), "bad-label")
  assert found.name == "c" and "c.xml" in found.message


@pytest.mark.parametrize("mode", ["P", "RGB"])
def test_fault_12_gray_label_stored_as_palette_or_rgb(masked, mode):
  path = masked / "train/Segmentation_labels/a.png"
  image = Image.open(path)
  image.load()
  if mode == "P":
    image.putpalette(list(range(256)) * 3)
  else:
    image = image.convert("RGB")
  image.save(path)
  (found,) = only(verify("msrs", masked), "label-mode")
  assert found.name == "a"
  assert verify("msrs", masked, allow=["label-mode"]).ok


def test_all_faults_are_listed_at_once(boxed):
  (boxed / "visible/train/b.png").unlink()
  (boxed / "Annotations/c.xml").write_text("<")
  voc(boxed / "Annotations/a.xml", ("dog", 1, 1, 2, 2), ("person", 9, 9, 1, 1))
  voc(boxed / "Annotations/zz.xml")
  kinds = {f.kind for f in verify("llvip", boxed).findings if f.level == "error"}
  assert kinds == {"missing-partner", "bad-label", "unknown-class", "bad-box", "stray-label"}


def test_a_displaced_set_is_reported(boxed):
  """Every visible image shows 4 lower and 6 further right what its infrared image shows."""
  for i, name in enumerate("abcdef"):
    split = "test" if name in "ef" else "train"
    wide = np.asarray(Image.fromarray(picture(i, 1)).resize((200, 160), Image.Resampling.BICUBIC))
    save(boxed / f"infrared/{split}/{name}.png", wide[10:130, 10:170])
    save(boxed / f"visible/{split}/{name}.png", wide[6:126, 4:164])
  lines = table(verify("llvip", boxed)).split("\n")
  (shown,) = [line for line in lines if line.startswith("displaced")]
  assert shown.count("4, 6 px (") == 2  # training and test


def test_more_than_8_bits_are_not_called_damaged(boxed):
  path = boxed / "infrared/train/a.png"
  Image.fromarray(picture(0, 1).astype(np.uint16) * 200).save(path)
  (found,) = only(verify("llvip", boxed), "bit-depth")
  assert str(path) in found.message and "uint16 has more than 8 bits" in found.message


def test_a_missing_label_folder_is_noted(boxed):
  shutil.rmtree(boxed / "Annotations")
  found = only(verify("llvip", boxed), "missing-folder", level="note")
  assert [f.split for f in found] == ["train", "test"] and "Annotations is missing" in found[
    0
  ].message


def rgba(seed):
  return np.concatenate([picture(seed), picture(seed + 1, 1)[..., None]], axis=-1)


@pytest.mark.parametrize(
  ("kind", "level", "write"),
  [
    ("bit-depth", "error", lambda path: tifffile.imwrite(path, picture(0, 1) / 255.0)),
    ("no-data", "error", lambda path: tifffile.imwrite(path, np.full((H, W), np.nan, np.float32))),
    (
      "no-data",
      "error",
      lambda path: tifffile.imwrite(path, picture(0, 1), extratags=[(42113, "s", 0, "7", True)]),
    ),
    ("extra-images", "error", lambda path: tifffile.imwrite(path, np.stack([picture(0, 1)] * 2))),
    (
      "dropped-channel",
      "error",
      lambda path: tifffile.imwrite(path, rgba(0), photometric="rgb", extrasamples=["unassalpha"]),
    ),
    (
      "unreadable-image",
      "error",
      lambda path: tifffile.imwrite(path, picture(0), photometric="cielab"),
    ),
    (
      "turned",
      "note",
      lambda path: tifffile.imwrite(path, picture(9), extratags=[(274, "H", 1, 3, True)]),
    ),
    ("false-colours", "note", lambda path: tifffile.imwrite(path, picture(9), photometric="rgb")),
  ],
)
def test_what_images_hold_besides_a_picture_of_8_bits(boxed, kind, level, write):
  path = boxed / "infrared/train/a.tif"
  path.with_suffix(".png").unlink()
  write(path)
  found = [f for f in verify("llvip", boxed).findings if f.kind == kind]
  assert [f.level for f in found] == [level] and str(path) in found[0].message
  assert kind in HINTS
  if level == "error":
    with pytest.raises(DatasetError, match="a\\.tif"):
      get_source("llvip", root=boxed)[0]


def test_pipes_and_files_of_other_kinds_are_counted(boxed):
  """A pipe that was opened would never answer."""
  os.mkfifo(boxed / "infrared/train/pipe.png")
  (boxed / "infrared/train/clip.gif").write_bytes(b"GIF89a")
  (found,) = only(verify("llvip", boxed), "passed-over", level="note")
  assert "2 not looked at (1 .gif, 1 pipe, socket or device)" in found.message


def test_a_turned_mask_is_upright_too(masked):
  """Image and mask of one camera carry the same tag; both are read as they are seen."""
  labels = picture(5, 1) % 9
  for folder, array in (("ir", picture(0, 1)), ("vi", picture(1)), ("Segmentation_labels", labels)):
    path = masked / f"train/{folder}/a.png"
    tags = Image.Exif()
    tags[0x0112] = 6
    Image.fromarray(array).save(path, exif=tags)
  assert verify("msrs", masked).ok
  sample = get_source("msrs", root=masked)[0]
  np.testing.assert_array_equal(sample.target, np.rot90(labels, -1))
  np.testing.assert_array_equal(sample.vi, np.rot90(picture(1), -1))
