"""The meta-gradient against closed form, hand-written unroll and finite differences; who moves in which step."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy

from tdfusion_jax import meta
from tdfusion_jax.losses.fusion import fusion_loss
from tdfusion_jax.meta.derivative import DERIVATIVES, fusion_gradient

ETA = (0.3, 0.2)


def gradient(derivative="forward_over_reverse", eta=ETA, **changes):
  how = toy.method(derivative=derivative, **changes)
  state = toy.state(toy.adams())
  return meta.meta_gradient(how, state, toy.views(1), toy.views(2), eta)[0]


def assert_same(ours, expected, rtol=1e-9):
  for key in expected:
    np.testing.assert_allclose(ours[key], expected[key], rtol=rtol)
    assert abs(expected[key]) > 1e-9


def unrolled_objective(g_params):
  """Eq. 4 to 6 written out by hand, with plain arithmetic in place of optax and the package's look-ahead."""
  state, mtr, mts = toy.state(toy.adams()), toy.views(1), toy.views(2)
  task = toy.mean_brightness_task()
  inner = lambda f: fusion_loss(  # noqa: E731
    toy.fuse(f, mtr.crop.ir, mtr.crop.vi),
    mtr.crop.ir,
    mtr.crop.vi,
    toy.weigh(g_params, mtr.crop.ir, mtr.crop.vi),
  )[0]
  judge = lambda t, f, pair: task.loss(  # noqa: E731
    task.apply(t, state.t_stats, toy.fuse(f, pair.ir, pair.vi), train=True)[0], pair.target
  )[0]
  f_ahead = jax.tree.map(
    lambda p, g: p - ETA[0] * g, state.f_params, jax.grad(inner)(state.f_params)
  )
  t_grad = jax.grad(judge)(state.t_params, state.f_params, mtr.whole)
  t_ahead = jax.tree.map(lambda p, g: p - ETA[1] * g, state.t_params, t_grad)
  return judge(t_ahead, f_ahead, mts.whole)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("derivative", DERIVATIVES)
def test_equals_the_unroll_written_by_hand(derivative):
  expected = jax.grad(unrolled_objective)(toy.state(toy.adams()).g_params)
  assert_same(gradient(derivative), expected)


@pytest.mark.usefixtures("x64")
def test_equals_finite_differences_of_the_objective():
  g_params = toy.state(toy.adams()).g_params
  expected = {}
  for key in g_params:
    up, down = ({**g_params, key: g_params[key] + h} for h in (1e-5, -1e-5))
    expected[key] = (unrolled_objective(up) - unrolled_objective(down)) / 2e-5
  assert_same(gradient(), expected, rtol=1e-5)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("intensity", ["paper", "upstream"])
def test_both_derivations_agree_in_both_forms(intensity):
  loss = lambda *args: fusion_loss(*args, alpha=0.3, intensity=intensity)  # noqa: E731
  assert_same(gradient(fusion_loss=loss), gradient("reverse_over_reverse", fusion_loss=loss))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("derivative", DERIVATIVES)
def test_no_inner_step_leaves_no_gradient_and_small_steps_a_proportional_one(derivative):
  assert all(g == 0 for g in gradient(derivative, eta=(0.0, 0.2)).values())
  small, tenth = gradient(derivative, eta=(1e-4, 0.0)), gradient(derivative, eta=(1e-5, 0.0))
  assert_same(tenth, {k: g / 10 for k, g in small.items()}, rtol=1e-3)


@pytest.mark.usefixtures("x64")
def test_the_cheap_derivative_refuses_what_it_does_not_differentiate():
  state, crop = toy.state(toy.adams()), toy.views(1).crop
  with pytest.raises(ValueError, match="with respect to G only"):
    jax.grad(lambda f: fusion_gradient(toy.method(), f, state.g_params, crop)[0]["a"])(
      state.f_params
    )
  with pytest.raises(ValueError, match="derivative 'magic' is not one of"):
    fusion_gradient(toy.method(derivative="magic"), state.f_params, state.g_params, crop)


def steps(**changes):
  optimisers = toy.adams()
  state = toy.state(optimisers, np.float32)
  g_step, ft_step = meta.make_steps(toy.method(**changes), *optimisers, lambda step: ETA)
  g_batch = {"mtr": toy.views(1, np.float32), "mts": toy.views(2, np.float32)}
  return state, jax.jit(g_step), g_batch, jax.jit(ft_step), {"ftr": toy.views(4, np.float32)}


def moved(before, after):
  differs = lambda a, b: any(
    bool(jnp.any(x != y)) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
  )  # noqa: E731
  names = ("f_params", "g_params", "t_params", "t_stats", "f_opt", "g_opt", "t_opt")
  return {name for name in names if differs(getattr(before, name), getattr(after, name))}


def test_who_moves_in_which_step():
  state, g_step, g_batch, ft_step, ft_batch = steps()
  after, measured = g_step(state, g_batch)
  assert moved(state, after) == {"g_params", "g_opt"}
  assert {"fusion_loss", "task_loss_inner", "task_loss_outer", "g_grad_norm"} <= measured.keys()
  after, measured = ft_step(state, ft_batch)
  assert moved(state, after) == {"f_params", "t_params", "t_stats", "f_opt", "t_opt"}
  assert after.step == 1 and measured["task_loss"] > 0


@pytest.mark.parametrize(
  ("changes", "in_g", "in_ft"),
  [
    ({"train_task": False}, {"g_params", "g_opt"}, {"f_params", "f_opt"}),
    (
      {"inner_task": "adam"},
      {"g_params", "g_opt", "t_opt"},
      {"f_params", "t_params", "t_stats", "f_opt", "t_opt"},
    ),
    (
      {"fuse_in_outer": True},
      {"f_params", "f_opt", "g_params", "g_opt"},
      {"t_params", "t_stats", "t_opt"},
    ),
    (
      {"fuse_in_outer": True, "fusion_loss": None},
      {"f_params", "f_opt", "g_opt"},
      {"t_params", "t_stats", "t_opt"},
    ),
  ],
)
def test_variants_move_what_they_name(changes, in_g, in_ft):
  state, g_step, g_batch, ft_step, ft_batch = steps(**changes)
  assert moved(state, g_step(state, g_batch)[0]) == in_g
  assert moved(state, ft_step(state, ft_batch)[0]) == in_ft


@pytest.mark.usefixtures("x64")
def test_the_f_step_follows_l_f_and_the_t_step_sees_the_updated_f():
  """Expected values: Eq. 8 and 9 with SGD, written out."""
  rates = [optax.sgd(0.1)] * 3
  state, batch, task = toy.state(rates), toy.views(4), toy.mean_brightness_task()
  _, ft_step = meta.make_steps(toy.method(task_weight=0.5), *rates, lambda step: ETA)
  after, _ = ft_step(state, {"ftr": batch})

  def judge(t, f):
    fused = toy.fuse(f, batch.whole.ir, batch.whole.vi)
    return task.loss(task.apply(t, state.t_stats, fused, train=True)[0], batch.whole.target)[0]

  def fusion(f):
    crop = batch.crop
    weights = toy.weigh(state.g_params, crop.ir, crop.vi)
    return fusion_loss(toy.fuse(f, crop.ir, crop.vi), crop.ir, crop.vi, weights)[0] + 0.5 * judge(
      state.t_params, f
    )

  f_after = jax.tree.map(lambda p, g: p - 0.1 * g, state.f_params, jax.grad(fusion)(state.f_params))
  t_after = jax.tree.map(
    lambda p, g: p - 0.1 * g, state.t_params, jax.grad(judge)(state.t_params, f_after)
  )
  assert_same(after.f_params, f_after)
  np.testing.assert_allclose(after.t_params["w"], t_after["w"], rtol=1e-9)
  assert jnp.any(after.t_params["w"] != state.t_params["w"])


def test_the_second_call_of_a_step_does_not_compile():
  state, g_step, g_batch, ft_step, ft_batch = steps()
  for _ in range(2):
    state, _ = g_step(state, g_batch)
    state, _ = ft_step(state, ft_batch)
  assert g_step._cache_size() == ft_step._cache_size() == 1


def test_the_fusion_loss_alone_trains_f_without_a_task():
  state, _, _, ft_step, ft_batch = steps(task=None)
  losses = []
  for _ in range(30):
    state, measured = ft_step(state, ft_batch)
    losses.append(float(measured["fusion_loss"]))
  assert losses[-1] < 0.9 * losses[0]
