"""Every command of the paper's tables takes exactly the pairs that the paper names.

The layouts are of the full size, by name: each file is a link to one tiny image or label.
Expected numbers: the paper's, section 4.1 (train/test pairs).
"""

import argparse
import os
import re
import sys

import numpy as np
import pytest
from absl import flags
from docs.blocks import ROOT, blocks, commands
from made_data import save, voc
from ml_collections import config_flags

from tdfusion_jax.commands import evaluate
from tdfusion_jax.train import build

TRAIN_AND_TEST = {
  "msrs": (1083, 361),
  "fmb": (1220, 280),
  "m3fd": (3150, 1050),
  "llvip": (1203, 347),
}
MEASURED = {"msrs": 361, "fmb": 280, "m3fd": 300, "llvip": 347}
PAGE = "docs/method/tables.md"


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
  """MSRS, FMB, M3FD, M3FD_Fusion and LLVIP with as many files as their owners hand out."""
  path = tmp_path_factory.mktemp("sets")
  save(path / "one.png", np.zeros((2, 3), np.uint8))
  voc(path / "one.xml", size=(2, 3))

  def fill(folder, count, kind="png", start=0):
    (path / folder).mkdir(parents=True, exist_ok=True)
    for number in range(start, start + count):
      ending = "xml" if kind == "xml" else kind
      one = path / ("one.xml" if kind == "xml" else "one.png")
      os.link(one, path / folder / f"{number:06d}.{ending}")

  for split, count in (("train", 1083), ("test", 361)):
    for folder in ("ir", "vi", "Segmentation_labels"):
      fill(f"MSRS/{split}/{folder}", count)
  for split, count in (("train", 1220), ("test", 280)):
    for folder in ("Infrared", "Visible", "Label"):
      fill(f"FMB/{split}/{folder}", count)
  for folder, kind in (("Ir", "png"), ("Vis", "png"), ("Annotation", "xml")):
    fill(f"M3FD/{folder}", 4200, kind)
  for folder in ("Ir", "Vis"):
    fill(f"M3FD_Fusion/{folder}", 300)
  for split, count, start in (("train", 12025, 10000), ("test", 3463, 190000)):
    fill(f"LLVIP/infrared/{split}", count, "jpg", start)
    fill(f"LLVIP/visible/{split}", count, "jpg", start)
    fill("LLVIP/Annotations", count, "xml", start)
  names = [f"{number:06d}.png\n" for number in range(4200)]
  (path / "M3FD_train.txt").write_text("".join(names[:3150]))
  (path / "M3FD_test.txt").write_text("".join(names[3150:]))
  return path


def of_page(start):
  found = [command for block in blocks(PAGE) for command in commands(block.text)]
  return [command.words for command in found if " ".join(command.words).startswith(start)]


MEASURING = of_page("tdfusion evaluate")
TRAINING = of_page("python -m tdfusion_jax.main")


def test_the_page_has_every_row():
  measured = [re.search(r"--dataset=(\w+)", " ".join(words))[1] for words in MEASURING]
  assert measured == ["msrs", "fmb", "m3fd", "llvip", "fmb"]  # table 1, and table 3
  # Four trainings of F, a T on each and on both modalities of each, five ablations.
  assert len(TRAINING) == 4 + 4 + 2 * 4 + 5


@pytest.mark.parametrize("words", MEASURING, ids=lambda words: words[2])
def test_tables_1_and_3_measure_the_papers_pairs(words, sets, monkeypatch):
  monkeypatch.chdir(sets)
  parser = argparse.ArgumentParser()
  evaluate.add_arguments(parser)
  options = parser.parse_args(words[2:])
  assert options.stretch
  assert len(evaluate.pairs_of(options).sizes) == MEASURED[options.dataset]


@pytest.mark.parametrize("words", TRAINING, ids=lambda words: words[-1])
@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # of config flags
def test_trainings_take_the_papers_pairs(words, sets, monkeypatch):
  monkeypatch.chdir(sets)
  (sets / "configs").is_symlink() or (sets / "configs").symlink_to(ROOT / "configs")
  values = flags.FlagValues()
  config_flags.DEFINE_config_file("config", None, "", flag_values=values)
  flags.DEFINE_string("workdir", None, "", flag_values=values)
  monkeypatch.setattr(sys, "argv", ["main", *words[3:]])
  values(sys.argv)
  config = values.config
  counts = tuple(len(build.source(config, split)) for split in ("train", "val"))
  assert counts == TRAIN_AND_TEST[config.data.name]
