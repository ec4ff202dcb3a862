"""ONNX Runtime in place of JAX: the same images, and chosen when it is the faster."""

import dataclasses
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from random_fusion import random_params

from tdfusion_jax import fusers
from tdfusion_jax.engines.onnx import EngineError
from tdfusion_jax.fusing import backends
from tdfusion_jax.fusing.arrays import make_fuse_fn
from tdfusion_jax.fusing.compiled import AnySizeFuser
from tdfusion_jax.fusing.pairs import EngineFuser
from tdfusion_jax.ops import native

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def params():
  return random_params()


def test_all_ways_agree(params):
  """With each other and with `make_fuse_fn`, one size at a time; one program for all kinds."""
  pytest.importorskip("onnxruntime")
  f = fusers.fusion_network()
  ways = [
    *(backends.make_fuser(name, f, params) for name in ("jax", "onnx")),
    AnySizeFuser(params),
  ]
  for kinds in ((3, 3), (1, 1), (1, 3)):
    ir, vi = (RNG.random((19, 33, channels)).astype(np.float32) for channels in kinds)
    ours, *theirs = (fuser.start(ir, vi)() for fuser in ways)
    assert ours.shape == (19, 33, max(kinds)) and np.ptp(ours) > 1e-2
    for other in theirs:
      np.testing.assert_allclose(ours, other, atol=1e-5)
  np.testing.assert_allclose(
    ours, make_fuse_fn(fusers.fuse_net, params)(ir[None], vi[None])[0], atol=1e-5
  )
  assert [len(fuser.compiled) for fuser in ways[1:]] == [0, 1]
  assert len(ways[0].compiled) == (0 if native.ready() else 1)


class Fake:
  def __init__(self, value, log):
    self.compiled, self._value, self._log = [], value, log

  def plan(self, sizes):
    self._log.append((self._value, sizes))

  def start(self, ir, vi):
    return lambda: np.full(ir.shape, self._value)


def test_a_little_faster_is_not_enough(monkeypatch):
  monkeypatch.setattr(backends, "_fastest", lambda fuser, ir, vi: fuser._value)
  fuser = backends.FasterFuser({"jax": Fake(0.5, []), "onnx": Fake(0.45, [])})
  assert fuser.start(np.zeros((4, 6, 1)), np.zeros((4, 6, 1)))().max() == 0.5
  assert fuser.note.startswith("backend jax:")


def test_the_faster_is_taken(monkeypatch):
  log, image = [], np.zeros((4, 6, 1))
  monkeypatch.setattr(backends, "_fastest", lambda fuser, ir, vi: fuser._value)
  fuser = backends.FasterFuser({"jax": Fake(0.5, log), "onnx": Fake(0.25, log)})
  fuser.plan([(4, 6), (4, 6)])
  assert fuser.start(image, image)().max() == 0.25
  assert fuser.note == "backend onnx: the first pair (6x4) took jax 0.50 s, onnx 0.25 s"
  assert log == [(0.5, [(4, 6), (4, 6)]), (0.25, [(4, 6), (4, 6)])]
  alone = backends.FasterFuser({"jax": Fake(0.5, log), "onnx": Fake(0.25, log)})
  alone.plan([(4, 6)])
  assert alone.start(image, image)().max() == 0.5 and alone.note == ""


def test_an_engine_that_is_there_and_broken_is_left_out(params, monkeypatch):
  """Installed, so `find_spec` sees it, but it cannot be imported: seen at the first pair of two."""
  pytest.importorskip("onnxruntime")
  monkeypatch.setitem(sys.modules, "openvino", None)  # or it would be a candidate too

  def broken(params):
    raise backends.EngineError("this backend needs ONNX")

  monkeypatch.setattr(backends, "onnx_infer", broken)
  fuser = backends.make_fuser("auto", fusers.fusion_network(), params)
  fuser.plan([(16, 24)] * 2)
  ir, vi = RNG.random((2, 16, 24, 1)).astype(np.float32)
  assert np.ptp(fuser.start(ir, vi)()) > 1e-2 and fuser.note.startswith("backend jax:")


def test_without_onnx_runtime(params, monkeypatch):
  for name in ("onnxruntime", "openvino"):
    monkeypatch.setitem(sys.modules, name, None)
  kind = EngineFuser if native.ready() else AnySizeFuser
  assert isinstance(backends.make_fuser("auto", fusers.fusion_network(), params), kind)
  with pytest.raises(EngineError, match="pip install"):
    backends.make_fuser("onnx", fusers.fusion_network(), params)
  with pytest.raises(EngineError, match="F alone"):
    backends.make_fuser("onnx", fusers.average(fusers.loss_network()), params)


def test_openvino_is_one_more_backend(params, monkeypatch):
  """By name in both types; to be timed by auto where it is installed, with both its packages."""
  made, f = [], fusers.fusion_network()
  monkeypatch.setattr(
    backends, "openvino_infer", lambda params, half=False: made.append(half) or (lambda ir, vi: ir)
  )
  for dtype in (None, jnp.bfloat16):
    fuser = backends.make_fuser("openvino", f, params, dtype=dtype)
    image = RNG.random((4, 6, 1)).astype(np.float32)
    np.testing.assert_array_equal(fuser.start(image, image)(), image)
  assert made == [False, True]
  there = {"onnx", "openvino"}
  monkeypatch.setattr(backends, "find_spec", lambda name: name in there or None)
  for dtype in (None, jnp.bfloat16):
    auto = backends.make_fuser("auto", f, params, dtype=dtype)
    assert isinstance(auto, backends.FasterFuser) and list(auto._fusers) == ["jax", "openvino"]
  there.remove("onnx")
  assert not isinstance(backends.make_fuser("auto", f, params), backends.FasterFuser)


def test_openvino_that_is_not_there_or_does_not_fit(params, monkeypatch):
  monkeypatch.setitem(sys.modules, "openvino", None)
  f, average = fusers.fusion_network(), fusers.average(fusers.loss_network())
  for dtype in (None, jnp.bfloat16):
    with pytest.raises(EngineError, match=r"pip install 'tdfusion-jax\[openvino\]'"):
      backends.make_fuser("openvino", f, params, dtype=dtype)
  with pytest.raises(EngineError, match="F alone; --backend jax computes average too"):
    backends.make_fuser("openvino", average, params)
  with pytest.raises(EngineError, match="and in float32"):
    backends.make_fuser("onnx", f, params, dtype=jnp.bfloat16)


def test_a_wrapper_of_f_that_says_what_it_is_keeps_its_engines(params):
  """Machine code and one program for all sizes; a plain function says nothing, and is compiled."""
  calls = []

  def counted(params, ir, vi):
    calls.append(ir.shape)
    return fusers.fuse_net(params, ir, vi)

  wrapper = dataclasses.replace(fusers.fusion_network(), name="counted", fuse=counted)
  ir, vi = (RNG.random((19, 33, 1)).astype(np.float32) for _ in range(2))
  fused = backends.make_fuser("jax", wrapper, params).start(ir, vi)()
  assert calls == [] and np.ptp(fused) > 1e-2
  exact = backends.make_fuser("jax", counted, params).start(ir, vi)()
  assert calls == [(1, 19, 33, 1)]
  np.testing.assert_allclose(fused, exact, atol=1e-5)
