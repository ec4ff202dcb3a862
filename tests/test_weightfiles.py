"""Checkpoints: what comes back, what is refused, what a killed process may leave behind."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

from tdfusion_jax.train.checkpoints import Checkpoints
from tdfusion_jax.weightfiles import CheckpointError, load_weights, match, save_weights


def state(step=3):
  made = toy.state(toy.adams(), np.float32)
  f_params = {k: v + step for k, v in made.params.f.items()}
  return made._replace(step=jnp.asarray(step, jnp.int32), params=made.params._replace(f=f_params))


def same(a, b):
  raw = lambda x: jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x  # noqa: E731
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


def test_weights_round_trip_with_metadata(tmp_path):
  params = {"params": {"layer": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}}}
  save_weights(tmp_path / "w" / "f.safetensors", params, {"arch": "fusion", "step": 7})
  loaded, metadata = load_weights(tmp_path / "w" / "f.safetensors")
  np.testing.assert_array_equal(
    loaded["params"]["layer"]["kernel"], params["params"]["layer"]["kernel"]
  )
  assert metadata == {"arch": "fusion", "step": 7}
  assert [p.name for p in (tmp_path / "w").iterdir()] == ["f.safetensors"]


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
