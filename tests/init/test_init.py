"""`tdfusion init` on folders that are laid out differently: the right config, or a question."""

from collections.abc import Iterable

import pytest
from made_data import picture, save, voc

from tdfusion_jax import cli
from tdfusion_jax.config.file import read_config
from tdfusion_jax.data import DatasetError, get_source
from tdfusion_jax.data.readers.places import parse_folders, places_of, splits_of
from tdfusion_jax.files import UsageError
from tdfusion_jax.init.datayaml import folders_of
from tdfusion_jax.init.scan import pattern_of, role_of
from tdfusion_jax.train import build, checks


def pairs(root, ir, vi, names: Iterable[str] = "ab", seed=0):
  for i, name in enumerate(names):
    save(root / ir / f"{name}.png", picture(seed + i, 1))
    save(root / vi / f"{name}.png", picture(seed + 9 + i))


def yolo(folder, names: Iterable[str] = "ab"):
  folder.mkdir(parents=True, exist_ok=True)
  for name in names:
    (folder / f"{name}.txt").write_text("0 0.5 0.5 0.5 0.5\n")


@pytest.fixture
def init(tmp_path, monkeypatch, capsys):
  """Runs it: (status, what it prints, the configs or None)."""
  monkeypatch.chdir(tmp_path)

  def run(folder, *more):
    status = cli.main(["init", str(folder), "--out=made.py", *more])
    shown = capsys.readouterr()
    if not (tmp_path / "made.py").is_file():
      return status, shown.err, None
    configs = [read_config("made.py", options, {}) for options in ("", "runlocal")]
    for config in configs:
      checks.check(config)
    return status, shown.out, configs

  return run


def sources(config):
  return [build.source(config, which, own_task=True) for which in ("train", "val")]


def test_llvip_as_it_is_distributed(tmp_path, init):
  root = tmp_path / "LLVIP"
  for split, seed in (("train", 0), ("test", 40)):
    names = [f"{split}{i}" for i in range(3)]
    pairs(root, f"infrared/{split}", f"visible/{split}", names, seed)
    for name in names:
      voc(root / f"Annotations/{name}.xml", ("person", 1, 2, 20, 30))
  status, shown, (full, short) = init(root)
  assert status == 0 and "LLVIP, 6 pairs (train 3, test 3)" in shown and "1 class: person" in shown
  assert full.data.name == "llvip" and full.task.kind == "detection"
  assert full.data.train_options.every == 1  # a part is used whole; only the full set is thinned
  assert [source.names for source in sources(full)] == [
    ["train0", "train1", "train2"],
    ["test0", "test1", "test2"],
  ]
  # Images of 40x56: the longer side as the paper's, in multiples of 32 (40 * 320 / 56 = 229).
  assert full.data.task_size == (224, 320) and short.data.task_size == (128, 160)
  assert "tdfusion train --config=made.py:runlocal --workdir=runs/made_short" in shown


def test_pairs_with_labels_and_folds(tmp_path, init):
  """As MSRS_det: ir, vi, labels, folds.txt, and a second folder of labels."""
  root = tmp_path / "det"
  names = [f"n{i}" for i in range(10)]
  pairs(root, "ir", "vi", names)
  yolo(root / "labels", names)
  yolo(root / "labels_other", names)
  (root / "labels/classes.txt").write_text("person\n")
  lines = [f"{name} {i // 5}" for i, name in enumerate(names)]
  (root / "folds.txt").write_text("\n".join(lines))
  status, shown, (full, _) = init(root)
  assert status == 0 and "fold 0 of folds.txt" in shown and "not used    labels_other" in shown
  train, val = sources(full)
  assert val.names == names[:5] and set(train.names) <= set(names[5:]) and train.kind == "detection"
  status, shown, (full, _) = init(root, "--force", "--labels=labels_other", "--classes=car")
  assert status == 0 and "labels_other: YOLO boxes" in shown
  assert sources(full)[0].classes == ("car",) and full.data.train_options.fold == 0


def test_yolo_with_data_yaml(tmp_path, init):
  root = tmp_path / "set"
  for split, names in (("train", "abc"), ("valid", "de")):
    pairs(root, f"infrared/{split}", f"images/{split}", names, ord(names[0]))
    yolo(root / f"labels/{split}", names)
  (root / "data.yaml").write_text(
    "path: /not/here\ntrain: ../images/train\nval: images/valid\nnc: 1\nnames: [person]\n"
  )
  status, shown, (full, _) = init(root)
  assert status == 0 and "5 pairs (train 3, valid 2)" in shown and "1 class: person" in shown
  assert (full.data.train_split, full.data.val_split) == ("train", "valid")
  assert full.data.train_options.folders == (
    "ir=infrared/{split},vi=images/{split},labels=labels/{split}"
  )
  train, val = sources(full)
  assert (train.names, val.names) == (["a", "b", "c"], ["d", "e"]) and len(train[0].target[0]) == 1


def test_data_yaml_that_names_no_folder(tmp_path):
  for text in ("train: [a, b]", "train: list.txt", "train: gone/images", "train: ../../etc"):
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(DatasetError, match=r"data.yaml: train is"):
      folders_of(tmp_path / "data.yaml")


def test_masks(tmp_path, init):
  root = tmp_path / "seg"
  for split, seed in (("train", 0), ("test", 50)):
    pairs(root, f"{split}/thermal", f"{split}/rgb", split, seed)
    for name in split:
      save(root / split / "masks" / f"{name}.png", picture(1, 1) % 2)
  (root / "classes.txt").write_text("road\ncar\n")
  status, shown, (full, _) = init(root)
  assert status == 0 and "masks; 2 classes: road, car" in shown
  assert full.task.kind == "segmentation" and full.data.train_options.folders == (
    "ir={split}/thermal,vi={split}/rgb,labels={split}/masks"
  )


def test_pairs_without_labels(tmp_path, init):
  root = tmp_path / "pairs"
  pairs(root, "ir", "vi")
  status, shown, (full, short) = init(root)
  assert status == 0 and "Without labels F learns from a loss with fixed weights" in shown
  for config in (full, short):
    assert (config.task.kind, config.loss.weights, config.meta.steps) == ("none", "fixed", 0)
  (tmp_path / "t.safetensors").write_bytes(b"read by the training")
  status, shown, (full, _) = init(root, "--force", "--task=detection", "--t=t.safetensors")
  assert status == 0 and full.task.labels == "pseudo"
  assert full.init.t == str(tmp_path / "t.safetensors")
  before = (tmp_path / "made.py").read_text()
  assert cli.main(["init", str(root), "--out=made.py"]) == 2  # another config is there
  assert (tmp_path / "made.py").read_text() == before


def test_what_is_no_folder_of_pairs_gets_a_question(tmp_path, init):
  root = tmp_path / "holiday"
  save(root / "beach/1.jpg", picture(0))
  status, asked, config = init(root)
  assert status == 2 and config is None and len(asked.splitlines()) < 24
  assert "beach  1 image\n" in asked and "Pairs are needed" in asked
  save(root / "hills/1.jpg", picture(1))
  status, asked, _ = init(root)
  assert f"tdfusion init {root} --ir=beach --vi=hills" in asked
  status, _, (full, _) = init(root, "--ir=beach", "--vi=hills")
  assert status == 0 and sources(full)[0].names == ["1"]


@pytest.mark.parametrize(
  ("folders", "asks"),
  [
    ((("one/ir", "one/vi"), ("two/ir", "two/vi")), "none of them is called train or test"),
    ((("x_ir/m", "x_vi/m"), ("y_ir/m", "y_vi/m")), "several sets of pairs"),
    ((("thermal/a1", "rgb/b2"),), "Which folder"),
  ],
)
def test_questions(tmp_path, init, folders, asks):
  root = tmp_path / "set"
  for number, (ir, vi) in enumerate(folders):
    pairs(root, ir, vi, seed=20 * number)
  if asks == "Which folder":  # equal names are what makes pairs
    (root / "rgb/b2/a.png").rename(root / "rgb/b2/c.png")
    (root / "rgb/b2/b.png").rename(root / "rgb/b2/d.png")
    asks = "their names differ"
  status, asked, config = init(root)
  assert status == 2 and config is None and asks in " ".join(asked.split())


def test_labels_without_class_names_get_a_question(tmp_path, init):
  root = tmp_path / "set"
  pairs(root, "ir", "vi")
  yolo(root / "labels")
  status, asked, _ = init(root)
  assert status == 2 and "--classes=person,car" in asked
  status, shown, (full, _) = init(root, "--classes=person")
  assert status == 0 and sources(full)[1].classes == ("person",)


def test_errors_in_the_data_are_shown_and_end_with_status_1(tmp_path, init):
  root = tmp_path / "set"
  pairs(root, "ir", "vi")
  (root / "vi/b.png").unlink()
  status, shown, _ = init(root)
  assert status == 1 and "1 error" in shown and "Repair the errors first" in shown
  assert f"tdfusion data verify --dataset=folder --root={root} --fix-hints" in shown


def test_options_that_do_not_go_together(tmp_path, init):
  pairs(tmp_path / "p", "ir", "vi")
  for more in (["--ir=ir"], ["--t=gone"], ["--task=detection"]):
    assert init(tmp_path / "p", *more)[0] == 2
  assert init(tmp_path / "gone")[0] == 2


def test_words_of_folders():
  assert role_of(("set", "imagesIR")) == role_of(("lwir", "train")) == "ir"
  assert role_of(("visible_2", "images")) == role_of(("infrared_set", "RGB")) == "vi"
  assert role_of(("rgb", "Segmentation_labels")) == "label"
  assert role_of(("birds", "stairs")) == role_of(("ir_vi",)) == ""
  assert pattern_of("train/ir_train") == ("{split}/ir_{split}", "train")
  assert pattern_of("restrained/val2017") == ("restrained/{split}2017", "val")
  assert pattern_of("test2/val") == ("test2/val", "")  # which of the two?


def test_folders_of_any_name(tmp_path):
  for split, names in (("train", "ab"), ("test", "c")):
    pairs(tmp_path, f"t_{split}/x_{split}", f"v/{split}", names)
  yolo(tmp_path / "boxes", "abc")
  folders = "ir=t_{split}/x_{split}, vi=v/{split}, labels=boxes"
  assert splits_of(tmp_path, folders) == ["test", "train"]
  assert not places_of(tmp_path, "train", folders).own_labels
  train, test = (
    get_source("folder", root=tmp_path, split=split, folders=folders, classes="person")
    for split in ("train", "test")
  )
  assert train.names == ["a", "b"] and test.names == ["c"] and test.kind == "detection"
  for wrong in ("ir=a", "ir=a,vi=b,ir=c", "x=a,ir=a,vi=b", "ir=/a,vi=b", "ir=../a,vi=b", " "):
    with pytest.raises(DatasetError, match="folders="):
      parse_folders(wrong)
  assert parse_folders("") == {} and issubclass(DatasetError, UsageError)
