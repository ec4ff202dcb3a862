"""tools/distil.py on few pairs: what F made of them is learned, and the file is a fuser."""

import distil
import distil_pairs
import jax.numpy as jnp
import numpy as np
import pytest

from tdfusion_jax import fusers


@pytest.fixture
def lessons():
  rng = np.random.default_rng(0)
  ir, vi = rng.integers(0, 256, (2, 4, 32, 32), np.uint8)
  return distil.Lessons(ir, vi, (ir / np.float16(510) + vi / np.float16(510)).astype(np.float16))


def test_two_rounds_make_a_file_that_fuses(lessons, tmp_path):
  distil.distil(lessons, [distil.Round(2, 1e-2, 1.0)] * 2, seed=0, folder=tmp_path, start=1)
  first, file = (tmp_path / f"fast_{number}.safetensors" for number in (1, 2))
  assert first.read_bytes() != file.read_bytes()
  fuser, params = fusers.load_fusion(weights=file)
  assert fuser.name == "fast" and file.stat().st_size < 200_000
  assert params["half_in"]["kernel"].dtype == np.float32
  assert np.abs(params["whole_out"]["bias"]).max() > 0  # fresh biases are zero


def test_pairs_are_varied_and_the_same_again():
  once, again, other = (distil_pairs.crops_of(scene, 0) for scene in (1, 1, 2))
  np.testing.assert_array_equal(once.ir, again.ir)
  np.testing.assert_array_equal(once.vi, again.vi)
  assert once.ir.shape == once.vi.shape == (4, 192, 192) and once.ir.dtype == np.uint8
  assert np.abs(once.ir.astype(int) - other.ir).mean() > 5
  assert np.abs(once.ir.astype(int) - once.vi).mean() > 5


def test_the_difference_sees_a_pattern_of_two_pixels():
  """Expected: by hand; Sobel gradients of a chessboard are zero."""
  board = jnp.asarray(np.indices((8, 8)).sum(0) % 2, jnp.float32)[None, ..., None]
  images, steps = distil.difference(board, jnp.zeros_like(board))
  assert float(images) == 0.5 and float(steps) == 2.0
