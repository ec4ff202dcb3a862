"""The readers on the sample of real LLVIP pairs, where it is at hand (TDFUSION_DATA)."""

import os
from pathlib import Path

import numpy as np
import pytest

from tdfusion_jax.data import get_source


def real_data() -> Path:
  default = Path(__file__).resolve().parents[3] / ".." / "shared" / "data"
  folder = Path(os.environ.get("TDFUSION_DATA", default))
  if not (folder / "LLVIP").is_dir():
    pytest.skip("no sample data (TDFUSION_DATA)")
  return folder


def test_real_llvip_sample():
  root = real_data() / "LLVIP"
  for split in ("train", "test"):
    everything = get_source("llvip", root=root, split=split, labelled_only=False)
    labelled = get_source("llvip", root=root, split=split)
    names = {p.stem for p in (root / "Annotations").glob("*.xml")}
    assert set(labelled.names) == names & set(everything.names) and len(labelled)
    for i in range(min(2, len(labelled))):
      sample = labelled[i]
      boxes, classes = sample.target
      text = (root / "Annotations" / f"{sample.name}.xml").read_text()
      assert len(boxes) == len(classes) == text.count("<object>") > 0
      assert sample.ir.shape == sample.vi.shape[:2]
      assert boxes.max() <= max(sample.ir.shape) and (boxes[:, 2:] > boxes[:, :2]).all()


def test_xml_and_the_papers_list_agree_on_the_real_sample(tmp_path):
  root = real_data() / "LLVIP"
  lists = real_data() / "splits" / "LLVIP_train.txt"
  if not lists.is_file():
    pytest.skip("no split lists")
  source = get_source("llvip", root=root)
  lines = {line.split()[0][:-4]: line for line in lists.read_text().splitlines()}
  shared = [name for name in source.names if name in lines]
  assert shared
  chosen = tmp_path / "list.txt"
  chosen.write_text(lines[shared[0]])
  listed = get_source("llvip", root=root, split_file=chosen)
  values = [[float(v) for v in item.split(",")[:4]] for item in lines[shared[0]].split()[1:]]
  np.testing.assert_array_equal(listed[0].target[0], values)
  listed.pairs[0] = listed.pairs[0]._replace(label=None)  # now the boxes come from the list
  np.testing.assert_array_equal(listed[0].target[0], values)
