"""`tdfusion data verify` on the command line, and its page."""

import os

import numpy as np
import pytest
from made_data import H, W, picture, save, voc
from verifying import pairs

from tdfusion_jax import cli
from tdfusion_jax.data.verify.pairs import verify


def test_the_command(boxed, tmp_path, capsys):
  (boxed / "infrared/train/a.png").rename(boxed / "infrared/train/<script>.png")
  page = tmp_path / "page.html"
  assert (
    cli.main(
      ["data", "verify", "--dataset=llvip", f"--root={boxed}", f"--html={page}", "--fix-hints"]
    )
    == 1
  )
  printed, text = capsys.readouterr().out, page.read_text()
  assert "error: missing-partner (2)" in printed and "to repair: copy the missing file" in printed
  assert text.count("<img") == 10 and "<script>" not in text and "&lt;script&gt;" in text
  (boxed / "infrared/train/<script>.png").rename(boxed / "infrared/train/a.png")
  arguments = ["data", "verify", "--dataset=llvip", f"--root={boxed}", "--no-html"]
  assert cli.main(arguments) == 0
  assert cli.main([*arguments, "--split_file=train"]) == 2
  assert "SPLIT=FILE" in capsys.readouterr().err


def test_labels_are_drawn_on_the_page(boxed, masked, tmp_path):
  from tdfusion_jax.data.verify.report import write_page

  def pictures(name, root, change):
    pages = []
    for _ in range(2):
      write_page(tmp_path / "page.html", verify(name, root))
      pages.append((tmp_path / "page.html").read_text().split("<p>")[1])
      change()
    return pages

  before, after = pictures(
    "llvip", boxed, lambda: voc(boxed / "Annotations/a.xml", ("person", 8, 8, 50, 30))
  )
  assert before != after
  labels = masked / "train/Segmentation_labels/a.png"
  before, after = pictures("msrs", masked, lambda: save(labels, np.zeros((H, W))))
  assert before != after


def test_names_that_no_terminal_takes(tmp_path):
  pairs(tmp_path)
  for folder in ("ir", "vi"):
    (tmp_path / folder / "a.png").rename(tmp_path / folder / "two\nlines.png")
    os.rename(tmp_path / folder / "b.png", os.fsencode(tmp_path / folder) + b"/\xff\xe4.png")
  os.unlink(os.fsencode(tmp_path / "vi") + b"/\xff\xe4.png")
  (tmp_path / "vi/two\nlines.png").unlink()
  save(tmp_path / "vi/c.png", picture(3))
  page = tmp_path / "page.html"
  assert (
    cli.main(["data", "verify", "--dataset=folder", f"--root={tmp_path}", f"--html={page}"]) == 1
  )
  text = page.read_text(encoding="utf-8")
  assert "two\\nlines.png has no partner" in text and "\\udcff\\udce4.png has no partner" in text


@pytest.mark.parametrize(
  ("arguments", "match"),
  [
    (["--dataset=lvip"], "data set 'lvip' is not known; known: llvip, "),
    (["--dataset=llvip", "--classes=a,b"], "LLVIP has its own classes (person)"),
    (
      ["--dataset=llvip", "--split_file=train=a", "--split_file=train=b"],
      "split 'train' has a list already, a",
    ),
    (["--dataset=llvip", "--html=."], "--html=.: this is a folder"),
    (["--dataset=llvip", "--root="], "LLVIP needs its folder"),
  ],
)
def test_wrong_options(boxed, monkeypatch, capsys, arguments, match):
  monkeypatch.chdir(boxed)
  assert cli.main(["data", "verify", "--root=.", *arguments]) == 2
  assert match in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--limit=-1", "--thumbnails=-1", "--threads=-1"])
def test_negative_counts_are_refused(boxed, capsys, option):
  with pytest.raises(SystemExit):
    cli.main(["data", "verify", "--dataset=llvip", f"--root={boxed}", "--no-html", option])
  assert "-1 is negative" in capsys.readouterr().err


def test_the_page_may_go_into_a_new_folder(boxed):
  page = boxed / "new" / "folder" / "page.html"
  assert (
    cli.main(["data", "verify", "--dataset=llvip", f"--root={boxed}", f"--html={page}"]) == 0
    and page.is_file()
  )
