"""Half precision on CPUs that multiply bfloat16: near float32, part by part and as a whole.

Expected values are those of machine code in float32, which `test_native` checks. bfloat16 rounds by
up to 2**-9, float16 by 2**-12, of each factor of a product. With tiles (AMX) or without them
(AVX512-BF16) that is other code, under the same tests: each processor runs its own.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tdfusion_jax import fusers
from tdfusion_jax.data.synthetic import SyntheticSource
from tdfusion_jax.engines import host
from tdfusion_jax.fusing.pairs import make_frame_fn, make_pair_fuser
from tdfusion_jax.ops.image import luminance
from tests.random_fusion import random_params

with_half = pytest.mark.skipif(
  not host.has_half(), reason="no machine code, or a processor that multiplies no bfloat16"
)
# Odd numbers of rows and columns, several lanes and several cuts of a row.
SIZES = [(1, 1), (1, 9), (7, 1), (2, 2), (3, 13), (5, 64), (33, 65), (34, 66), (40, 131)]


@pytest.fixture(scope="module")
def weights():
  """The shipped ones: what random ones amplify says nothing of images."""
  return host.weights_of(fusers.load_fusion()[1])


def images(size, seed=0):
  return np.random.default_rng(seed).random((2, *size, 1), np.float32)


@with_half
@pytest.mark.parametrize("size", SIZES)
def test_f_is_near_float32(weights, size):
  exact, found = (host.fuse(weights, *images(size), half=half) for half in (False, True))
  assert found.shape == exact.shape and found.dtype == np.float32
  assert min(size) == 1 or exact.std() > 0.1
  far = np.abs(found - exact)
  assert 0 < far.max() < 1e-2 and far.mean() < 1e-3  # noise is what F changes most


@with_half
def test_f_is_nearer_float32_on_a_scene(weights):
  """The bound that the guide to fuse promises of pictures."""
  pair = SyntheticSource("segmentation", "test", size=(96, 128), count=1)[0]
  ir, vi = np.float32(pair.ir[..., None]) / 255, luminance(np.float32(pair.vi) / 255)
  exact, found = (host.fuse(weights, ir, np.asarray(vi), half=half) for half in (False, True))
  assert exact.std() > 0.1
  far = np.abs(found - exact)
  assert 0 < far.max() < 1e-2 and far.mean() < 5e-4


@with_half
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("which", ["encoder", "fusion", "decoder"])
def test_parts_are_near_float32(size, which):
  """Of blocks of 16 and 32 channels, with a layer norm and without."""
  net = host.weights_of(random_params())
  block = {"encoder": net.encoders[0][0], "fusion": net.fusion, "decoder": net.decoders[0]}[which]
  channels = block.out.shape[1]
  x = np.random.default_rng(1).standard_normal((*size, channels), np.float32)
  mixed = np.random.default_rng(2).standard_normal((block.v.matrix.shape[1], channels), np.float32)

  def ways(half):
    amounts = host.sums(block, x, half=half)
    return [*amounts, host.apply(block, mixed, x.copy(), half=half)]

  for found, exact in zip(ways(True), ways(False), strict=True):
    scale = np.abs(exact).max()
    assert 0 < np.abs(found - exact).max() < 0.02 * scale


@with_half
def test_all_small_sizes(weights):
  """Nothing beyond an image's ends comes in or is written: each size by itself."""
  block = weights.decoders[0]
  mixed = np.random.default_rng(2).standard_normal((32, 32), np.float32)
  for height in range(1, 6):
    for width in range(1, 27):
      x = np.random.default_rng(width).standard_normal((height, width, 32), np.float32)
      room = np.full((height + 2, width, 32), np.nan, np.float32)
      exact = host.apply(block, mixed, x.copy())
      found = host.apply(block, mixed, x.copy(), room[1:-1], half=True)
      assert np.isnan(room[[0, -1]]).all()
      assert 0 < np.abs(found - exact).max() < 0.02 * np.abs(exact).max()


@with_half
@pytest.mark.parametrize("beside", [0, 4])  # numbers that images begin behind a line of 64 bytes
def test_images_that_no_cache_holds(weights, beside):
  """Large images that begin at a line may be stored past the caches: the same numbers."""
  block = weights.decoders[0]
  mixed = np.random.default_rng(2).standard_normal((32, 32), np.float32)
  x = np.random.default_rng(0).standard_normal((230, 301, 32), np.float32)

  def placed():
    room = np.full(x.size + 32, np.nan, np.float32)
    start = -room.ctypes.data % 64 // 4 + beside
    return room[start : start + x.size].reshape(x.shape)

  exact, found = host.apply(block, mixed, x.copy()), placed()
  found[:] = x
  host.apply(block, mixed, found, placed(), half=True)
  assert 0 < np.abs(found - exact).max() < 0.02 * np.abs(exact).max()
  # Rows whose neighbours are the same do not depend on how many more there are.
  few = host.apply(block, mixed, x[:40].copy(), half=True)
  np.testing.assert_array_equal(found[:36], few[:36])


@with_half
def test_an_even_image_is_not_moved(weights):
  """Roundings of weights are the same everywhere, so they must not add up to another brightness."""
  rows, columns = np.mgrid[:60, :80].astype(np.float32)
  ir, vi = (rows / 120 + 0.2)[..., None], (columns / 160 + 0.4)[..., None]
  exact, found = (host.fuse(weights, ir, vi, half=half) for half in (False, True))
  assert exact.std() > 0.05
  assert abs((found - exact).mean()) < 5e-4


@with_half
@pytest.mark.parametrize("zero", [slice(None), slice(0, 16), slice(16, 32)])
def test_matrices_with_zeros(weights, zero):
  """As the fusion module has them, whose two modalities are one block: zeros may be left out."""
  block = weights.decoders[0]
  x = np.random.default_rng(0).standard_normal((9, 21, 32), np.float32)
  matrix, mixed = block.v.matrix.copy(), np.random.default_rng(1).random((32, 32), np.float32)
  matrix[zero, :16], mixed[zero, 16:] = 0, 0
  block = block._replace(v=block.v._replace(matrix=matrix))
  exact, found = (host.apply(block, mixed, x.copy(), half=half) for half in (False, True))
  assert 0 < np.abs(found - exact).max() < 0.02 * np.abs(exact).max()


@with_half
@pytest.mark.parametrize("size", [(1, 1), (2, 11), (3, 64), (4, 25), (35, 70)])
def test_convolution(size):
  x = np.random.default_rng(0).standard_normal((*size, 32), np.float32)
  kernel = np.random.default_rng(1).standard_normal((3, 3, 32, 16), np.float32)
  exact, found = (host.conv3x3(x, kernel, half=half) for half in (False, True))
  assert 0 < np.abs(found - exact).max() < 0.01 * np.abs(exact).max()


@with_half
def test_sums_count_a_region_alone(weights):
  block, rows, columns = weights.decoders[0], slice(3, 30), slice(5, 69)
  x = np.random.default_rng(0).standard_normal((34, 70, 32), np.float32)
  found, exact = (host.sums(block, x, (rows, columns), half=half) for half in (True, False))
  whole = host.sums(block, x)
  for a, b, more in zip(found, exact, whole, strict=True):
    scale = np.abs(b).max()
    assert np.abs(a - b).max() < 0.01 * scale < 0.5 * np.abs(more - b).max()


@with_half
def test_results_do_not_depend_on_threads(weights, monkeypatch):
  results = []
  for count in (1, 3):
    monkeypatch.setattr(host, "threads", lambda count=count: count)
    results.append(host.fuse(weights, *images((70, 90)), half=True))
  assert np.array_equal(*results)


@pytest.mark.parametrize("half", [pytest.param(True, marks=with_half), False])
def test_bfloat16_of_a_pair(monkeypatch, half):
  """Where there is no such product, machine code in float32 computes in their place."""
  if not host.native.ready() or jax.default_backend() != "cpu":
    pytest.skip("no machine code")
  monkeypatch.setattr(host, "has_half", lambda: half)
  f, params = fusers.load_fusion()
  ir, vi = images((20, 31))
  found = make_pair_fuser(f, params, dtype=jnp.bfloat16).start(ir, vi)()
  expected = host.fuse(host.weights_of(params), ir, vi, half=half)
  np.testing.assert_allclose(found, expected, atol=1e-6)
  frames = make_frame_fn(f, params, dtype=jnp.bfloat16)  # of videos and evaluation
  np.testing.assert_array_equal(frames(ir[None], vi[None])[0], found)
