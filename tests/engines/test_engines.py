"""Every engine that computes F against the Flax network, on the same pairs.

Expected: `FusionNet` without machine code. Sizes of one row or column, smaller and larger than a
tile, odd, and that fill tiles exactly.
"""

import functools
import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_fusion import random_params

from tdfusion_jax import fusers
from tdfusion_jax.engines import anysize, host
from tdfusion_jax.engines.onnx import fusion_model, onnx_session
from tdfusion_jax.engines.onnx_openvino import openvino_infer
from tdfusion_jax.engines.weights import BLOCKS, each, shapes, weights_of
from tdfusion_jax.export import _stablehlo
from tdfusion_jax.fusers.load import _leaves
from tdfusion_jax.fusing.streaming import Tile, fuse_streamed
from tdfusion_jax.images.reading import pixels
from tdfusion_jax.networks.fusion import FusionNet
from tdfusion_jax.ops import native
from tdfusion_jax.ops.strips import Tiling

SIZES = [(1, 1), (1, 9), (7, 1), (16, 24), (33, 65), (40, 200)]
TILE = Tile(16, 24)
PARAMS = random_params()


@functools.cache
def pair(height, width):
  """(ir, vi) [H, W, 1] of 16-bit values, which files hold as well, in [0, 1]."""
  rng = np.random.default_rng(height * width)
  shape = (height, width, 1)
  return [pixels(rng.integers(0, 1 << 16, shape, np.uint16), "made") for _ in range(2)]


@functools.cache
def expected(height, width):
  network = FusionNet(Tiling(native=False))
  ir, vi = (jnp.asarray(side.whole())[None] for side in pair(height, width))
  return np.asarray(jax.jit(network.apply)({"params": PARAMS}, ir, vi))[0]


def by_machine_code(ir, vi):
  return host.fuse(host.weights_of(PARAMS), ir.whole(), vi.whole())


def by_tiles(ir, vi):
  return fuse_streamed(PARAMS, ir, vi, tile=TILE)


@functools.cache
def any_size_program():
  room = anysize.Room(9000, 256, step=700)

  def run(params, ir, vi, height, width):
    return anysize.fuse_flat(params, ir, vi, anysize.ground_of(room, height, width))

  return room, jax.jit(run)


def by_one_program(ir, vi):
  room, program = any_size_program()
  height, width = ir.array.shape[:2]
  flat = [anysize.lay_out(np.asarray(side.whole(), np.float32), room) for side in (ir, vi)]
  fused = program(PARAMS, *flat, np.int32(height), np.int32(width))
  return anysize.take_up(np.asarray(fused), room, height, width)


@functools.cache
def session():
  return onnx_session(fusion_model(PARAMS).SerializeToString())


def by_onnx(ir, vi):
  pytest.importorskip("onnxruntime")
  ir, vi = (np.asarray(side.whole(), np.float32)[None] for side in (ir, vi))
  return session().run(["fused"], {"ir": ir, "vi": vi})[0][0]


@functools.cache
def exported():
  """A program for all sizes, as `tdfusion export` writes it, read back from its bytes."""
  program = _stablehlo(fusers.fusion_network(), PARAMS)
  return jax.jit(jax.export.deserialize(bytearray(program)).call)


def by_stablehlo(ir, vi):
  ir, vi = (jnp.asarray(side.whole(), jnp.float32)[None] for side in (ir, vi))
  return np.asarray(exported()(ir, vi))[0]


@functools.cache
def openvino_way(half):
  return openvino_infer(PARAMS, half=half)


def by_openvino(ir, vi):
  pytest.importorskip("openvino")
  ir, vi = (np.asarray(side.whole(), np.float32)[None] for side in (ir, vi))
  return openvino_way(False)(ir, vi)[0]


# Engine, tolerance, whether it needs machine code (None: either way).
ENGINES = {
  "machine code": (by_machine_code, 3e-6, True),
  "tiles by machine code": (by_tiles, 3e-6, True),
  "tiles by XLA": (by_tiles, 3e-6, False),
  "one program for all sizes": (by_one_program, 1e-5, None),
  "ONNX": (by_onnx, 1e-5, None),
  "OpenVINO": (by_openvino, 1e-5, None),
  "StableHLO": (by_stablehlo, 1e-5, None),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_equals_the_network(engine, size, monkeypatch):
  fuse, tolerance, machine_code = ENGINES[engine]
  if machine_code and not native.ready():
    pytest.skip("no C++ compiler")
  reference = expected(*size)
  if machine_code is False:
    monkeypatch.setattr(native, "ready", lambda: False)
  fused = fuse(*pair(*size))
  assert fused.dtype == np.float32 and fused.shape == (*size, 1)
  assert min(size) == 1 or reference.std() > 0.01
  np.testing.assert_allclose(fused, reference, atol=tolerance)


def test_openvino_in_half_precision():
  """Expected: the network in float32, to five of bfloat16's last places below 1, 5 x 2**-8.

  Rounding in each of F's products moves it by up to 1.5e-2 with the shipped weights.
  """
  pytest.importorskip("openvino")
  params = fusers.load_fusion()[1]
  ir, vi = np.random.default_rng(0).random((2, 1, 48, 64, 1), np.float32)
  reference = np.asarray(jax.jit(FusionNet(Tiling(native=False)).apply)({"params": params}, ir, vi))
  fused = openvino_infer(params, half=True)(ir, vi)
  assert fused.dtype == np.float32 and reference.std() > 0.05
  np.testing.assert_allclose(fused, reference, atol=5 * 2**-8, rtol=0)
  if host.has_half():  # a processor with bfloat16, which is then used
    assert np.abs(fused - reference).max() > 1e-4


def test_a_block_has_the_name_of_its_parameters():
  """Expected: the slices of the parameters of that name."""
  weights = weights_of(PARAMS)
  for name in BLOCKS:
    block, p = weights.block(name), PARAMS[name]
    qkv = np.concatenate([block.qk.matrix, block.v.matrix], axis=1)
    np.testing.assert_array_equal(qkv, p["attn"]["qkv"]["kernel"])
    np.testing.assert_array_equal(block.out, p["ffn"]["project_out"]["kernel"])
    np.testing.assert_array_equal(block.feed.norm[0], p["norm2"]["scale"])


@pytest.mark.parametrize(
  "size",
  [
    (480, 640),
    pytest.param((1024, 1280), marks=pytest.mark.slow),  # four times as much to compute
  ],
)
def test_onnx_of_large_images_keeps_the_promise_of_export(size):
  """Sums over a million pixels, with the shipped weights. Expected: machine code, which adds up
  strips of rows in float64; summed pixel by pixel ONNX Runtime was off by 1.8e-5 and 1.7e-4."""
  pytest.importorskip("onnxruntime")
  if not native.ready():
    pytest.skip("no machine code")
  params = fusers.load_fusion()[1]
  ir, vi = np.random.default_rng(0).random((2, *size, 1), np.float32)
  session = onnx_session(fusion_model(params).SerializeToString())
  (found,) = session.run(["fused"], {"ir": ir[None], "vi": vi[None]})
  expected = host.fuse(host.weights_of(params), ir, vi)
  assert expected.std() > 0.1
  np.testing.assert_allclose(found[0], expected, atol=1e-5, rtol=0)


def test_the_shapes_that_engines_expect_are_those_of_the_network():
  """Expected: Flax's own; in its order, by which equal weights give equal files."""
  image = jnp.zeros((1, 16, 16, 1))
  network = jax.eval_shape(FusionNet().init, jax.random.key(0), image, image)["params"]
  leaves = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), network)
  own = jax.tree.map(
    lambda leaf: (leaf.shape, np.dtype(leaf.dtype)),
    _leaves(shapes()),
    is_leaf=lambda part: hasattr(part, "shape"),
  )
  assert own == leaves
  assert json.dumps(own, default=str) == json.dumps(leaves, default=str)


def test_each_does_what_jax_does():
  tree = {"b": (np.ones(2), None), "a": weights_of(PARAMS)}
  ours, theirs = each(lambda x: x + 1, tree), jax.tree.map(lambda x: x + 1, tree)
  assert jax.tree.structure(ours) == jax.tree.structure(theirs)
  jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_openvino_reports_to_nobody_that_it_was_imported():
  """Left alone it forks a process at its import, which sends that to its makers."""
  pytest.importorskip("openvino")
  code = """
import os, sys
forks = []
os.register_at_fork(before=lambda: forks.append(1))
from tdfusion_jax.engines import onnx_openvino
onnx_openvino.openvino_package().Core()
print(len(forks), "openvino_telemetry" in sys.modules)
"""
  done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
  assert done.stdout == "0 False\n"
