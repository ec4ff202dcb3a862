"""F in one program for all sizes against `FusionNet`, compiled for each size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_fusion import random_params

from tdfusion_jax.engines.anysize import Ground, Room, fuse_flat, lay_out, room_for, take_up
from tdfusion_jax.networks.fusion import FusionNet

RNG = np.random.default_rng(0)


def fuse(program, params, room, ir, vi):
  height, width, _ = ir.shape
  mask = lay_out(np.ones_like(ir), room)
  ground = (np.int32(width + 1), np.int32(height * (width + 1)), mask)
  return take_up(
    np.asarray(program(params, lay_out(ir, room), lay_out(vi, room), *ground)), room, height, width
  )


def program_for(room, traced):
  def run(params, ir, vi, stride, cells, mask):
    traced.append(room)
    return fuse_flat(params, ir, vi, Ground(room, stride, cells, mask))

  return jax.jit(run)


def test_every_size_equals_the_network_compiled_for_it(x64):
  """In float64, so that equality is to rounding."""
  # Steps of 40 pixels, of 10 where the channels are many: they begin and end anywhere in a row.
  params, traced, room = random_params(np.float64), [], Room(500, 32, step=40)
  program = program_for(room, traced)
  for height, width in ((37, 1), (15, 31)):
    ir, vi = RNG.random((2, height, width, 1))
    ours = fuse(program, params, room, ir, vi)
    reference = jax.jit(FusionNet().apply)({"params": params}, ir[None], vi[None])[0]
    np.testing.assert_allclose(ours, reference, atol=1e-12)
    assert np.ptp(reference) > 1e-3
  assert len(traced) == 1
  half = lambda x: np.asarray(jnp.asarray(x, jnp.bfloat16))  # noqa: E731
  low = fuse(program, jax.tree.map(half, params), room, half(ir), half(vi))
  difference = np.abs(
    low.astype(np.float64) - reference
  )  # numbers of three digits go in, about two come out
  assert difference.mean() < 0.01 and difference.max() < 0.06 and np.ptp(reference) > 0.5


def test_layouts_turn_round():
  image = RNG.random((5, 7, 3))
  room = Room(60, 9)
  flat = lay_out(image, room)
  assert flat.shape == (60 + 2 * 10 + 8192, 3)
  np.testing.assert_array_equal(take_up(flat, room, 5, 7), image)
  np.testing.assert_allclose(flat.sum(), image.sum())  # zeros everywhere else
  with pytest.raises(ValueError, match="do not fit"):
    lay_out(RNG.random((5, 12, 1)), room)


def test_rooms_fit_and_are_few():
  sizes = [(h, w) for h in range(100, 2000, 90) for w in range(100, 2000, 90)]
  rooms = {room_for(*size) for size in sizes}
  assert all(room_for(*size).fits(*size) for size in sizes)
  assert len(rooms) < len(sizes) / 6
  assert room_for(480, 640) == Room(393216, 768) and room_for(1, 1) == Room(1 << 16, 256)
