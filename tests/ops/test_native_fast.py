"""The fast network by machine code: the same numbers as the Flax network, alone and within JAX.

Expected values are those of `FastNet` in JAX, whose parts test_fast checks against closed forms.
"""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tdfusion_jax import fusers
from tdfusion_jax.engines import fast_host
from tdfusion_jax.networks import fast_layers, fast_native
from tdfusion_jax.networks.fast import FastNet
from tdfusion_jax.ops import native
from tdfusion_jax.ops.platform import made_for
from tdfusion_jax.ops.strips import Tiling

needs_code = pytest.mark.skipif(not native.ready(), reason="no C++ compiler")
NET = FastNet()
SIZES = [(1, 1), (5, 7), (33, 47), (61, 29), (72, 560)]  # the last fills vectors, of several strips


@pytest.fixture(scope="module")
def params():
  """The shipped ones, disturbed, so that no bias is near zero."""
  shipped = fusers.load_fusion(weights="fast")[1]
  rng = np.random.default_rng(1)
  return jax.tree.map(
    lambda x: jnp.asarray(x + 0.05 * rng.standard_normal(x.shape, np.float32)), shipped
  )


@pytest.fixture(scope="module")
def by_xla(params):
  run = jax.jit(NET.apply)
  return lambda ir, vi: np.asarray(run({"params": params}, ir, vi))


def images(batch, height, width):
  return jnp.asarray(np.random.default_rng(2).random((2, batch, height, width, 1), np.float32))


def near(found, expected, size):
  assert found.shape == expected.shape and found.dtype == np.float32
  assert min(size) == 1 or expected.std() > 0.1
  np.testing.assert_allclose(found, expected, atol=3e-6, rtol=0)


@needs_code
@pytest.mark.parametrize("size", SIZES)
def test_numpy_arrays(params, by_xla, size):
  ir, vi = images(1, *size)
  near(
    fast_host.fuse(fast_host.weights_of(params), *np.asarray([ir[0], vi[0]]))[None],
    by_xla(ir, vi),
    size,
  )


@needs_code
def test_within_jax_and_vmapped(params, by_xla):
  """A batch of three, and one pair with several partners."""
  size = (61, 29)
  ir, vi = images(3, *size)
  expected = by_xla(ir, vi)
  near(jax.jit(fast_native.fuse)(params, ir, vi), expected, size)
  one_by_one = jax.vmap(lambda a, b: fast_native.fuse(params, a[None], b[None])[0], out_axes=1)
  near(np.asarray(one_by_one(ir, vi)).swapaxes(0, 1), expected, size)
  partners = jax.vmap(lambda b: fast_native.fuse(params, ir[:1], b[None])[0])(vi)
  near(partners, by_xla(ir[:1].repeat(3, 0), vi), size)


@needs_code
def test_derivatives_are_those_of_the_network(params):
  """Of parameters and images, to the bit: training is as without machine code."""
  ir, vi = images(2, 9, 13)
  aim = jnp.sin(jnp.arange(ir.size)).reshape(ir.shape)

  def slopes(fuse, p, a):
    return jax.grad(lambda p, a: jnp.sum(aim * fuse(p, a, vi)), argnums=(0, 1))(p, a)

  def network(p, a, b):
    return NET.apply({"params": p}, a, b)

  both = jax.jit(lambda p, a: (slopes(fast_native.fuse, p, a), slopes(network, p, a)))
  found, expected = (jax.tree.leaves(tree) for tree in both(params, ir))
  for ours, theirs in zip(found, expected, strict=True):
    assert np.abs(theirs).max() > 0
    np.testing.assert_array_equal(ours, theirs)


@needs_code
def test_vmap_over_parameters(params):
  """Expected: machine code, one set of parameters at a time."""
  ir, vi = images(1, 9, 13)
  two = jax.tree.map(lambda x: jnp.stack([x, 0.9 * x]), params)
  found = jax.jit(jax.vmap(fast_native.fuse, in_axes=(0, None, None)))(two, ir, vi)
  for i in (0, 1):
    one = jax.tree.map(lambda x, i=i: x[i], two)
    near(np.asarray(found[i]), np.asarray(fast_native.fuse(one, ir, vi)), (9, 13))


@needs_code
def test_machine_code_is_what_ran(params):
  """And where it cannot be, for a GPU, in 16 bits or by the caller's wish, XLA."""
  ir, vi = images(1, 8, 8)

  def text(arguments=(params, ir, vi), platform="cpu", **options):
    def fuse(*arguments):
      return fast_native.fuse(*arguments, **options)

    return jax.jit(fuse).trace(*arguments).lower(lowering_platforms=(platform,)).as_text()

  assert native.FAST_TARGET in text()
  assert native.FAST_TARGET not in text(platform="cuda")
  with made_for("gpu"):
    assert "custom_call" not in text(platform="cuda")
  halves = jax.tree.map(lambda x: x.astype(jnp.bfloat16), (params, ir, vi))
  assert native.FAST_TARGET not in text(halves)
  assert native.FAST_TARGET not in text(tiling=Tiling(native=False))


@needs_code
def test_wrong_shapes_are_refused(params):
  weights = fast_host.weights_of(params)
  (a,), (b,) = np.asarray(images(1, 8, 8))
  with pytest.raises(ValueError, match="two luminances"):
    fast_host.fuse(weights, a, b[:7])
  with pytest.raises(ValueError, match="weights_of"):
    fast_host.fuse(weights[1:], a, b)


def test_layers_are_those_of_the_network():
  """Names and shapes as Flax makes them."""
  image = jax.ShapeDtypeStruct((1, 8, 8, 1), jnp.float32)
  made = jax.eval_shape(NET.init, jax.random.key(0), image, image)["params"]
  assert jax.tree.map(lambda x: x.shape, made) == fast_layers.shapes()
  assert fast_layers.tree(fast_layers.leaves(made)) == made


@needs_code
def test_a_pair_is_fused_without_jax(tmp_path):
  """By the command, with the shipped weights; expected: within one of 255 steps of the network."""
  from PIL import Image

  rng = np.random.default_rng(0)
  pixels = rng.integers(0, 256, (2, 40, 50), np.uint8)
  for side, image in zip(("ir", "vi"), pixels, strict=True):
    Image.fromarray(image).save(tmp_path / f"{side}.png")
  code = (
    "import sys; from tdfusion_jax import cli; "
    "cli.main('fuse --ir ir.png --vi vi.png --out fused.png --weights fast'.split()); "
    "sys.exit('jax' in sys.modules)"
  )
  subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
  ir, vi = (jnp.asarray(image[None, ..., None] / np.float32(255)) for image in pixels)
  shipped = fusers.load_fusion(weights="fast")[1]
  expected = np.asarray(jax.jit(NET.apply)({"params": shipped}, ir, vi))[0, ..., 0]
  found = np.asarray(Image.open(tmp_path / "fused.png")) / 255
  np.testing.assert_allclose(found, expected, atol=1 / 255)
