"""A run's last lines, against rows written by hand."""

import pytest

from tdfusion_jax.train import summary


def row(epoch, **values):
  return {"step": epoch, "phase": "val", "epoch": epoch, **values}


def weights(everywhere, ir_only, vi_only):
  return {"val/w_a": everywhere, "val/w_a_ir_only": ir_only, "val/w_a_vi_only": vi_only}


def told(tmp_path, *rows):
  return "\n".join(summary.lines(rows, tmp_path))


def test_before_after_and_best(tmp_path):
  rows = [
    row(0, **{"val/mIoU": 0.25, "val/task_loss": 2.0}, **weights(0.5, 0.5, 0.5)),
    row(1, **{"val/mIoU": 0.61, "val/task_loss": 1.0}, **weights(0.5, 0.6, 0.4)),
    row(2, **{"val/mIoU": 0.5, "val/task_loss": 1.5}, **weights(0.5, 0.7, 0.3)),
  ]
  text = told(tmp_path, *rows)
  cells = [line.split()[-3:] for line in text.splitlines()]
  assert ["0.25", "0.5", "0.61"] in cells and ["2", "1.5", "1"] in cells
  assert "T's mIoU on the images of F rose from 0.25 to 0.50." in text
  assert "infrared 0.70 of the weight where only infrared shows a thing, 0.30 where" in text
  assert "as T needs it" in text


@pytest.mark.parametrize(
  ("rows", "expected", "missing"),
  [
    ([{"val/AP50": 0.0}, {"val/AP50": 0.0}], "T finds nothing yet (AP50 0)", "rose"),
    ([{"val/AP50": 0.5}, {"val/AP50": 0.4}], "fell from 0.50 to 0.40", "rose"),
    ([{"val/AP50": 0.5}, {"val/AP50": 0.501}], "stayed", "rose"),
    ([weights(0.5, 0.5, 0.5), weights(0.5, 0.3, 0.7)], "the wrong way round", "as T needs"),
    ([weights(0.5, 0.5, 0.5), weights(0.6, 0.6, 0.6)], "does not tell them apart", "as T needs"),
    ([weights(0.5, 0.5, 0.5), weights(0.5, 0.5, 0.5)], "report", "weight"),  # fixed weights
    ([{"val/fusion_loss": 1.0}, {"val/fusion_loss": 0.5}], "fusion_loss of F", "T's"),
    ([{"val/AP50": 0.5}], "AP50 of T", "rose"),  # one validation: nothing to compare
  ],
)
def test_what_is_told(tmp_path, rows, expected, missing):
  text = told(tmp_path, *(row(epoch, **values) for epoch, values in enumerate(rows)))
  assert expected in text and missing not in text


def test_what_to_look_at_is_what_is_there(tmp_path):
  assert "look at" not in told(tmp_path)
  (tmp_path / "pictures").mkdir()
  for name in ("pictures/epoch_002.png", "pictures/epoch_010.png", "curves.png"):
    (tmp_path / name).touch()
  text = told(tmp_path, row(0, **{"val/mIoU": 0.5}))
  assert "epoch_010.png" in text and "epoch_002.png" not in text and "curves.png" in text
  assert f"tdfusion report {tmp_path}" in text
