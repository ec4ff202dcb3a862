"""Training over unreadable pairs: stop by default, or skip and say so."""

import pickle

import numpy as np
import pytest
from test_config import load
from test_data_verify import picture, save, voc

from tdfusion_jax import build
from tdfusion_jax.config import ConfigError
from tdfusion_jax.data import DatasetError, SkippingSource, get_source


@pytest.fixture
def root(tmp_path):
  for i in range(12):
    for split in ("train", "test"):
      save(tmp_path / f"infrared/{split}/{split}{i:02d}.png", picture(i, 1))
      save(tmp_path / f"visible/{split}/{split}{i:02d}.png", picture(50 + i))
      voc(tmp_path / f"Annotations/{split}{i:02d}.xml", ("person", 1, 2, 9, 9))
  return tmp_path


def test_the_next_readable_pair_stands_in(root, caplog):
  (root / "visible/train/train11.png").write_bytes(b"x")
  source = SkippingSource(get_source("llvip", root=root))
  assert len(source) == 12 and [source[i].name for i in (10, 11, -1, 0)] == ["train10", "train00", "train00", "train00"]
  assert list(source.skipped) == ["train11"] and "train11.png: cannot be read" in source.skipped["train11"]
  assert caplog.text.count("skipped pair train11") == 1 and "skipped" in source.describe()
  np.testing.assert_array_equal(pickle.loads(pickle.dumps(source))[11].ir, picture(0, 1))


def test_too_many_are_an_error(root):
  for i in (3, 4):
    (root / f"Annotations/train{i:02d}.xml").write_text("<")
  source = SkippingSource(get_source("llvip", root=root))
  with pytest.raises(DatasetError, match="2 of 12 pairs cannot be read.*data.bad_samples"):
    source[3]


def test_the_config_chooses(root):
  (root / "visible/train/train01.png").write_bytes(b"x")
  (root / "visible/test/test01.png").write_bytes(b"x")
  config = load("llvip_det")
  config.data.root = str(root)
  config.data.train_options = config.data.val_options = {}
  with pytest.raises(DatasetError, match="train01.png"):
    build.source(config, "train")[1]
  config.data.bad_samples = "skip"
  assert build.source(config, "train")[1].name == "train02"
  with pytest.raises(DatasetError, match="test01.png"):  # a score over other pairs would be another score
    build.source(config, "val")[1]
  config.data.bad_samples = "ignore"
  with pytest.raises(ConfigError, match="bad_samples='ignore': one of stop, skip"):
    build.check(config)
