"""The meta-gradient against closed form, hand-written unroll and finite differences.

And who moves in which step.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy

from tdfusion_jax import meta
from tdfusion_jax.losses.fusion import fusion_loss
from tdfusion_jax.meta import Outer, Rates
from tdfusion_jax.meta.derivative import DERIVATIVES, fusion_gradient
from tdfusion_jax.meta.lookahead import lookahead

RATES = Rates(f=0.3, t=0.2)


def gradient(derivative="forward_over_reverse", rates=RATES, **changes):
  how, state = toy.method(**changes), toy.state(toy.adams())
  mtr, mts = toy.views(1), toy.views(2)
  return meta.meta_gradient(how, state, mtr, mts, rates, derivative=derivative)[0]


def assert_same(ours, expected, rtol=1e-9):
  for key in expected:
    np.testing.assert_allclose(ours[key], expected[key], rtol=rtol)
    assert abs(expected[key]) > 1e-9


def unrolled_objective(g_params):
  """Eq. 4 to 6 by hand, with plain arithmetic in place of optax and the package's look-ahead."""
  params, mtr, mts = toy.state(toy.adams()).params, toy.views(1), toy.views(2)
  task = toy.mean_brightness_task()

  def inner(f):
    ir, vi = mtr.crop.ir, mtr.crop.vi
    return fusion_loss(toy.fuse(f, ir, vi), ir, vi, toy.weigh(g_params, ir, vi))[0]

  def judge(t, f, pair):
    outputs, _ = task.apply(t, params.t_stats, toy.fuse(f, pair.ir, pair.vi), train=True)
    return task.loss(outputs, pair.target)[0]

  f_ahead = jax.tree.map(lambda p, g: p - RATES.f * g, params.f, jax.grad(inner)(params.f))
  t_grad = jax.grad(judge)(params.t, params.f, mtr.whole)
  t_ahead = jax.tree.map(lambda p, g: p - RATES.t * g, params.t, t_grad)
  return judge(t_ahead, f_ahead, mts.whole)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("derivative", DERIVATIVES)
def test_equals_the_unroll_written_by_hand(derivative):
  expected = jax.grad(unrolled_objective)(toy.state(toy.adams()).params.g)
  assert_same(gradient(derivative), expected)


@pytest.mark.usefixtures("x64")
def test_equals_finite_differences_of_the_objective():
  g_params = toy.state(toy.adams()).params.g
  expected = {}
  for key in g_params:
    up, down = ({**g_params, key: g_params[key] + h} for h in (1e-5, -1e-5))
    expected[key] = (unrolled_objective(up) - unrolled_objective(down)) / 2e-5
  assert_same(gradient(), expected, rtol=1e-5)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("intensity", ["paper", "upstream"])
def test_both_derivations_agree_in_both_forms(intensity):
  loss = partial(fusion_loss, alpha=0.3, intensity=intensity)
  assert_same(gradient(fusion_loss=loss), gradient("reverse_over_reverse", fusion_loss=loss))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("derivative", DERIVATIVES)
def test_no_inner_step_leaves_no_gradient_and_small_steps_a_proportional_one(derivative):
  assert all(g == 0 for g in gradient(derivative, Rates(0.0, 0.2)).values())
  small = gradient(derivative, Rates(1e-4, 0.0))
  tenth = gradient(derivative, Rates(1e-5, 0.0))
  assert_same(tenth, {k: g / 10 for k, g in small.items()}, rtol=1e-3)


@pytest.mark.usefixtures("x64")
def test_the_cheap_derivative_refuses_what_it_does_not_differentiate():
  params, crop = toy.state(toy.adams()).params, toy.views(1).crop
  with pytest.raises(ValueError, match="with respect to G only"):
    jax.grad(lambda f: fusion_gradient(toy.method(), f, params.g, crop)[0]["a"])(params.f)
  with pytest.raises(ValueError, match="derivative 'magic' is not one of"):
    fusion_gradient(toy.method(), params.f, params.g, crop, "magic")


def ahead(f_steps: int, derivative: str, *, cut: bool, scale=None):
  """L_t where F is after some steps of plain gradient descent; with `cut` each from F as given."""

  def objective(g_params):
    params, mtr, mts = toy.state(toy.adams()).params, toy.views(1), toy.views(2)
    task, f = toy.mean_brightness_task(), params.f
    for _ in range(f_steps):
      at = jax.lax.stop_gradient(f) if cut else f

      def inner(f):
        ir, vi = mtr.crop.ir, mtr.crop.vi
        return fusion_loss(toy.fuse(f, ir, vi), ir, vi, toy.weigh(g_params, ir, vi))[0]

      slopes = jax.grad(inner)(at)
      f = {k: f[k] - RATES.f * slopes[k] * (1.0 if scale is None else scale[k]) for k in f}
    pair = mts.whole
    outputs, _ = task.apply(params.t, params.t_stats, toy.fuse(f, pair.ir, pair.vi), train=True)
    return task.loss(outputs, pair.target)[0]

  return jax.grad(objective)(toy.state(toy.adams()).params.g)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("derivative", DERIVATIVES)
def test_several_steps_of_f_are_unrolled_or_cut(derivative):
  """Reverse mode goes through all steps; the cheap way takes each with F as given."""
  teacher = lookahead(Rates(RATES.f, 0.0), derivative=derivative, f_steps=3)
  state, views = toy.state(toy.adams()), (toy.views(1), toy.views(2))
  ours, _ = meta.teach(teacher, toy.method(), state, *views, jax.random.key(0))
  unrolled, cut = (ahead(3, derivative, cut=cut) for cut in (False, True))
  assert_same(ours, cut if derivative == "forward_over_reverse" else unrolled)
  assert all(abs(unrolled[k] / cut[k] - 1) > 1e-4 for k in cut)


@pytest.mark.usefixtures("x64")
def test_a_step_by_adams_second_moments():
  optimisers = toy.adams()
  state = toy.state(optimisers)
  _, ft_step = meta.make_steps(toy.method(), lookahead(RATES), optimisers)
  moved, _ = ft_step(state, {"ftr": toy.views(4)})
  # After one step the corrected second moment is the gradient squared.
  slopes, _ = fusion_gradient(toy.method(), state.params.f, state.params.g, toy.views(4).crop)
  scale = {k: 1 / (abs(v) + 1e-8) for k, v in slopes.items()}
  state = state._replace(f_opt=moved.f_opt)
  teacher = lookahead(Rates(RATES.f, 0.0), f_preconditioned=True)
  views = toy.views(1), toy.views(2)
  ours, _ = meta.teach(teacher, toy.method(), state, *views, jax.random.key(0))
  assert_same(ours, ahead(1, "", cut=True, scale=scale), rtol=1e-7)
  with pytest.raises(ValueError, match="steps by Adam"):
    meta.teach(teacher, toy.method(), state._replace(f_opt=()), *views, jax.random.key(0))


@pytest.mark.usefixtures("x64")
def test_running_statistics_can_be_kept_while_t_learns():
  _, ft_step = meta.make_steps(toy.method(batch_statistics=False), lookahead(RATES), toy.adams())
  state = toy.state(toy.adams())
  after, _ = ft_step(state, {"ftr": toy.views(4)})
  assert moved(state, after) == {"f", "t", "f_opt", "t_opt"}


def steps(teacher=None, **changes):
  optimisers = toy.adams()
  state = toy.state(optimisers, np.float32)
  teacher = teacher or lookahead(RATES)
  g_step, ft_step = meta.make_steps(toy.method(**changes), teacher, optimisers)
  g_batch = {"mtr": toy.views(1, np.float32), "mts": toy.views(2, np.float32)}
  return state, jax.jit(g_step), g_batch, jax.jit(ft_step), {"ftr": toy.views(4, np.float32)}


def moved(before, after):
  """The parts of a state that differ, by name."""

  def parts(state):
    opts = {"f_opt": state.f_opt, "g_opt": state.g_opt, "t_opt": state.t_opt}
    return {**state.params._asdict(), **opts}

  def differs(a, b):
    both = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return any(bool(jnp.any(x != y)) for x, y in both)

  now, then = parts(after), parts(before)
  return {name for name in now if differs(now[name], then[name])}


def test_who_moves_in_which_step():
  state, g_step, g_batch, ft_step, ft_batch = steps()
  after, measured = g_step(state, g_batch)
  assert moved(state, after) == {"g", "g_opt"}
  assert {"fusion_loss", "task_loss_inner", "task_loss_outer", "g_grad_norm"} <= measured.keys()
  after, measured = ft_step(state, ft_batch)
  assert moved(state, after) == {"f", "t", "t_stats", "f_opt", "t_opt"}
  assert after.step == 1 and measured["task_loss"] > 0


@pytest.mark.parametrize(
  ("changes", "in_g", "in_ft"),
  [
    ({"train_task": False}, {"g", "g_opt"}, {"f", "f_opt"}),
    (
      {"teacher": lookahead(RATES, toy.adams().t)},
      {"g", "g_opt", "t_opt"},
      {"f", "t", "t_stats", "f_opt", "t_opt"},
    ),
    (
      {"fuse_in_outer": True},
      {"f", "f_opt", "g", "g_opt"},
      {"t", "t_stats", "t_opt"},
    ),
    (
      {"fuse_in_outer": True, "fusion_loss": None},
      {"f", "f_opt", "g_opt"},
      {"t", "t_stats", "t_opt"},
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
  rules, batch, task = toy.all_by(optax.sgd(0.1)), toy.views(4), toy.mean_brightness_task()
  state = toy.state(rules)
  _, ft_step = meta.make_steps(toy.method(task_weight=0.5), lookahead(RATES), rules)
  after, _ = ft_step(state, {"ftr": batch})
  before, after = state.params, after.params

  def judge(t, f):
    fused = toy.fuse(f, batch.whole.ir, batch.whole.vi)
    return task.loss(task.apply(t, before.t_stats, fused, train=True)[0], batch.whole.target)[0]

  def fusion(f):
    ir, vi = batch.crop.ir, batch.crop.vi
    loss, _ = fusion_loss(toy.fuse(f, ir, vi), ir, vi, toy.weigh(before.g, ir, vi))
    return loss + 0.5 * judge(before.t, f)

  f_after = jax.tree.map(lambda p, g: p - 0.1 * g, before.f, jax.grad(fusion)(before.f))
  t_after = jax.tree.map(lambda p, g: p - 0.1 * g, before.t, jax.grad(judge)(before.t, f_after))
  assert_same(after.f, f_after)
  np.testing.assert_allclose(after.t["w"], t_after["w"], rtol=1e-9)
  assert jnp.any(after.t["w"] != before.t["w"])


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


def brightest_weights(method, g_params, state, mtr, mts, key):
  """A rule of one's own: L_t of an image that the weights of G make, whatever F does."""
  del state, mtr, key
  weights = method.weigh(g_params, mts.whole.ir, mts.whole.vi)
  return -weights[..., 0].mean(), Outer(t_opt=None, measured={"w_a": weights[..., 0].mean()})


@pytest.mark.usefixtures("x64")
def test_a_teacher_of_ones_own_moves_g_along_its_gradient():
  """Expected value: the derivative of the mean w_a by differences."""
  state, batch = toy.state(toy.adams()), toy.views(2)
  ours, outer = meta.teach(brightest_weights, toy.method(), state, batch, batch, None)

  def mean_w_a(shift):
    weights = toy.weigh({**state.params.g, "r": state.params.g["r"] + shift}, *batch.whole[:2])
    return weights[..., 0].mean()

  np.testing.assert_allclose(ours["r"], -(mean_w_a(1e-5) - mean_w_a(-1e-5)) / 2e-5, rtol=1e-6)
  assert abs(ours["r"]) > 1e-3 and 0 < outer.measured["w_a"] < 1


def test_a_teacher_that_returns_something_else_is_an_error():
  state, batch = toy.state(toy.adams(), np.float32), toy.views(2, np.float32)
  with pytest.raises(TypeError, match=r"returns \(objective, meta\.Outer\), not float"):
    meta.teach(lambda *arguments: 1.0, toy.method(), state, batch, batch, None)


def test_f_cannot_follow_a_teacher_that_gives_it_no_gradient():
  state, g_step, g_batch, *_ = steps(brightest_weights, fuse_in_outer=True)
  with pytest.raises(ValueError, match="Outer.f_grads"):
    g_step(state, g_batch)
