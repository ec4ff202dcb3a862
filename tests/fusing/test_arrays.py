"""The fuse function within a caller's own transformations, and what it says of what cannot be."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from tdfusion_jax import fusers
from tdfusion_jax.files import UsageError
from tdfusion_jax.fusing import make_fuse_fn
from tdfusion_jax.networks.fusion import FusionModule
from tdfusion_jax.networks.restormer import Conv3x3, RestormerBlock
from tdfusion_jax.ops.strips import Tiling

ROOT = Path(__file__).resolve().parents[2]
RNG = np.random.default_rng(0)
IR, VI = (RNG.random((2, 8, 12, channels), np.float32) for channels in (1, 3))


class PartOfF(nn.Module):
  """One of each that F is made of: all of its machine code, and a third to compile."""

  @nn.compact
  def __call__(self, ir, vi):
    tiling = Tiling()
    a, b = (Conv3x3(16, tiling)(image) for image in (ir, vi))
    x = FusionModule(tiling)(RestormerBlock(tiling)(a), b)
    return nn.sigmoid(Conv3x3(1, tiling)(x))


def part_of_f():
  """(fuser, params), in the place of the whole F, which the manual's examples take."""
  fuser = fusers.from_module("part", PartOfF())
  image = jnp.asarray(IR[:1])
  shapes = jax.eval_shape(fuser.network.init, jax.random.key(0), image, image)["params"]
  rng = np.random.default_rng(1)
  params = jax.tree.map(lambda p: 0.3 * rng.standard_normal(p.shape, np.float32), shapes)
  return fuser, params


@pytest.fixture(scope="module")
def loaded():
  return part_of_f()


@pytest.fixture(scope="module")
def fuse(loaded):
  return make_fuse_fn(*loaded)


@pytest.fixture(scope="module")
def plain(fuse):
  """What all transformations must give."""
  fused = np.asarray(fuse(IR, VI))
  assert fused.shape == VI.shape and np.ptp(fused) > 0.1
  return fused


def test_within_jit(loaded, fuse, plain):
  """With images as arguments, as constants, and with traced parameters."""
  fuser, params = loaded
  ways = [
    jax.jit(fuse)(IR, VI),
    jax.jit(lambda: fuse(jnp.asarray(IR), VI))(),
    jax.jit(lambda p, ir, vi: make_fuse_fn(fuser, p)(ir, vi))(params, IR, VI),
  ]
  for fused in ways:
    # Colour is fused into one program with F, or not: 1.1e-6 was the most seen, by processor.
    np.testing.assert_allclose(fused, plain, atol=2e-6)


def test_within_vmap(fuse, plain):
  """Of single images, with and without jit."""
  one = jax.vmap(lambda ir, vi: fuse(ir[None], vi[None])[0])
  np.testing.assert_allclose(one(IR, VI), plain, atol=1e-6)
  of_one = jax.jit(jax.vmap(fuse, (0, None)))(np.stack([IR, IR[::-1]]), VI)
  np.testing.assert_allclose(of_one[0], plain, atol=1e-6)
  assert np.abs(of_one[1] - of_one[0]).max() > 0.1


def test_gradient_of_images(x64):
  """Expected: central differences along a direction, in float64.

  Of a product, since only what is around F is asked here: `tests/ops` has the derivatives of F's
  parts, and the manual's example the gradient of all of it.
  """
  fuse = make_fuse_fn(lambda params, ir, vi: jnp.sin(params * ir * (1 + vi)), jnp.float64(0.7))
  ir, vi = (jnp.asarray(0.25 + 0.5 * image[:1], jnp.float64) for image in (IR, VI[..., :1]))
  weights = jnp.asarray(RNG.standard_normal(ir.shape))
  along = [jnp.asarray(RNG.standard_normal(ir.shape)) for _ in range(2)]

  @jax.jit
  def value(ir, vi):
    return jnp.sum(weights * fuse(ir, vi))

  gradients = jax.grad(value, argnums=(0, 1))(ir, vi)
  step = 1e-5
  ahead, behind = (
    value(ir + sign * step * along[0], vi + sign * step * along[1]) for sign in (1, -1)
  )
  slope = sum(jnp.vdot(g, d) for g, d in zip(gradients, along, strict=True))
  np.testing.assert_allclose(slope, (ahead - behind) / (2 * step), rtol=1e-6)
  assert abs(slope) > 1e-2


_SHARDED = """
import jax, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
from test_arrays import part_of_f
from tdfusion_jax.fusing import make_fuse_fn

assert len(jax.devices()) == 2
fuse = make_fuse_fn(*part_of_f())
rng = np.random.default_rng(0)
ir, vi = (rng.random((4, 8, 12, channels), np.float32) for channels in (1, 3))
plain = np.asarray(fuse(ir, vi))
assert np.ptp(plain) > 0.1
mesh = Mesh(jax.devices(), ("images",))
own = NamedSharding(mesh, P("images"))
sharded = [jax.device_put(image, own) for image in (ir, vi)]
each = jax.shard_map(fuse, mesh=mesh, in_specs=P("images"), out_specs=P("images"))
fused = jax.jit(each)(*sharded)
assert len({shard.device for shard in fused.addressable_shards}) == 2
np.testing.assert_allclose(fused, plain, atol=1e-6)
np.testing.assert_allclose(fuse(*sharded), plain, atol=1e-6)
print("the same")
"""


def test_over_several_devices():
  """Two emulated ones with two images each: `shard_map`, and a sharded batch given as it is."""
  path = os.pathsep.join(map(str, (ROOT, Path(__file__).parent)))
  flags = "--xla_force_host_platform_device_count=2"
  environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": path}
  command = [sys.executable, "-c", _SHARDED]
  done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
  assert done.stdout == "the same\n", done.stderr


def half(params, ir, vi):
  return (ir + vi) / 2


def _with(value):
  image = IR.copy()
  image[1, 2, 3] = value
  return image


@pytest.mark.parametrize(
  ("ir", "said"),
  [
    (_with(np.nan), "ir holds NaN or infinity"),
    (_with(-np.inf), "ir holds NaN or infinity"),
    (jnp.asarray(_with(np.nan)), "ir holds NaN or infinity"),
    (_with(255), "not in [0, 1]; divide by 255"),
    (_with(-0.5), "ir has values from -0.5 to"),
    (
      (IR * 255).astype(np.uint8),
      "floats in [0, 1], not uint8; divide 8 bits by 255",
    ),
    (IR.astype(np.int32), "ir: images are floats in [0, 1], not int32"),
    (IR.astype(np.complex64), "floats in [0, 1], not complex64; take its real part"),
    (IR.tolist(), "ir is a list, not a NumPy or JAX array; stack images by np.stack"),
    (list(IR), "ir is a list"),
    (IR[0], "one pair is a batch of one, image[None]"),
    (IR[:1], "of equal size, not (1, 8, 12, 1) and (2, 8, 12, 3)"),
    (IR[:, :4], "of equal size"),
    (IR[..., [0, 0]], "1 or 3 channels, not 2 and 3"),
  ],
)
def test_what_cannot_be_fused_is_named(ir, said):
  with pytest.raises(UsageError) as error:
    make_fuse_fn(half, {})(ir, VI)
  assert said in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("empty", [np.s_[:0], np.s_[:, :0], np.s_[:, :, :0]])
def test_an_empty_batch_is_named(empty):
  for fuse in (make_fuse_fn(half, {}), jax.jit(make_fuse_fn(half, {}))):
    with pytest.raises(UsageError, match="nothing to fuse in a batch of"):
      fuse(IR[empty], VI[empty])


def test_under_tracing_shapes_and_dtypes_are_checked_and_values_are_not():
  """The documented contract; a constant's values are known, and checked, there too."""
  fuse, broken = make_fuse_fn(half, {}), jnp.asarray(_with(np.nan))
  with pytest.raises(UsageError, match="of equal size"):
    jax.jit(fuse)(IR[:1], VI)
  with pytest.raises(UsageError, match="not int32"):
    jax.jit(fuse)(IR.astype(np.int32), VI)
  assert np.isnan(jax.jit(fuse)(_with(np.nan), VI)).any()
  with pytest.raises(UsageError, match="NaN"):
    jax.jit(lambda vi: fuse(broken, vi))(VI)


def test_a_little_overshoot_passes():
  """As bicubic resampling makes it."""
  fused = make_fuse_fn(half, {})(_with(1.05), VI[..., :1])
  np.testing.assert_allclose(fused[1, 2, 3], (1.05 + VI[1, 2, 3, :1]) / 2, rtol=1e-6)
