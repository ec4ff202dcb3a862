"""Depthwise 3x3: values and derivatives of every order against XLA's own grouped convolution."""

import inspect
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from tdfusion_jax.ops import depthwise
from tdfusion_jax.ops.depthwise import depthwise3x3

# One pixel, one row, exactly five blocks of eight rows, five blocks and three rows that are left
# over.
SIZES = [(1, 1), (1, 5), (3, 2), (8, 4), (40, 7), (43, 7)]


def oracle(x, kernel):
  """XLA's grouped convolution."""
  channels = x.shape[-1]
  return jax.lax.conv_general_dilated(
    x,
    kernel.reshape(3, 3, 1, channels),
    (1, 1),
    ((1, 1), (1, 1)),
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    feature_group_count=channels,
  )


def draw(size, batch=2, channels=3, seed=0, dtype=None):
  """Image, kernel, and a direction in each of their spaces."""
  rng = np.random.default_rng(seed)
  shapes = 2 * ((batch, *size, channels), (3, 3, channels))
  return [
    jnp.asarray(rng.standard_normal(shape), dtype or jnp.result_type(float)) for shape in shapes
  ]


def assert_close(ours, theirs, atol=1e-11):
  """Leaf by leaf, and the oracle is not zero."""
  for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
    assert a.shape == b.shape and a.dtype == b.dtype
    assert jnp.abs(b).max() > 1e-3
    np.testing.assert_allclose(a, b, atol=atol)


@pytest.mark.parametrize("size", SIZES)
def test_equals_the_grouped_convolution(size):
  x, kernel, *_ = draw(size)
  assert_close(depthwise3x3(x, kernel), oracle(x, kernel), 1e-5)
  assert_close(jax.jit(depthwise3x3)(x, kernel), oracle(x, kernel), 1e-5)


def test_by_hand():
  """Cross-correlation: tap (0, 2) alone brings the upper right neighbour, zero beyond the
  border."""
  x = jnp.arange(1.0, 7.0).reshape(1, 2, 3, 1)
  middle, corner = (jnp.zeros((3, 3, 1)).at[tap].set(1.0) for tap in ((1, 1), (0, 2)))
  np.testing.assert_array_equal(depthwise3x3(x, middle), x)
  np.testing.assert_array_equal(depthwise3x3(x, corner)[0, ..., 0], [[0, 0, 0], [2, 3, 0]])


@pytest.mark.parametrize("pad_rows", [0, 2])
def test_other_row_padding_is_the_middle_or_more(pad_rows):
  """Rows padded by hand and convolved as usual, then the rows that the hand-made padding added
  taken off."""
  x, kernel, u, v = draw((9, 4))

  def by_hand(x, kernel):
    return oracle(jnp.pad(x, ((0, 0), (pad_rows, pad_rows), (0, 0), (0, 0))), kernel)[:, 1:-1]

  ours = partial(depthwise3x3, pad_rows=pad_rows)
  assert_close(ours(x, kernel), by_hand(x, kernel), 1e-5)
  for way in (reverse, forward, forward_over_reverse):
    assert_close(way(ours, x, kernel, u, v), way(by_hand, x, kernel, u, v), 1e-4)


def test_channels_do_not_mix():
  x, kernel, *_ = draw((4, 5))
  np.testing.assert_array_equal(
    depthwise3x3(x, kernel.at[..., 1].set(0.0))[..., 1], jnp.zeros((2, 4, 5))
  )
  np.testing.assert_array_equal(
    depthwise3x3(x[..., :1], kernel[..., :1]), depthwise3x3(x, kernel)[..., :1]
  )


def reverse(f, x, kernel, u, v):
  """Gradients of a loss that is not linear in the result."""
  return jax.grad(lambda *args: jnp.sin(f(*args)).sum(), argnums=(0, 1))(x, kernel)


def forward(f, x, kernel, u, v):
  return jax.jvp(f, (x, kernel), (u, v))[1]


def forward_over_reverse(f, x, kernel, u, v):
  return jax.jvp(lambda *args: reverse(f, *args, u, v), (x, kernel), (u, v))[1]


def _turned(f, x, kernel, u, v, inner):
  """Gradient of the product of the inner derivative with the directions."""
  leaves = lambda *args: jax.tree.leaves(inner(f, *args, u, v))  # noqa: E731
  return jax.grad(lambda *args: sum(jnp.cos(leaf).sum() for leaf in leaves(*args)), argnums=(0, 1))(
    x, kernel
  )


def reverse_over_reverse(f, *args):
  return _turned(f, *args, inner=reverse)


def reverse_over_forward(f, *args):
  return _turned(f, *args, inner=forward)


def third_order(f, *args):
  return _turned(f, *args, inner=forward_over_reverse)


FIRST = [forward, reverse]
HIGHER = [forward_over_reverse, reverse_over_reverse, reverse_over_forward, third_order]


@pytest.mark.parametrize(
  ("derivative", "size"),
  [(d, s) for d in FIRST for s in SIZES] + [(d, s) for d in HIGHER for s in ((1, 5), (19, 4))],
)
def test_derivatives_equal_those_of_the_grouped_convolution(x64, derivative, size):
  args = draw(size, seed=1)
  ours, theirs = (jax.jit(partial(derivative, f))(*args) for f in (depthwise3x3, oracle))
  assert_close(ours, theirs)


def test_linearise_and_rematerialise(x64):
  args = draw((9, 4), seed=2)
  _, along = jax.linearize(depthwise3x3, *args[:2])
  assert_close(along(*args[2:]), forward(oracle, *args))
  assert_close(reverse(jax.checkpoint(depthwise3x3), *args), reverse(oracle, *args))


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0), (3, 2), (-1, 1)])
def test_vmap(x64, axes):
  """Over images, over kernels, over both and along other axes; values and gradients."""
  x, kernel, u, v = (jnp.stack([a, 2 - a, a**2]) for a in draw((10, 3), channels=2))
  to = lambda array, axis: array[0] if axis is None else jnp.moveaxis(array, 0, axis)  # noqa: E731
  args = [to(a, axis) for a, axis in zip((x, kernel, u, v), axes * 2, strict=True)]
  for derivative in (forward, reverse, forward_over_reverse):
    ours, theirs = (
      jax.vmap(partial(derivative, f), axes * 2)(*args) for f in (depthwise3x3, oracle)
    )
    assert_close(ours, theirs)


def test_vmap_of_vmap(x64):
  x, kernel, *_ = draw((4, 3))
  images, kernels = jnp.stack([x, 1 - x]), jnp.stack([kernel, 2 * kernel, kernel**2])
  table = jax.vmap(jax.vmap(depthwise3x3, (None, 0)), (0, None))(images, kernels)
  assert_close(table, jnp.stack([jnp.stack([oracle(i, k) for k in kernels]) for i in images]))


def test_dtypes_promote():
  x, kernel, *_ = draw((3, 3))
  half = x.astype(jnp.bfloat16)
  assert depthwise3x3(half, kernel.astype(jnp.bfloat16)).dtype == jnp.bfloat16
  assert_close(depthwise3x3(half, kernel), oracle(half.astype(x.dtype), kernel), 1e-5)


def test_exports_with_unknown_size():
  """One exported program serves every height and width."""
  b, h, w = export.symbolic_shape("b, h, w")
  image = jax.ShapeDtypeStruct((b, h, w, 3), jnp.float32)
  program = export.export(jax.jit(depthwise3x3))(
    image, jax.ShapeDtypeStruct((3, 3, 3), jnp.float32)
  )
  for size in ((2, 3), (11, 5)):
    x, kernel, *_ = draw(size, dtype=jnp.float32)
    assert_close(program.call(x, kernel), oracle(x, kernel), 1e-5)


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["eager", "jit"])
@pytest.mark.parametrize(
  "shapes",
  [
    ((2, 4, 5, 3), (3, 3, 2)),
    ((2, 4, 5, 3), (5, 5, 3)),
    ((4, 5, 3), (3, 3, 3)),
    ((2, 4, 5, 4), (4, 3, 3)),
  ],
  ids=["channels", "taps", "no batch", "PyTorch's layout"],
)
def test_wrong_shapes_raise(shapes, wrap):
  """Also where nobody checks annotations, hence the bare function."""
  with pytest.raises(ValueError, match="depthwise3x3 needs"):
    wrap(inspect.unwrap(depthwise3x3))(*(jnp.zeros(shape) for shape in shapes))


@pytest.mark.parametrize("pad_rows", [0, 1, 2])
def test_kernel_gradients_in_blocks_and_at_once_are_the_same_sums(pad_rows):
  """CPUs add up 8 rows at a time, other platforms all: expected, NumPy's sums in float64."""
  rng = np.random.default_rng(0)
  x = rng.normal(size=(2, 21, 6, 3)).astype(np.float32)
  y = rng.normal(size=(2, 19 + 2 * pad_rows, 6, 3)).astype(np.float32)
  padded = np.pad(x.astype(np.float64), ((0, 0), (pad_rows, pad_rows), (1, 1), (0, 0)))
  height, width = y.shape[1:3]
  expected = [
    [(padded[:, i : i + height, j : j + width] * y).sum((0, 1, 2)) for j in range(3)]
    for i in range(3)
  ]
  for way in (depthwise._correlate, depthwise._correlate_whole):
    np.testing.assert_allclose(way(x, y, pad_rows=pad_rows), expected, atol=2e-5)
