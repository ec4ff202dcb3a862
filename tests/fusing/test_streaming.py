"""Tile by tile equals the whole image."""

import dataclasses

import jax
import numpy as np
import pytest
from PIL import Image

from tdfusion_jax import cli, fusers
from tdfusion_jax.engines.onnx import EngineError
from tdfusion_jax.fusing import streaming
from tdfusion_jax.fusing.arrays import make_fuse_fn
from tdfusion_jax.fusing.huge import huge_pairs
from tdfusion_jax.fusing.streaming import Tile, finish, fuse_streamed
from tdfusion_jax.images.reading import ImageError, pixels
from tdfusion_jax.networks.fusion import FusionNet
from tdfusion_jax.ops import native
from tdfusion_jax.ops.strips import Tiling
from tests.random_fusion import random_params

PARAMS = random_params()
TILE = Tile(16, 24)


def whole(params, ir, vi):
  return FusionNet(Tiling(native=False)).apply({"params": params}, ir, vi)


def pair(height, width, channels=(1, 3), dtype=np.uint8):
  rng = np.random.default_rng(height * width)
  top = np.iinfo(dtype).max
  return [
    pixels(rng.integers(0, top, (height, width, c), dtype, endpoint=True), "x") for c in channels
  ]


@pytest.mark.parametrize("code", ["machine code", "XLA"])
@pytest.mark.parametrize("size", [(37, 53), (16, 24), (9, 70), (65, 5), (33, 47)])
def test_equals_f_of_the_whole_images(size, code, monkeypatch):
  """Expected: the Flax network on whole images. Bands, columns end early, fit, or are slivers."""
  ir, vi = pair(*size, channels=(1, 1), dtype=np.uint16)
  expected = jax.jit(whole)(PARAMS, *(x.whole()[None] for x in (ir, vi)))[0]
  assert float(np.asarray(expected).std()) > 0.01
  if code == "XLA":
    monkeypatch.setattr(native, "ready", lambda: False)
  elif not native.ready():
    pytest.skip("no C++ compiler")
  np.testing.assert_allclose(fuse_streamed(PARAMS, ir, vi, tile=TILE), expected, atol=3e-6)


@pytest.mark.parametrize("stretch", [False, True])
def test_colour_and_stretch_are_those_of_the_export_function(stretch):
  """Expected: `make_fuse_fn` on the same pair; a rounding to 8 bits may fall either way."""
  ir, vi = pair(40, 30)
  expected = make_fuse_fn(whole, PARAMS, stretch=stretch)(ir.whole()[None], vi.whole()[None])[0]
  found = finish(fuse_streamed(PARAMS, ir, vi, tile=TILE), ir, vi, stretch=stretch, rows=17)
  assert found.dtype == np.uint8 and found.shape == (40, 30, 3) and found.std() > 10
  assert np.abs(found - np.asarray(expected) * 255).max() < 0.51


def test_tells_how_far_it_is():
  seen = []
  fuse_streamed(PARAMS, *pair(20, 20), tile=TILE, told=seen.append)
  assert seen == sorted(seen) and seen[-1] == 1 and len(seen) == 12  # two bands, six sweeps


def test_unequal_sizes():
  with pytest.raises(ImageError, match="differ in size"):
    fuse_streamed(PARAMS, pair(20, 20)[0], pair(20, 21)[1])


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, monkeypatch):
  def full(*_):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(streaming.os, "pwrite", full)
  with pytest.raises(
    ImageError, match=r"no room for .* of 5\.1e-05 GB .*No space left.* Make room.*--scratch"
  ):
    fuse_streamed(PARAMS, *pair(20, 20), folder=tmp_path, tile=TILE)
  assert not list(tmp_path.iterdir())


def test_the_command_streams_large_pairs_among_small_ones(tmp_path, capsys):
  """Expected: the same command without streaming, within one gray level."""
  rng = np.random.default_rng(0)
  for side in ("ir", "vi"):
    (tmp_path / side).mkdir()
    for name, size in (
      ("small", (20, 30)),
      ("large", (60, 90)),
      ("uneven", (60, 90 + (side == "ir"))),
    ):
      Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(
        tmp_path / side / f"{name}.png"
      )
  command = [
    "fuse",
    f"--ir={tmp_path}/ir",
    f"--vi={tmp_path}/vi",
    "--cache=",
    "--backend=jax",
    "--no-check",
  ]
  assert cli.main([*command, f"--out={tmp_path}/streamed", "--stream-from=0.005"]) == 1
  assert "differ in size (91x60 and 90x60)" in capsys.readouterr().err
  assert cli.main([*command, f"--out={tmp_path}/whole"]) == 1
  for name in ("small", "large"):
    a, b = (
      np.asarray(Image.open(tmp_path / way / f"{name}.png"), int) for way in ("streamed", "whole")
    )
    assert a.std() > 10 and np.abs(a - b).max() <= 1
  assert not (tmp_path / "streamed" / "uneven.png").exists()


def test_tiles_are_for_f_and_for_wrappers_of_it_that_say_so():
  f = fusers.fusion_network()
  wrapper = dataclasses.replace(f, name="mine", fuse=lambda params, ir, vi: f(params, ir, vi))
  assert huge_pairs(wrapper, PARAMS).pixels == huge_pairs(f, PARAMS).pixels == 12_000_000
  assert huge_pairs(whole, PARAMS) is None and huge_pairs(f, PARAMS, dtype=np.float16) is None
  with pytest.raises(EngineError, match="how far a pixel reaches in a network of your own"):
    huge_pairs(whole, PARAMS, megapixels=12.0)
  with pytest.raises(EngineError, match="computed in float32"):
    huge_pairs(f, PARAMS, megapixels=12.0, dtype=np.float16)
  with pytest.raises(ImageError, match="--stream-from -1: at least 0"):
    huge_pairs(f, PARAMS, megapixels=-1.0)
  with pytest.raises(ImageError, match="--scratch nowhere is not a folder"):
    huge_pairs(f, PARAMS, scratch="nowhere")
