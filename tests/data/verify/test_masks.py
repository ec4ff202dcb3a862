"""`tdfusion data verify` says what the masks of a set show together."""

import re

import numpy as np
import pytest
from made_data import H, W, picture, save

from tdfusion_jax.data.verify.pairs import verify
from tdfusion_jax.data.verify.report import table


def masked(root, rows, value, background=0):
  for i, name in enumerate("ab"):
    save(root / f"ir/{name}.png", picture(i, 1))
    save(root / f"vi/{name}.png", picture(9 + i))
    labels = np.full((H, W), background)
    labels[:rows] = value
    save(root / f"labels/{name}.png", labels)
  (root / "labels/classes.txt").write_text("road\nperson\n")
  return root


def kinds(report):
  return {(f.level, f.kind) for f in report.findings}


def test_masks_of_0_and_255(tmp_path):
  report = verify("folder", masked(tmp_path, 8, 255))  # a fifth of 40 rows
  expected = {("error", "binary-mask"), ("note", "absent-class"), ("note", "ignored-share")}
  assert kinds(report) == expected
  text = table(report, fix_hints=True)
  assert "only 0 and 255: classes?" in text and "in place of 255" in text
  assert "20 % of the pixels are ignored" in text
  assert "1 of 2 classes without a single pixel: person" in text
  assert re.search(rf"ignored \(255\) +{2 * 8 * W} px in 2", text)
  assert verify("folder", tmp_path, allow=["binary-mask"]).ok


def test_a_value_that_means_unknown(tmp_path):
  masked(tmp_path, 8, 1)
  assert kinds(verify("folder", tmp_path)) == set()
  report = verify("folder", tmp_path, options={"unlabelled": 0})
  assert kinds(report) == {("note", "ignored-share")} and report.ok
  text = table(report)
  assert "80 % of the pixels are ignored" in text
  assert re.search(r"ignored \(0\) +\d+ px in 2", text) and "class road" not in text


def test_a_value_that_is_no_class(tmp_path):
  masked(tmp_path, 1, 200, background=1)
  assert kinds(verify("folder", tmp_path)) >= {("error", "label-value")}
  assert verify("folder", tmp_path, options={"unlabelled": 200}).ok


@pytest.mark.parametrize("rows", [0, 20])
def test_boxes_of_a_class_that_does_not_occur(tmp_path, rows):
  masked(tmp_path, rows, 1)
  for path in (tmp_path / "labels").glob("*.png"):
    path.with_suffix(".txt").write_text("1 .5 .5 .2 .2\n" if rows else "")
    path.unlink()
  found = [f.message for f in verify("folder", tmp_path).findings if f.kind == "absent-class"]
  assert found == (["1 of 2 classes without a single box: road"] if rows else [])


def test_errors_stand_last(tmp_path):
  lines = table(verify("folder", masked(tmp_path, 8, 255))).splitlines()
  assert [line.split(":")[0] for line in lines if line.startswith(("error:", "note:"))] == [
    *("note", "note", "error")
  ]
