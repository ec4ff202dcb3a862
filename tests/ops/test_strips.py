"""Strips of rows against whole images: the same function, its derivatives, and how images are
cut."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tdfusion_jax.networks.fusion import FusionNet
from tdfusion_jax.ops.depthwise import depthwise3x3
from tdfusion_jax.ops.strips import Cut, Tiling, cut, over_strips

WHOLE = Tiling(strip_bytes=1 << 40)


def blur(kernel, shift, strips, inside):
  """A depthwise convolution of (x + 1): outside the image it must not see the one."""
  x = (strips[0] + 1) * inside
  return depthwise3x3(x, kernel, pad_rows=0) + shift[:, None, None, :]


def blur_whole(kernel, shift, x):
  return depthwise3x3(x + 1, kernel) + shift[:, None, None, :]


def sums(kernel, shift, strips, inside):
  return jnp.sum(blur(kernel, shift, strips, inside) ** 2 * inside[:, 1:-1], axis=(1, 2))


def draw(batch, height, seed=0):
  rng = np.random.default_rng(seed)
  shapes = ((3, 3, 4), (batch, 4), (batch, height, 5, 4))
  return [jnp.asarray(rng.standard_normal(shape)) for shape in shapes]


ROW = 5 * 4 * 8  # bytes of a float64 row of these images
# Rows that divide the height, rows that do not, one strip per image, several images at once,
# everything at once.
SIZES = [
  (2, 12, 4 * ROW),
  (3, 13, 5 * ROW),
  (3, 7, 7 * ROW),
  (4, 6, 12 * ROW),
  (2, 9, 1 << 40),
  (1, 1, ROW),
]


@pytest.mark.parametrize(("batch", "height", "strip_bytes"), SIZES)
@pytest.mark.parametrize("remat", [True, False])
def test_strips_equal_the_whole_with_all_derivatives(x64, batch, height, strip_bytes, remat):
  arguments = draw(batch, height)
  tiling = Tiling(strip_bytes, remat)

  def in_strips(kernel, shift, x):
    return over_strips(blur, kernel, (x,), shift, channels=4, tiling=tiling)

  def derivatives(f, *args):
    loss = lambda *a: jnp.sum(jnp.sin(f(*a)))  # noqa: E731
    grads = jax.grad(loss, argnums=(0, 1, 2))
    return f(*args), grads(*args), jax.jvp(f, args, args)[1], jax.jvp(grads, args, args)[1]

  ours = jax.jit(partial(derivatives, in_strips))(*arguments)
  for a, b in zip(
    jax.tree.leaves(ours), jax.tree.leaves(derivatives(blur_whole, *arguments)), strict=True
  ):
    assert jnp.abs(b).max() > 1e-3
    np.testing.assert_allclose(a, b, atol=1e-9)


@pytest.mark.parametrize(("batch", "height", "strip_bytes"), SIZES)
def test_totals_are_sums_over_each_image(x64, batch, height, strip_bytes):
  kernel, shift, x = draw(batch, height)
  total = over_strips(sums, kernel, (x,), shift, channels=4, tiling=Tiling(strip_bytes), total=True)
  np.testing.assert_allclose(
    total, jnp.sum(blur_whole(kernel, shift, x) ** 2, axis=(1, 2)), rtol=1e-12
  )


def test_how_images_are_cut():
  choose = partial(cut, channels=10, itemsize=4)
  assert choose(2, 480, 64, strip_bytes=None) == Cut(480, 2, 1)
  assert choose(2, 480, 64, strip_bytes=20 * 2560) == Cut(
    20, 1, 24
  )  # a row has 64 * 10 * 4 = 2560 bytes
  assert choose(2, 480, 64, strip_bytes=21 * 2560) == Cut(20, 1, 24)  # 20 divides 480, 21 does not
  assert choose(1, 331, 64, strip_bytes=20 * 2560) == Cut(
    20, 1, 17
  )  # a prime: the last strip has 11 rows
  assert choose(6, 8, 64, strip_bytes=35 * 2560) == Cut(
    8, 3, 1
  )  # four would fit but do not divide six
  assert choose(1, 100, 10**6, strip_bytes=1) == Cut(4, 1, 25)  # never less than four rows


def test_fusion_net_is_the_same_in_strips(x64):
  """F at an awkward size, in strips of five rows, against F in one piece."""
  rng = np.random.default_rng(0)
  ir, vi = (jnp.asarray(rng.random((2, 23, 11, 1))) for _ in range(2))
  params = FusionNet(WHOLE).init(jax.random.key(0), ir, vi)
  whole = FusionNet(WHOLE).apply(params, ir, vi)
  strips = FusionNet(Tiling(strip_bytes=5 * 11 * 128 * 8)).apply(params, ir, vi)
  assert float(whole.std()) > 1e-3
  np.testing.assert_allclose(strips, whole, atol=1e-12)
