"""Folds of a folder of pairs. Expected: by hand, from lists of a few names."""

import pytest
from made_data import picture, save

from configs import load
from tdfusion_jax.data import DatasetError, folds, get_source
from tdfusion_jax.train.build import source

# Three folds by blocks of six and five neighbours; 0 and 1 have two blocks each.
SIZES = [(0, 6), (1, 6), (2, 6), (0, 5), (1, 5)]


def listed():
  names = iter(f"n{number:02d}" for number in range(28))
  return {next(names): fold for fold, size in SIZES for _ in range(size)}


def test_a_fold_is_the_test_set_and_the_end_of_each_other_block_is_for_choices():
  found = listed()
  test = [f"n{i:02d}" for i in (*range(6, 12), *range(23, 28))]
  assert folds.in_split(found, 1, "test") == test
  assert folds.in_split(found, 1, "val") == ["n05", "n17", "n22"]
  train = folds.in_split(found, 1, "train")
  assert train == [name for name in found if name not in (*test, "n05", "n17", "n22")]


def test_names_may_have_spaces(tmp_path):
  (tmp_path / "folds.txt").write_text("my pair 0\n  a\t1 \n\nmy  pair\t 12\n")
  assert folds.read_folds(tmp_path / "folds.txt") == {"my pair": 0, "a": 1, "my  pair": 12}


def test_single_pairs_as_blocks():
  """Every fifth block of the others: of n0, n2, ... that are not of fold 1."""
  found = {f"n{i}": i % 3 for i in range(18)}  # others: n0 n2 n3 n5 n6 n8 n9 n11 n12 n14 n15 n17
  assert folds.in_split(found, 1, "val") == ["n6", "n14"]
  assert len(folds.in_split(found, 1, "train")) == 10


@pytest.fixture
def root(tmp_path):
  for index, name in enumerate(listed()):
    save(tmp_path / f"ir/{name}.png", picture(index, 1)[:8, :8])
    save(tmp_path / f"vi/{name}.png", picture(index)[:8, :8])
    (tmp_path / "labels").mkdir(exist_ok=True)
    (tmp_path / f"labels/{name}.txt").write_text("0 .5 .5 .5 .5\n")
  (tmp_path / "labels/classes.txt").write_text("person\n")
  (tmp_path / "folds.txt").write_text("".join(f"{n} {k}\n" for n, k in listed().items()))
  return tmp_path


def test_splits_of_a_folder(root):
  """Together they are all pairs, each once; without `fold` every split sees all, as before."""
  splits = {split: get_source("folder", root=root, split=split, fold=2) for split in folds.SPLITS}
  names = [name for each in splits.values() for name in each.names]
  assert sorted(names) == list(listed())
  assert splits["test"].names == [f"n{i}" for i in range(12, 18)]
  assert splits["test"][0].target.boxes.shape == (1, 4)
  assert "test of fold 2: 6 pairs" in splits["test"].describe()
  assert len(get_source("folder", root=root, split="test")) == 28


def test_blocks_of_a_source_are_those_of_the_list(root):
  assert get_source("folder", root=root, split="test", fold=0).blocks == [0] * 6 + [3] * 5
  assert get_source("folder", root=root, split="val", fold=0).blocks == [1, 2, 4]


@pytest.mark.parametrize("name", ["folder_det", "folder_seg"])
def test_a_config_may_name_the_fold(root, name):
  config = load(name)
  assert config.data.train_options.fold is None
  if name == "folder_det":
    changes = {"data.root": str(root), "data.train_options.fold": 1, "data.val_options.fold": 1}
    config.update_from_flattened_dict({**changes, "data.val_split": "val"})
    assert source(config, "val").names == ["n05", "n17", "n22"]
    assert len(source(config, "train")) == 28 - 11 - 3


def test_what_does_not_fit_is_named(root):
  def error(**options):
    with pytest.raises(DatasetError) as caught:
      get_source("folder", root=root, **{"split": "test", "fold": 0, **options})
    return str(caught.value)

  assert "fold=3: folds.txt has the folds 0, 1, 2" in error(fold=3)
  assert "no split 'all'; known: train, val, test" in error(split="all")
  assert "fold='x' is not" in error(fold="x")
  file = root / "folds.txt"
  whole = file.read_text()
  file.write_text(whole + "n99 0\n")
  assert "folds.txt: 1 name(s) without a pair (names have no suffix): n99" in error()
  file.write_text(whole.replace("n03 0\n", ""))
  assert "1 pair(s) without a fold in folds.txt: n03" in error()
  file.write_text(whole + "n00 1\n")
  assert "line 29 repeats" in error()
  file.write_text("n00 first\n")
  assert "line 1: 'n00 first' is not NAME FOLD" in error()
  file.write_text(f"n00 {'9' * 5000}\n")
  assert "line 1: 'n00 9999" in error()
  file.unlink()
  assert "folds.txt is missing: a line NAME FOLD for each pair" in error()
