"""Machine code for the parts of a Restormer block: the same numbers as the JAX code, under every
derivative.

Expected values are those of `ops.parts`, the same functions in JAX, which the reference numbers
check (tests/test_goldens.py), unless a test says otherwise.
"""

import logging
import os
import platform
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import erf

from tdfusion_jax.engines import host
from tdfusion_jax.networks.fusion import FusionNet
from tdfusion_jax.networks.lossgen import LossNet
from tdfusion_jax.networks.restormer import RestormerBlock
from tdfusion_jax.ops import blocks, native
from tdfusion_jax.ops.strips import Tiling
from tests.random_fusion import random_params

PLAIN, NATIVE = Tiling(native=False), Tiling()
SIZES = [(1, 1, 1), (2, 3, 5), (1, 70, 130), (3, 33, 64)]  # the third has several lanes and tiles

pytestmark = pytest.mark.skipif(not native.ready(), reason="no C++ compiler")


def arrays(seed, *shapes):
  keys = jax.random.split(jax.random.key(seed), 9)[: len(shapes)]
  return [jax.random.normal(k, s, jnp.float64) for k, s in zip(keys, shapes, strict=True)]


def part(head, norm, size, channels=16):
  """(function of a tiling and arguments, arguments)."""
  batch, height, width = size
  wide = {"sums": 2, "attend": 1, "feed": 4}[head] * channels
  more = {"sums": (), "attend": ((batch, wide, channels),), "feed": ((wide // 2, channels),)}[head]
  x, scale, bias, w, k, *o = arrays(
    0, (*size, channels), (channels,), (channels,), (channels, wide), (3, 3, wide), *more
  )

  def call(tiling, x, scale, bias, w, k, *o):
    return getattr(blocks, head)(tiling, ((scale, bias) if norm else None, w, k), *o, x)

  return call, (x, scale, bias, w, k, *o)


def close(a, b, tolerance=1e-12):
  for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
    assert x.shape == y.shape and np.abs(y).max() > 0
    np.testing.assert_allclose(x, y, atol=tolerance * np.abs(y).max(), rtol=0)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("head", ["sums", "attend", "feed"])
def test_parts_and_their_derivatives(head, norm, size, x64):
  call, arguments = part(head, norm, size, channels=32 if size[1] == 3 else 16)
  if not norm:
    arguments, call = (
      (arguments[0], *arguments[3:]),
      (lambda c: lambda t, x, *a: c(t, x, None, None, *a))(call),
    )
  along = tuple(jnp.cos(7 * a) for a in arguments)

  def ways(tiling):
    out, pull_back = jax.vjp(lambda *a: call(tiling, *a), *arguments)
    tangent = jax.jvp(lambda *a: call(tiling, *a), arguments, along)[1]
    return (
      out,
      tangent,
      pull_back(jax.tree.map(lambda x: jnp.sin(jnp.arange(x.size) + 1.0).reshape(x.shape), out)),
    )

  if norm and size == (1, 1, 1):
    return close(
      ways(NATIVE)[0], ways(PLAIN)[0]
    )  # a single pixel: nothing to tell a gradient of zero from
  return close(ways(NATIVE), ways(PLAIN))


@pytest.mark.parametrize("net", [FusionNet, LossNet])
def test_networks_in_float32(net):
  """Output and gradients of whole networks, as training has them."""
  ir, vi = (jax.random.uniform(jax.random.key(k), (2, 20, 33, 1)) for k in (0, 1))
  params = net(PLAIN).init(jax.random.key(2), ir, vi)["params"]

  def run(tiling):
    out, pull_back = jax.vjp(lambda p: net(tiling).apply({"params": p}, ir, vi), params)
    return out, pull_back(jnp.sin(jnp.arange(out.size)).reshape(out.shape))

  close(*(jax.jit(run, static_argnums=0)(t) for t in (NATIVE, PLAIN)), tolerance=2e-4)


def test_machine_code_is_what_ran(x64):
  """And not XLA twice: a lowered program names it."""
  call, arguments = part("feed", True, (1, 8, 8))
  text = {
    t: jax.jit(lambda *a, t=t: call(t, *a)).lower(*arguments).as_text() for t in (PLAIN, NATIVE)
  }
  assert native.TARGET in text[NATIVE] and native.TARGET not in text[PLAIN]


def test_second_derivatives_go_by_jax(x64):
  """The slope of a block's gradient along a direction, by reverse over reverse."""
  x, target = arrays(1, (2, 5, 6, 16), (2, 5, 6, 16))
  params = RestormerBlock(PLAIN).init(jax.random.key(0), x)["params"]
  params = jax.tree.map(lambda p: p.astype(jnp.float64), params)
  direction = jax.tree.map(lambda p: jnp.sin(1000 * p), params)

  def slope(tiling, params):
    loss = lambda p: jnp.mean(RestormerBlock(tiling).apply({"params": p}, x) ** 2 * target)  # noqa: E731
    return optax.tree.vdot(jax.grad(loss)(params), direction)

  close(
    *(jax.jit(jax.grad(lambda p, t=t: slope(t, p)))(params) for t in (NATIVE, PLAIN)),
    tolerance=1e-10,
  )


def test_mixed_types_are_promoted(x64):
  """As everywhere in JAX; the images of a float64 run meet parameters in float32."""
  call, (x, *weights) = part("feed", True, (1, 6, 7))
  weights = [w.astype(jnp.float32) for w in weights]
  found = call(NATIVE, x, *weights)
  assert found.dtype == jnp.float64
  close(found, call(PLAIN, x, *weights))


def test_under_vmap(x64):
  call, arguments = part("attend", True, (2, 5, 6))
  mapped = [jnp.stack([a, 2 * a, a - 1]) for a in arguments]
  close(
    jax.vmap(lambda *a: call(NATIVE, *a))(*mapped), jax.vmap(lambda *a: call(PLAIN, *a))(*mapped)
  )


@pytest.mark.parametrize("head", ["sums", "attend", "feed"])
def test_mapped_images_are_a_larger_batch(head, x64):
  """By machine code still, along directions too; an axis anywhere, some of the images shared."""
  call, arguments = part(head, True, (2, 5, 6))
  x, *weights = arguments
  mapped = jnp.stack([x, 2 * x, x - 1], axis=1)

  def both(tiling, x):
    return jax.jvp(lambda x: call(tiling, x, *weights), (x,), (jnp.sin(9 * x),))

  found = jax.jit(jax.vmap(lambda x: both(NATIVE, x), in_axes=1))
  assert found.lower(mapped).as_text().count(native.TARGET) == 2
  close(found(mapped), jax.vmap(lambda x: both(PLAIN, x), in_axes=1)(mapped))


def test_gelu_in_float32():
  """Expected: the definition by SciPy's erf, in float64. A depthwise kernel of ones in the middle
  lets values pass."""
  x = np.linspace(-30, 30, 6001, dtype=np.float32)
  image = np.zeros((1, 1, len(x), 16), np.float32)
  image[..., 0], image[..., 1] = x, 1
  w, k, o = (
    np.zeros((16, 32), np.float32),
    np.zeros((3, 3, 32), np.float32),
    np.zeros((16, 16), np.float32),
  )
  w[0, 0], w[1, 16], k[1, 1], o[0, 0] = 1, 1, 1, 1
  out = blocks.feed(
    NATIVE, (None, jnp.asarray(w), jnp.asarray(k)), jnp.asarray(o), jnp.asarray(image)
  )
  exact = 0.5 * x.astype(np.float64) * (1 + erf(x.astype(np.float64) / np.sqrt(2)))
  np.testing.assert_allclose(
    np.asarray(out)[0, 0, :, 0] - x, exact, atol=2e-6
  )  # x + gelu(x), rounded at up to 60


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 1), (33, 65), (40, 200)])
def test_on_numpy_arrays(size):
  """Expected: the Flax network without machine code."""
  params = jax.tree.map(jnp.asarray, random_params())
  rng = np.random.default_rng(0)
  ir, vi = (rng.random((*size, 1), np.float32) for _ in range(2))
  expected = FusionNet(PLAIN).apply(
    {"params": params}, jnp.asarray(ir)[None], jnp.asarray(vi)[None]
  )[0]
  found = host.fuse(host.weights_of(params), ir, vi)
  assert found.dtype == np.float32 and (min(size) == 1 or found.std() > 0.01)
  # Rounding in another order; how far apart depends on the processor: 3.2e-6 was the most seen.
  np.testing.assert_allclose(found, expected, atol=5e-6)


def test_results_do_not_depend_on_threads(monkeypatch):
  weights = host.weights_of(random_params())
  image = np.random.default_rng(0).random((150, 90, 1), np.float32)
  results = []
  for count in (1, 2, 7):
    monkeypatch.setattr(host, "threads", lambda count=count: count)
    results.append(host.fuse(weights, image, image[::-1].copy()))
  assert np.array_equal(results[0], results[1]) and np.array_equal(results[0], results[2])


def test_wrong_arrays_are_refused():
  weights = host.weights_of(random_params())
  with pytest.raises(ValueError, match="equal size"):
    host.fuse(weights, np.zeros((3, 4, 1), np.float32), np.zeros((4, 3, 1), np.float32))
  with pytest.raises(ValueError, match="contiguous float32"):
    host.sums(weights.encoders[0][0], np.zeros((4, 4, 32), np.float32)[..., :16])


def compiler_here() -> bool:
  """A wheel brings machine code to machines without one."""
  try:
    return bool(native.build._compiler())
  except native.BuildError:
    return False


def fresh(tmp_path, **environment):
  """Whether a fresh process has machine code, and what it says."""
  script = (
    "import logging; logging.basicConfig(); "
    "from tdfusion_jax.ops import native; print(native.ready())"
  )
  done = subprocess.run(
    [sys.executable, "-c", script],
    capture_output=True,
    text=True,
    check=True,
    env={**os.environ, "XDG_CACHE_HOME": str(tmp_path), **environment},
  )
  return done.stdout.strip(), done.stderr


def test_without_it_or_without_a_compiler(tmp_path):
  assert fresh(tmp_path, TDFUSION_NATIVE="0")[0] == "False"
  build = {"TDFUSION_NATIVE": "build"}  # even where a wheel brings it compiled
  answer, said = fresh(tmp_path, CXX="false", **build)
  assert answer == "False" and "no native code (false failed" in said
  answer, said = fresh(tmp_path, CXX="/nowhere/c++", **build)
  assert answer == "False" and "no native code (/nowhere/c++" in said
  assert not list(tmp_path.rglob("*.so"))


X86 = platform.machine() in ("x86_64", "AMD64")
NARROW = ("-march=x86-64",)  # vectors of 16 bytes


@pytest.fixture(scope="module")
def built(tmp_path_factory):
  """Asked for machine code twice: (a user's cache folder, the two libraries, what was logged).

  It is the code that no other test has, so that one compilation, of half a minute, serves both.
  """
  cache, said = tmp_path_factory.mktemp("built"), []
  log, handler = logging.getLogger("tdfusion_jax.ops.native"), logging.Handler(logging.INFO)
  handler.emit = lambda record: said.append(record.getMessage())
  before = log.level
  with pytest.MonkeyPatch.context() as patch:
    if X86:
      patch.setattr(native.build, "_for_this_processor", lambda: NARROW)
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    try:
      return cache, [native.built(cache / "tdfusion_jax" / "native") for _ in range(2)], said
    finally:
      log.removeHandler(handler)
      log.setLevel(before)


@pytest.mark.skipif(not compiler_here(), reason="no C++ compiler")
def test_is_built_once(built):
  cache, (first, again), said = built
  assert first == again and first.is_file()
  assert [line.split(",")[0] for line in said] == ["Compiling native code for this processor"]
  left = {path.name for path in (cache / "tdfusion_jax" / "native").iterdir()}  # and no scratch
  assert left == {first.name, f"{first.stem}.sha256", f"{first.stem}.lock"}


_NARROW = f"""
import sys, pytest
from tdfusion_jax.ops.native import build
build._for_this_processor = lambda: {NARROW}
parts = "test_parts_and_their_derivatives and True and size1"
same = parts + " or test_networks_in_float32 or test_on_numpy_arrays"
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", sys.argv[1], "-k", same]))
"""


@pytest.mark.slow  # builds the machine code once more
@pytest.mark.skipif(not compiler_here(), reason="no C++ compiler")
@pytest.mark.skipif(not X86, reason="its own vectors may be of 16 bytes")
def test_vectors_of_16_bytes_give_the_same(built):
  """Those of every 64-bit x86 processor, as wide as ARM's, here on a newer one: the tests above,
  built for them."""
  cache, (library, _), _ = built
  done = subprocess.run(
    [sys.executable, "-c", _NARROW, __file__],
    capture_output=True,
    text=True,
    timeout=900,
    check=False,
    cwd=Path(__file__).parents[2],
    env=os.environ | {"XDG_CACHE_HOME": str(cache), "TDFUSION_NATIVE": "build"},
  )
  assert done.returncode == 0, done.stdout
  assert "10 passed" in done.stdout, done.stdout
  assert list(cache.rglob("*.so")) == [library]  # no other was compiled, so it is what ran
