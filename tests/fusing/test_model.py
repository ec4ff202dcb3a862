"""A model as one object: what it fuses is what `fuse` makes, and what it saves comes back."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
import yaml
from helpers import assert_same
from PIL import Image

import tdfusion_jax
from tdfusion_jax import fusers
from tdfusion_jax.files import UsageError
from tdfusion_jax.fusing import make_fuse_fn
from tdfusion_jax.weightfiles import CheckpointError, save_weights

RNG = np.random.default_rng(3)


@pytest.fixture(scope="module")
def starter():
  return tdfusion_jax.FusionModel.from_pretrained()


def test_it_fuses_what_fuse_fuses(starter, tmp_path):
  """Expected: `tdfusion_jax.fuse`, and for a batch `make_fuse_fn`."""
  ir, vi = RNG.integers(0, 256, (20, 26), np.uint8), RNG.integers(0, 256, (20, 26, 3), np.uint8)
  fused = starter(ir, vi)
  assert fused.dtype == np.uint8 and np.ptp(fused) > 20
  np.testing.assert_array_equal(fused, tdfusion_jax.fuse(ir, vi))
  image = starter(Image.fromarray(ir), Image.fromarray(vi))
  np.testing.assert_array_equal(np.asarray(image), fused)
  Image.fromarray(ir).save(tmp_path / "ir.png")
  np.testing.assert_array_equal(np.asarray(starter(tmp_path / "ir.png", image)).shape, vi.shape)
  stretched = starter(ir, vi[..., 0], stretch=True)
  assert stretched.min() == 0 and stretched.max() == 255
  assert starter(ir, vi[..., 0]).min() > 0
  with pytest.raises(UsageError, match="differ in size"):
    starter(ir[1:], vi)
  batch = make_fuse_fn(starter.fuser, starter.params)(*RNG.random((2, 1, 8, 9, 1), np.float32))
  assert batch.shape == (1, 8, 9, 1)
  assert repr(starter) == "FusionModel(fusion, 59856 parameters, Apache-2.0)"


def test_a_saved_folder_comes_back(starter, tmp_path):
  assert starter.save_pretrained(tmp_path / "saved") == tmp_path / "saved"
  for back in (
    tdfusion_jax.FusionModel.from_pretrained(str(tmp_path / "saved")),
    tdfusion_jax.FusionModel(*fusers.load_fusion(weights=tmp_path / "saved")),
  ):
    assert_same(back.params, starter.params)
  back = tdfusion_jax.FusionModel.from_pretrained(tmp_path / "saved")
  assert back.metadata == starter.metadata and back.card == starter.card
  assert fusers.shipped_card().strip() in back.card


def test_what_changed_after_it_was_saved_is_refused(starter, tmp_path):
  file = starter.save_pretrained(tmp_path) / "model.safetensors"
  save_weights(file, {"params": starter.params}, {"arch": "fusion", "step": 7})  # whole, but other
  with pytest.raises(CheckpointError, match="model.safetensors is damaged: its sha256 is"):
    tdfusion_jax.FusionModel.from_pretrained(tmp_path)
  (tmp_path / "config.json").write_text('{"model_type": "tdfusion_jax", "weights": 3}')
  with pytest.raises(CheckpointError, match="write it by FusionModel.save_pretrained"):
    tdfusion_jax.FusionModel.from_pretrained(tmp_path)
  for odd in ({"licence": 3}, {"scores": {"EN": "high"}}, {"weights": {"sha256": None}}):
    whole = {"model_type": "tdfusion_jax", "weights": {"sha256": "0"}, **odd}
    (tmp_path / "config.json").write_text(json.dumps(whole))
    with pytest.raises(CheckpointError, match="write it by FusionModel.save_pretrained"):
      tdfusion_jax.FusionModel.from_pretrained(tmp_path)


def test_a_run_folder_is_a_model_and_is_not_overwritten(starter, tmp_path):
  run = tmp_path / "run"
  notes = {"arch": "fusion", "config": "mine"}
  save_weights(run / "weights" / "f.safetensors", {"params": starter.params}, notes)
  (run / "config.json").write_text('{"fusion": {"network": ""}}')
  model = tdfusion_jax.FusionModel.from_pretrained(run)
  assert model.metadata == notes and "licence not stated" in repr(model)
  with pytest.raises(CheckpointError, match="is not of a saved model: choose a folder of its own"):
    model.save_pretrained(run)
  assert json.loads((run / "config.json").read_text()) == {"fusion": {"network": ""}}
  model.save_pretrained(tmp_path / "mine", licence="see NOTICE")
  card = (tmp_path / "mine" / "README.md").read_text()
  assert "| config | mine |" in card and "59856" in card and "Nothing was measured" in card
  head = yaml.safe_load(card.split("---\n")[1])
  assert (head["license"], head["license_name"]) == ("other", "see NOTICE")


def test_a_card_that_is_there_is_kept(starter, tmp_path):
  (tmp_path / "README.md").write_text("# mine\n")
  starter.save_pretrained(tmp_path)
  assert (tmp_path / "README.md").read_text() == "# mine\n"
  assert tdfusion_jax.FusionModel.from_pretrained(tmp_path).card == "# mine\n"


def test_a_network_of_ones_own_has_to_be_named(tmp_path):
  """As for any weight file alone: nothing in the folder has code imported."""
  fuser = tiny.fuser()
  params = fusers.init_variables(fuser.network, jax.random.key(5))["params"]
  notes = {"network": "tiny:fuser", "network_options": {}}
  tdfusion_jax.FusionModel(fuser, params, notes).save_pretrained(tmp_path)
  with pytest.raises(CheckpointError, match="name the network: --network tiny:fuser"):
    tdfusion_jax.FusionModel.from_pretrained(tmp_path)
  back = tdfusion_jax.FusionModel.from_pretrained(tmp_path, network="tiny:fuser")
  ir, vi = RNG.random((2, 7, 9))
  batch = (jnp.asarray(image[None, ..., None], jnp.float32) for image in (ir, vi))
  expected = np.asarray(fuser(params, *batch))
  np.testing.assert_allclose(back(ir, vi), expected[0, ..., 0], atol=1e-6)


def test_a_file_and_a_name_that_is_none(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  Path("runs").mkdir()
  Path("runs/f.safetensors").write_bytes(fusers.shipped_weights().read_bytes())
  model = tdfusion_jax.FusionModel.from_pretrained("runs/f.safetensors")
  assert model.metadata["licence"] == "Apache-2.0"  # as the file itself says
  for missing in ("runs/none.safetensors", "startre", "runs"):
    with pytest.raises(CheckpointError):
      tdfusion_jax.FusionModel.from_pretrained(missing)
