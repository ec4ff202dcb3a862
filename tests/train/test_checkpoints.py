"""Checkpoints: what comes back, what is refused, what a killed process or a bad disk leaves."""

import gc
import json
import logging
import re
import shutil

import damage_checkpoints
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

from tdfusion_jax.train import checkpoints as module
from tdfusion_jax.train.checkpoints import Checkpoints
from tdfusion_jax.weightfiles import CheckpointError

# Orbax leaves tasks of a closed event loop behind where what it reads is damaged.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def nothing_is_left_to_other_tests():
  yield
  gc.collect()  # or these would be found in a test that has nothing to do with them


def state(step=3):
  made = toy.state(toy.adams(), np.float32)
  f_params = {k: v + step for k, v in made.params.f.items()}
  return made._replace(step=jnp.asarray(step, jnp.int32), params=made.params._replace(f=f_params))


def same(a, b):
  def raw(x):
    return jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x

  return jax.tree.structure(a) == jax.tree.structure(b) and all(
    np.array_equal(raw(x), raw(y))
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
  )


def test_everything_comes_back_and_the_newest_stay(tmp_path):
  checkpoints = Checkpoints(tmp_path / "c", keep=2)
  assert checkpoints.restore(state()) is None
  for step in (1, 2, 3):
    checkpoints.save(state(step))
  checkpoints.save(state(3))  # again: nothing to do
  assert checkpoints.steps() == [2, 3]
  restored = checkpoints.restore(jax.eval_shape(state))
  assert same(restored, state(3)) and not same(restored, state(2))
  checkpoints.close()


def test_a_half_deleted_newest_step_gives_way_to_the_one_before(tmp_path, caplog):
  checkpoints = Checkpoints(tmp_path / "c")
  for step in (1, 2):
    checkpoints.save(state(step))
  checkpoints.close()
  shutil.rmtree(tmp_path / "c" / "2" / "state")
  assert same(Checkpoints(tmp_path / "c").restore(state()), state(1))


def test_another_networks_checkpoint_is_an_error_with_the_names(tmp_path):
  checkpoints = Checkpoints(tmp_path / "c")
  checkpoints.save(state(1))
  params = state(1).params
  like = state(1)._replace(params=params._replace(f={**params.f, "a": jnp.zeros((4,))}))
  with pytest.raises(CheckpointError, match="a"):
    checkpoints.restore(like)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
  """A folder with the steps 1 and 2."""
  folder = tmp_path_factory.mktemp("saved") / "c"
  checkpoints = Checkpoints(folder)
  for step in (1, 2):
    checkpoints.save(state(step))
  checkpoints.close()
  return folder


@pytest.mark.parametrize("damage", [damage_checkpoints.flip, damage_checkpoints.cut])
def test_random_damage_is_never_restored(saved, tmp_path, damage):
  """Every file of the newest step in turn: the step before comes back, bit for bit."""
  count = damage_checkpoints.damage_all(saved, state(1), damage, 60, 0, tmp_path)
  assert count.tries == 60 and count.files > 5 and not count.wrong


def test_the_files_of_large_arrays_are_checked_too(tmp_path, capsys):
  assert damage_checkpoints.main(["--flips=12", "--cuts=12", "--large=300000"]) == 0
  flips, cuts = map(json.loads, capsys.readouterr().out.splitlines())
  assert flips == {"damage": "flip", "tries": 12, "files": flips["files"], "wrong": 0}
  assert cuts["damage"] == "cut" and flips["files"] > 5


def test_damage_that_is_not_noticed_would_be_reported(saved, tmp_path, monkeypatch):
  monkeypatch.setattr(Checkpoints, "_damage", lambda self, step: "")
  wrong = damage_checkpoints.damage_all(
    saved, state(1), damage_checkpoints.flip, 6, 0, tmp_path
  ).wrong
  assert any("restored wrongly" in line for line in wrong)


def test_damage_is_named_set_aside_and_replaced(saved, tmp_path, caplog):
  folder = tmp_path / "c"
  shutil.copytree(saved, folder)
  file = next(p for p in sorted((folder / "2").rglob("d/*")) if p.is_file())
  file.write_bytes(b"?" + file.read_bytes()[1:])
  checkpoints = Checkpoints(folder, keep=2)
  with caplog.at_level(logging.WARNING):
    assert same(checkpoints.restore(state()), state(1))
  assert "checkpoint 2 of" in caplog.text and f"{file.name} is not what was saved" in caplog.text
  assert (folder / "2.damaged").is_dir()
  checkpoints.save(state(2))
  assert same(checkpoints.restore(state()), state(2)) and not (folder / "2.damaged").exists()
  checkpoints.close()


def test_an_older_step_is_damaged_so_that_orbax_cannot_open_the_folder(saved, tmp_path, caplog):
  """It reads the time of each step; one far beyond the calendar is an OverflowError there."""
  folder = tmp_path / "c"
  shutil.copytree(saved, folder)
  file = folder / "1" / "_CHECKPOINT_METADATA"
  text, count = re.subn(r"(timestamp_nsecs\":\s*)\d+", r"\g<1>1" + "0" * 40, file.read_text())
  assert count
  file.write_text(text)
  checkpoints = Checkpoints(folder, keep=2)
  assert same(checkpoints.restore(state()), state(2))
  assert "checkpoint 1 of" in caplog.text and (folder / "1.damaged").is_dir()
  checkpoints.save(state(3))
  assert checkpoints.steps() == [2, 3]
  checkpoints.close()


def test_damage_takes_no_place_of_those_to_keep(saved, tmp_path):
  folder = tmp_path / "c"
  shutil.copytree(saved, folder)
  shutil.rmtree(folder / "2" / "state")
  checkpoints = Checkpoints(folder, keep=2)
  checkpoints.restore(state())
  checkpoints.save(state(4))
  assert checkpoints.steps() == [1, 4]
  checkpoints.close()


def test_if_all_are_damaged_the_message_says_what_to_do(saved, tmp_path):
  folder = tmp_path / "c"
  shutil.copytree(saved, folder)
  for step in "12":
    (folder / step / "manifest.json").write_text("{}\n")
  with pytest.raises(
    CheckpointError, match=r"(?s)step 2: manifest\.json.*step 1: .*Remove the folder"
  ):
    Checkpoints(folder).restore(state())


def test_an_array_that_is_not_the_one_saved_is_not_restored(saved, tmp_path, monkeypatch):
  """As if a file passed its check and its decoding did not."""
  folder = tmp_path / "c"
  shutil.copytree(saved, folder)
  manifest = folder / "2" / "manifest.json"
  digest = module._of_array(np.asarray(2, np.int32))  # of the step
  assert digest in manifest.read_text()
  manifest.write_text(manifest.read_text().replace(digest, "0" * 64))
  assert same(Checkpoints(folder).restore(state()), state(1))


def test_leftovers_are_removed_at_start(saved, tmp_path):
  folder = tmp_path / "c"
  shutil.copytree(saved, folder)
  (folder / "3.orbax-checkpoint-tmp" / "state").mkdir(parents=True)
  (folder / "2" / "manifest.json").unlink()  # killed between Orbax's end and ours
  checkpoints = Checkpoints(folder)
  assert checkpoints.steps() == [1]
  checkpoints.tidy()
  assert sorted(p.name for p in folder.iterdir()) == ["1"]
  checkpoints.save(state(2))
  assert checkpoints.steps() == [1, 2]
  checkpoints.close()


def test_a_full_disk_is_one_line_with_a_remedy(saved, tmp_path, monkeypatch):
  checkpoints = Checkpoints(tmp_path / "c")
  monkeypatch.setattr(
    module, "write_json", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device"))
  )
  with pytest.raises(CheckpointError, match="could not save step 3 in .*No space left.*Make room"):
    checkpoints.save(state(3))
  checkpoints.close()
