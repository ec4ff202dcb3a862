"""Pictures: what a colour means, and that sheets and curves are written whole."""

import numpy as np
from PIL import Image

from tdfusion_jax.images import pictures
from tdfusion_jax.train import curves, runfolder


def test_gray_rounds_and_clips():
  np.testing.assert_array_equal(pictures.gray(np.array([[-1.0, 0.5, 2.0]]))[0, :, 0], [0, 128, 255])


def test_heat_is_blue_white_red():
  colours = pictures.heat(np.array([[0.0, 0.5, 1.0]]))[0]
  np.testing.assert_array_equal(colours, [[0, 0, 255], [255, 255, 255], [255, 0, 0]])


def test_labels_tint_and_unknown_pixels_stay():
  image = np.full((1, 3, 3), 100, np.uint8)
  tinted = pictures.with_labels(image, np.array([[0, 1, 255]]))
  np.testing.assert_array_equal(tinted[0, 0], tinted[0, 2])
  assert (tinted[0, 1] != image[0, 1]).any() and (tinted[0, 0] == 100).all()


def test_boxes_are_drawn_on_their_border_only():
  drawn = pictures.with_boxes(
    np.zeros((10, 10, 3), np.uint8), np.array([[2.0, 3.0, 8.0, 9.0]]), np.array([0])
  )
  changed = drawn.any(axis=-1)
  assert (
    changed[3, 2:8].all()
    and changed[8, 2:8].all()
    and not changed[4:8, 3:7].any()
    and changed.sum() == 20
  )


def test_a_sheet_has_a_column_per_picture_and_a_row_per_pair(tmp_path):
  rows = [
    {"a": np.full((8, 9, 3), 50 * i, np.uint8), "b": np.full((8, 9, 3), 200, np.uint8)}
    for i in (1, 2)
  ]
  sheet = pictures.sheet(rows)
  assert sheet.shape == (14 + 2 * 12 - 4, 2 * 13 - 4, 3)
  assert (sheet[15, 1] == 50).all() and (sheet[28, 1] == 100).all() and (sheet[28, 14] == 200).all()
  pictures.save(tmp_path / "x" / "sheet.png", sheet)
  np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "x" / "sheet.png")), sheet)
  assert len(list((tmp_path / "x").iterdir())) == 1


def test_a_caption_is_broken_to_the_width_of_the_sheet():
  """24 pixels are 12 letters at least: two lines of 14 pixels, and what is above stays."""
  rows = [{"a": np.full((8, 24, 3), 50, np.uint8)}]
  plain, told = pictures.sheet(rows), pictures.sheet(rows, ["red is good", "x"])
  assert told.shape == (plain.shape[0] + 28, 24, 3)
  np.testing.assert_array_equal(told[: plain.shape[0]], plain)
  assert told[plain.shape[0] :].max() > 100


def test_curves_and_a_metrics_file_cut_off_in_its_last_line(tmp_path):
  file = tmp_path / "metrics.jsonl"
  file.write_text(
    '{"step": 1, "phase": "val", "val/task_loss": 2.0, "val/w_a": 0.5}\n'
    '{"step": 2, "phase": "val", "val/task_loss": 1.0}\n{"st'
  )
  rows = runfolder.read_metrics(file)
  assert [r["step"] for r in rows] == [1, 2]
  curves.curves(tmp_path / "curves.png", rows)
  assert np.asarray(Image.open(tmp_path / "curves.png")).std() > 1
