"""The Gauss-Newton teacher against dense linear algebra, its limit, and its own objective."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
from jax.flatten_util import ravel_pytree

from tdfusion_jax import meta
from tdfusion_jax.losses.fusion import fusion_loss, gradient_curvature, gradient_loss
from tdfusion_jax.meta import Solve
from tdfusion_jax.meta.equilibrium import equilibrium
from tdfusion_jax.meta.gauss_newton import gauss_newton

ALPHA = 0.3


def dense(judged_on: str, damping: float, of_gradient: float) -> dict[str, jax.Array]:
  """-<(J^T B J + lambda)^-1 dL_t/dF, d(dL_f/dF)/dG> with every matrix written out."""
  how, params = toy.method(), toy.state(toy.adams()).params
  mtr, mts = toy.views(1), toy.views(2)
  flat, unravel = ravel_pytree(params.f)
  crop, judges = mtr.crop, (mtr if judged_on == "same" else mts).whole

  def fused(f):
    return toy.fuse(unravel(f), crop.ir, crop.vi).ravel()

  def judged(f):
    image = toy.fuse(unravel(f), judges.ir, judges.vi)
    outputs, _ = how.task.apply(params.t, params.t_stats, image, train=True)
    return how.task.loss(outputs, judges.target)[0]

  def inner_gradient(g):
    weights = toy.weigh(g, crop.ir, crop.vi)

    def loss(f):
      image = toy.fuse(unravel(f), crop.ir, crop.vi)
      return fusion_loss(image, crop.ir, crop.vi, weights, alpha=ALPHA)[0]

    return jax.grad(loss)(flat)

  jacobian, wanted = jax.jacobian(fused)(flat), jax.grad(judged)(flat)
  bend = 2 / crop.ir.size * np.eye(crop.ir.size)
  if of_gradient:
    bend = bend + of_gradient * dense_gradient_curvature(fused(flat).reshape(crop.ir.shape), crop)
  matrix = jacobian.T @ bend @ jacobian
  matrix += damping * (wanted @ matrix @ wanted) / (wanted @ wanted) * np.eye(len(flat))
  u = jnp.linalg.solve(matrix, wanted)
  moves = jax.jacobian(inner_gradient)(params.g)
  return {key: -u @ move for key, move in moves.items()}


def dense_gradient_curvature(image, crop):
  """`S^T diag(1 / (N |r|)) S` from Sobel's nine taps, written out pixel by pixel."""
  batch, height, width, _ = image.shape
  taps = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], float)
  total = np.zeros((image.size, image.size))
  for kernel in (taps, taps.T):
    matrix = np.zeros((image.size, image.size))
    for b, y, x, dy, dx in np.ndindex(batch, height, width, 3, 3):
      row, column = y + dy - 1, x + dx - 1
      if 0 <= row < height and 0 <= column < width:
        here, there = (b * height + y) * width + x, (b * height + row) * width + column
        matrix[here, there] = kernel[dy, dx]
    of_ir, of_vi = matrix @ crop.ir.ravel(), matrix @ crop.vi.ravel()
    stronger = np.where(np.abs(of_ir) >= np.abs(of_vi), of_ir, of_vi)
    residual = np.maximum(np.abs(matrix @ image.ravel() - stronger), 0.01)
    total += matrix.T @ np.diag(1 / residual) @ matrix / image.size
  return total


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("judged_on", ["other", "same"])
@pytest.mark.parametrize(("damping", "of_gradient"), [(0.01, 0.0), (0.1, ALPHA)])
def test_equals_dense_linear_algebra(judged_on, damping, of_gradient):
  how = toy.method(fusion_loss=partial(fusion_loss, alpha=ALPHA))
  solve = Solve(steps=50, damping=damping, gradient_curvature=of_gradient, tolerance=1e-12)
  ours, outer = meta.teach(
    gauss_newton(solve, judged_on),
    how,
    toy.state(toy.adams()),
    toy.views(1),
    toy.views(2),
    jax.random.key(0),
  )
  for key, expected in dense(judged_on, damping, of_gradient).items():
    assert abs(expected) > 1e-7
    np.testing.assert_allclose(ours[key], expected, rtol=1e-6)
  assert outer.measured["solve_residual"] < 1e-9


@pytest.mark.usefixtures("x64")
def test_an_f_that_follows_everything_makes_it_the_equilibrium_rule():
  """F is the image itself, one number per pixel, and stands at I*."""
  pair, state = toy.views(2).whole, toy.state(toy.adams())
  weights = toy.weigh(state.params.g, pair.ir, pair.vi)
  rest = weights[..., :1] * pair.ir + weights[..., 1:] * pair.vi
  how = toy.method(fuse=lambda f, ir, vi: f, fusion_loss=partial(fusion_loss, alpha=0.0))
  state = state._replace(params=state.params._replace(f=rest))
  views = meta_views(pair)
  key = jax.random.key(0)
  ours, _ = meta.teach(gauss_newton(Solve(damping=0.0)), how, state, views, views, key)
  expected, _ = meta.teach(equilibrium(), how, state, views, views, key)
  for name in expected:
    assert abs(expected[name]) > 1e-7
    np.testing.assert_allclose(ours[name], expected[name], rtol=1e-9)


def meta_views(pair):
  views = toy.views(2)
  return views._replace(crop=pair._replace(target=None), whole=pair)


@pytest.mark.usefixtures("x64")
def test_few_steps_leave_a_residual_that_is_measured():
  state, key = toy.state(toy.adams()), jax.random.key(0)
  views = toy.views(1), toy.views(2)
  residuals = []
  for steps in (1, 2, 4):
    teacher = gauss_newton(Solve(steps=steps, damping=0.0))
    _, outer = meta.teach(teacher, toy.method(), state, *views, key)
    residuals.append(float(outer.measured["solve_residual"]))
  assert residuals[0] > residuals[1] > 1e-3 and residuals[2] < 1e-6  # F has four parameters


@pytest.mark.usefixtures("x64")
def test_the_parabola_lies_above_the_gradient_term():
  """What `gradient_curvature` is the curvature of: it touches, and it lies above."""
  pair = toy.views(3).crop
  image = 0.5 * (pair.ir + pair.vi)
  slope = jax.grad(lambda x: gradient_loss(x, pair.ir, pair.vi))(image)
  move = 0.05 * jnp.asarray(np.random.default_rng(0).standard_normal(image.shape))
  bend = jnp.vdot(move, gradient_curvature(image, pair.ir, pair.vi, move, floor=1e-9))
  assert bend > 0.01
  parabola = gradient_loss(image, pair.ir, pair.vi) + jnp.vdot(slope, move) + bend / 2
  assert gradient_loss(image + move, pair.ir, pair.vi) <= parabola


def test_refuses_another_judge():
  with pytest.raises(ValueError, match="judged_on 'none' is not one of other, same"):
    gauss_newton(judged_on="none")
