"""Checkpoints: what comes back, what is refused, what a killed process may leave behind."""

import numpy as np
import pytest

from tdfusion_jax.weightfiles import CheckpointError, load_weights, match, save_weights


def test_weights_round_trip_with_metadata(tmp_path):
  params = {"params": {"layer": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}}}
  save_weights(tmp_path / "w" / "f.safetensors", params, {"arch": "fusion", "step": 7})
  loaded, metadata = load_weights(tmp_path / "w" / "f.safetensors")
  np.testing.assert_array_equal(
    loaded["params"]["layer"]["kernel"], params["params"]["layer"]["kernel"]
  )
  assert metadata == {"arch": "fusion", "step": 7}
  assert [p.name for p in (tmp_path / "w").iterdir()] == ["f.safetensors"]


def test_equal_weights_are_equal_files(tmp_path):
  """Whatever order the library's metadata happen to be in; the file stays one that it reads."""
  params = {"params": {"b": np.arange(3, dtype=np.float64), "a": np.ones(2, np.float32)}}
  metadata = {"arch": "fusion", "step": 7, "name": "Grün", "seed": 0, "options": {"x": [1, None]}}
  written = set()
  for index in range(8):
    save_weights(tmp_path / f"{index}.safetensors", params, metadata)
    written.add((tmp_path / f"{index}.safetensors").read_bytes())
  assert len(written) == 1
  loaded, said = load_weights(tmp_path / "7.safetensors")
  assert said == metadata
  np.testing.assert_array_equal(loaded["params"]["b"], [0, 1, 2])
  np.testing.assert_array_equal(loaded["params"]["a"], [1, 1])


def test_missing_and_broken_weight_files_are_named(tmp_path):
  with pytest.raises(CheckpointError, match=r"none\.safetensors does not exist"):
    load_weights(tmp_path / "none.safetensors")
  (tmp_path / "bad.safetensors").write_bytes(b"12345678 not weights")
  with pytest.raises(CheckpointError, match=r"bad\.safetensors is not a readable"):
    load_weights(tmp_path / "bad.safetensors")


def test_match_lists_every_leftover_missing_shape_and_nan():
  like = {"a": np.zeros(2, np.float32), "b": np.zeros(3), "d": np.zeros(1)}
  loaded = {"a": np.ones(2), "b": np.zeros(4), "c": np.zeros(1), "e": np.array([np.nan])}
  with pytest.raises(CheckpointError) as error:
    match(loaded, like, "file")
  for line in ("missing: d", "left over: c", "shape: b is (4,), not (3,)", "not finite: e"):
    assert line in str(error.value)
  assert match({"a": np.ones(2)}, {"a": like["a"]}, "file")["a"].dtype == np.float32
