"""Decoded pairs on disk: the source's own samples, whatever happens to the cache's files.

The expected values are the samples and batches of the plain source.
"""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers import assert_same
from made_data import picture, save, voc

from configs import load
from tdfusion_jax.config import ConfigError
from tdfusion_jax.data import (
  DatasetError,
  DiskCachedSource,
  SkippingSource,
  StepOptions,
  StepSource,
  get_source,
)
from tdfusion_jax.train import build, checks

PAIRS = 6
MIB = 1 << 20


@pytest.fixture
def root(tmp_path):
  """LLVIP's layout: gray and colour, one pair without objects."""
  folder = tmp_path / "llvip"
  for i in range(PAIRS):
    save(folder / f"infrared/train/p{i}.png", picture(i, 1))
    save(folder / f"visible/train/p{i}.png", picture(50 + i, 1 if i == 1 else 3))
    boxes = [("person", 1, 2, 9, 9)] * (i != 2)
    voc(folder / f"Annotations/p{i}.xml", *boxes)
  return folder


class Counting:
  """Counts what is decoded."""

  def __init__(self, source):
    self.source, self.decoded = source, []
    self.names, self.classes, self.kind = source.names, source.classes, source.kind

  def __len__(self):
    return len(self.source)

  def __getitem__(self, index):
    self.decoded.append(self.names[index])
    return self.source[index]

  def describe(self):
    return self.source.describe()


def cached(root, folder, budget=MIB, **identity):
  counting = Counting(get_source("llvip", root=root))
  return counting, DiskCachedSource(counting, folder, budget, {"name": "llvip", **identity})


def entries(folder):
  return sorted(folder.rglob("*.pair"))


def assert_samples(one, other):
  for i in range(len(one)):
    a, b = one[i], other[i]
    assert a.name == b.name and (a.target is None) == (b.target is None)
    targets = (
      zip(a.target, b.target, strict=True)
      if isinstance(a.target, tuple)
      else [(a.target, b.target)]
    )
    for x, y in ((a.ir, b.ir), (a.vi, b.vi), *targets):
      assert x.dtype == y.dtype and x.shape == y.shape
      np.testing.assert_array_equal(x, y)


def test_a_second_reader_decodes_nothing_and_gets_the_same(root, tmp_path):
  plain = get_source("llvip", root=root)
  first, source = cached(root, tmp_path / "cache")
  assert_samples(plain, source)
  assert first.decoded == plain.names and len(entries(tmp_path)) == PAIRS
  second, source = cached(root, tmp_path / "cache")
  assert_samples(plain, pickle.loads(pickle.dumps(source)))
  assert_samples(plain, source)
  assert not second.decoded and source[-1].name == "p5" and "cached in" in source.describe()
  assert not source[0].ir.flags.writeable  # as those of the cache in memory


def test_masks_and_pairs_without_labels(masked, tmp_path):
  for split in ("train", "test"):
    plain = get_source("msrs", root=masked, split=split)
    for _ in range(2):
      assert_samples(plain, DiskCachedSource(plain, tmp_path / split, MIB, {"name": "msrs"}))
    assert len(entries(tmp_path / split)) == len(plain)
  plain.pairs = [pair._replace(label=None) for pair in plain.pairs]
  for _ in range(2):
    assert DiskCachedSource(plain, tmp_path / "none", MIB, {})[0].target is None


def test_the_config_gives_the_same_batches_with_and_without(root, tmp_path):
  config = load("llvip_det")
  config.data.root, config.data.train_options = str(root), {}
  options = StepOptions(
    crop_size=(16, 16),
    task_size=(32, 40),
    epochs=2,
    g_steps=1,
    meta_pairs=2,
    batch_size=2,
    flip=True,
    seed=3,
  )
  plain = StepSource(build.source(config, "train"), options)
  config.data.cache_dir, config.data.cache_disk_mb = str(tmp_path / "cache"), 1
  for config.data.cache_mb in (
    0,
    0,
    1,
  ):  # while it fills, from it, and with the cache in memory above it
    source = build.source(config, "train")
    assert isinstance(source.source if config.data.cache_mb else source, DiskCachedSource)
    steps = StepSource(source, options)
    for step in range(len(plain)):
      assert_same(steps[step], plain[step])
  assert len(entries(tmp_path)) == PAIRS
  config.data.cache_disk_mb = -1
  with pytest.raises(ConfigError, match="cache_disk_mb=-1"):
    checks.check(config)


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "other", "folder"])
def test_a_damaged_entry_is_decoded_again(root, tmp_path, damage):
  plain = get_source("llvip", root=root)
  assert_samples(plain, cached(root, tmp_path / "cache")[1])
  file = entries(tmp_path)[3]
  content = bytearray(file.read_bytes())
  if damage == "flip":
    content[len(content) // 2] ^= 1
  file.write_bytes(
    {"cut": content[:-1], "flip": content, "empty": b"", "other": b"PNG" * 100}.get(damage, content)
  )
  if damage == "folder":
    file.unlink()
    file.mkdir()
  counting, source = cached(root, tmp_path / "cache")
  assert_samples(plain, source)
  assert counting.decoded == ["p3"]
  if damage != "folder":
    assert len(file.read_bytes()) == len(content)  # whole again
    counting, source = cached(root, tmp_path / "cache")
    assert_samples(plain, source)
    assert not counting.decoded


def test_changed_files_and_other_options_are_other_entries(root, tmp_path):
  assert_samples(get_source("llvip", root=root), cached(root, tmp_path / "cache")[1])
  save(root / "visible/train/p1.png", picture(99))
  voc(root / "Annotations/p4.xml", ("person", 3, 3, 8, 30))
  counting, source = cached(root, tmp_path / "cache")
  assert_samples(get_source("llvip", root=root), source)
  assert counting.decoded == ["p1", "p4"]
  counting, source = cached(root, tmp_path / "cache", options={"every": 1})
  assert_samples(get_source("llvip", root=root), source)
  assert len(counting.decoded) == PAIRS


def test_the_budget_is_never_exceeded_by_all_readers_together(root, tmp_path):
  """Four copies, as four workers have them, read at once.

  Each entry is a little over 40 * 56 * 4 bytes.
  """
  size = 10_000
  sources = [cached(root, tmp_path / "cache", 3 * size)[1] for _ in range(4)]
  plain = get_source("llvip", root=root)
  with ThreadPoolExecutor(4) as pool:
    for _ in pool.map(lambda source: assert_samples(plain, source), sources):
      pass
  assert 0 < sum(file.stat().st_size for file in entries(tmp_path)) <= 3 * size
  assert not list(tmp_path.rglob("*.tmp"))
  counting, source = cached(root, tmp_path / "none", 0)
  assert_samples(plain, source)
  assert not entries(tmp_path / "none") and len(counting.decoded) == PAIRS


def test_stand_ins_are_not_kept_so_that_every_run_reports_them(root, tmp_path):
  (root / "visible/train/p3.png").write_bytes(b"x")
  for _ in range(2):
    skipping = SkippingSource(get_source("llvip", root=root), most=0.5)
    source = DiskCachedSource(skipping, tmp_path / "cache", MIB, {"name": "llvip"})
    assert [source[i].name for i in range(PAIRS)] == ["p0", "p1", "p2", "p4", "p4", "p5"]
    assert list(skipping.skipped) == ["p3"]
  save(root / "visible/train/p3.png", picture(7))  # repaired
  assert source[3].name == "p3"


def test_a_folder_that_cannot_be_written_is_an_error(root, tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(DatasetError, match="file: cannot be used to cache"):
    cached(root, tmp_path / "file")


def test_a_full_disk_stops_no_training(root, tmp_path, monkeypatch, caplog):
  from tdfusion_jax.data import caches

  def full(*_):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(caches, "atomic_write", full)
  assert_samples(get_source("llvip", root=root), cached(root, tmp_path / "cache")[1])
  assert caplog.text.count("No space left") == 1
