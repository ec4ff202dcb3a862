"""The equilibrium rule against its own formula, written out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy

from tdfusion_jax import meta


def by_hand(anchor=0.0, to=0.5):
  """dL_t/dG = sum over pixels of dL_t/dI* (a - b) dw_a/dG, each factor derived by itself."""
  state, pair = toy.state(toy.adams()), toy.views(2).whole
  task = toy.mean_brightness_task()
  weights = toy.weigh(state.g_params, pair.ir, pair.vi)
  image = weights[..., :1] * pair.ir + weights[..., 1:] * pair.vi
  judged = lambda i: task.loss(task.apply(state.t_params, state.t_stats, i, train=True)[0], pair.target)[0]  # noqa: E731
  credit = jax.grad(judged)(image) * (pair.ir - pair.vi)
  if anchor:  # the derivative of the mean of `w log(w / c) + (1 - w) log((1 - w) / (1 - c))` by each w_a
    odds = jnp.log(weights[..., :1] / weights[..., 1:]) - np.log(to / (1 - to))
    credit = credit / judged(image) + anchor * odds / pair.ir.size
  moves = jax.jacobian(lambda g: toy.weigh(g, pair.ir, pair.vi)[..., :1])(state.g_params)
  return {key: jnp.sum(credit * move) for key, move in moves.items()}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("anchor", "to"), [(0.0, 0.5), (0.3, 0.5), (0.3, 0.8)])
def test_gradient_is_each_pixels_own_credit(anchor, to):
  how, state = toy.method(rule="equilibrium", anchor=anchor, anchor_to=to), toy.state(toy.adams())
  ours, _ = meta.meta_gradient(how, state, toy.views(1), toy.views(2), (0.3, 0.2))
  for key, expected in by_hand(anchor, to).items():
    assert abs(expected) > 1e-9
    np.testing.assert_allclose(ours[key], expected, rtol=1e-9)


@pytest.mark.usefixtures("x64")
def test_g_steps_by_this_rule_lower_the_judged_loss_and_move_g_only():
  how, rules = toy.method(rule="equilibrium"), [optax.sgd(0.5)] * 3
  g_step, _ = meta.make_steps(how, rules[0], rules[1], rules[2], lambda step: (0.3, 0.2))
  state = toy.state(rules)
  first, losses = state, []
  for _ in range(20):
    state, measured = g_step(state, {"mtr": toy.views(1), "mts": toy.views(2)})
    losses.append(float(measured["task_loss_outer"]))
  assert losses[-1] < losses[0]
  assert all(float(state.g_params[k]) != float(first.g_params[k]) for k in first.g_params)
  assert all(float(state.f_params[k]) == float(first.f_params[k]) for k in first.f_params)


@pytest.mark.parametrize("to", [0.5, 0.7])
def test_a_strong_anchor_holds(to):
  """The departure is zero at the anchor, and only there; nothing else moves G beside a strong one."""
  how, rules = toy.method(rule="equilibrium", anchor=1e6, anchor_to=to), [optax.adam(0.05)] * 3
  g_step, _ = meta.make_steps(how, rules[0], rules[1], rules[2], lambda step: (0.3, 0.2))
  step, state = jax.jit(g_step), toy.state(rules, np.float32)
  batch = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), {"mtr": toy.views(1), "mts": toy.views(2)})
  state, first = step(state, batch)
  for _ in range(200):
    state, last = step(state, batch)
  assert first["departure"] > 0.005 and last["departure"] < 1e-4 and abs(last["w_a"] - to) < 0.01
