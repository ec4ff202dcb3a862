"""The equilibrium rule against its own formula, written out by hand."""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy

from tdfusion_jax import meta
from tdfusion_jax.batch import DetTarget, Pair, SegTarget
from tdfusion_jax.meta import Rates
from tdfusion_jax.meta.equilibrium import direct, equilibrium
from tdfusion_jax.meta.gauss_newton import gauss_newton
from tdfusion_jax.meta.lookahead import lookahead

RATES = Rates(0.3, 0.2)
TEACHERS = {
  "lookahead": lookahead(RATES),
  "equilibrium": equilibrium(),
  "gauss_newton": gauss_newton(),
  "direct": direct(),
}


def by_hand(anchor=0.0, to=0.5):
  """dL_t/dG = sum over pixels of dL_t/dI* (a - b) dw_a/dG, each factor derived by itself."""
  params, pair = toy.state(toy.adams()).params, toy.views(2).whole
  task = toy.mean_brightness_task()
  weights = toy.weigh(params.g, pair.ir, pair.vi)
  image = weights[..., :1] * pair.ir + weights[..., 1:] * pair.vi

  def judged(i):
    outputs, _ = task.apply(params.t, params.t_stats, i, train=True)
    return task.loss(outputs, pair.target)[0]

  credit = jax.grad(judged)(image) * (pair.ir - pair.vi)
  if anchor:
    # The derivative of the mean of `w log(w / c) + (1 - w) log((1 - w) / (1 - c))` by each w_a.
    odds = jnp.log(weights[..., :1] / weights[..., 1:]) - np.log(to / (1 - to))
    credit = credit / judged(image) + anchor * odds / pair.ir.size
  moves = jax.jacobian(lambda g: toy.weigh(g, pair.ir, pair.vi)[..., :1])(params.g)
  return {key: jnp.sum(credit * move) for key, move in moves.items()}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("anchor", "to"), [(0.0, 0.5), (0.3, 0.5), (0.3, 0.8)])
def test_gradient_is_each_pixels_own_credit(anchor, to):
  teacher, state = equilibrium(anchor, to), toy.state(toy.adams())
  ours, _ = meta.teach(teacher, toy.method(), state, toy.views(1), toy.views(2), jax.random.key(0))
  for key, expected in by_hand(anchor, to).items():
    assert abs(expected) > 1e-9
    np.testing.assert_allclose(ours[key], expected, rtol=1e-9)


@pytest.mark.usefixtures("x64")
def test_an_anchor_costs_no_second_pass_of_g():
  passes = []

  def weigh(params, ir, vi):
    passes.append(ir.shape)
    return toy.weigh(params, ir, vi)

  method, state = toy.method()._replace(weigh=weigh), toy.state(toy.adams())
  meta.teach(equilibrium(0.3), method, state, toy.views(1), toy.views(2), jax.random.key(0))
  assert len(passes) == 1


@pytest.mark.usefixtures("x64")
def test_g_steps_by_this_rule_lower_the_judged_loss_and_move_g_only():
  rules = toy.all_by(optax.sgd(0.5))
  g_step, _ = meta.make_steps(toy.method(), equilibrium(), rules)
  state = toy.state(rules)
  first, losses = state, []
  for _ in range(20):
    state, measured = g_step(state, {"mtr": toy.views(1), "mts": toy.views(2)})
    losses.append(float(measured["task_loss_outer"]))
  assert losses[-1] < losses[0]
  now, then = state.params, first.params
  assert all(float(now.g[k]) != float(then.g[k]) for k in then.g)
  assert all(float(now.f[k]) == float(then.f[k]) for k in then.f)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("teacher", [equilibrium(), direct()])
def test_the_mean_weight_is_infrareds_in_exchanged_rows_too(teacher):
  state, views = toy.state(toy.adams()), toy.views(2)
  views = views._replace(whole=views.whole._replace(exchanged=jnp.array([False, True])))
  weights = toy.weigh(state.params.g, views.whole.ir, views.whole.vi)
  expected = np.mean([weights[0, ..., 0].mean(), weights[1, ..., 1].mean()])
  _, outer = meta.teach(teacher, toy.method(), state, toy.views(1), views, jax.random.key(0))
  np.testing.assert_allclose(outer.measured["w_a"], expected, rtol=1e-12)
  assert abs(expected - weights[..., 0].mean()) > 1e-3


@pytest.mark.parametrize("to", [0.5, 0.7])
def test_a_strong_anchor_holds(to):
  """The departure is zero at the anchor, and only there; a strong one leaves G nothing else."""
  rules = toy.all_by(optax.adam(0.05))
  g_step, _ = meta.make_steps(toy.method(), equilibrium(1e6, to), rules)
  step, state = jax.jit(g_step), toy.state(rules, np.float32)
  batch = jax.tree.map(
    lambda x: jnp.asarray(x, jnp.float32), {"mtr": toy.views(1), "mts": toy.views(2)}
  )
  state, first = step(state, batch)
  for _ in range(200):
    state, last = step(state, batch)
  assert first["departure"] > 0.005 and last["departure"] < 1e-4 and abs(last["w_a"] - to) < 0.01


def _tool():
  path = Path(__file__).resolve().parents[2] / "tools" / "credit.py"
  spec = importlib.util.spec_from_file_location("credit", path)
  assert spec and spec.loader
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("rule", meta.RULES)  # every rule of the package has a teacher above
def test_what_a_rule_asks_of_a_pixel(rule):
  """tools/credit.py against differences of the objective itself."""
  teacher, how, state = TEACHERS[rule], toy.method(), toy.state(toy.adams())
  mtr, mts = toy.views(1), toy.views(2)
  asked = _tool().push(teacher, how, state, mtr, mts, 0.4)
  per_pixel = how._replace(weigh=lambda w, ir, vi: jnp.concatenate([w, 1 - w], axis=-1))

  def objective(w):
    return teacher(per_pixel, w, state, mtr, mts, jax.random.key(0))[0]

  level = jnp.full((2, 6, 5, 1), 0.4)
  for place in [(0, 0, 0), (1, 5, 4), (1, 2, 3)]:
    step = jnp.zeros_like(level).at[place].set(1e-4)
    slope = (objective(level + step) - objective(level - step)) / 2e-4
    assert abs(slope) > 1e-9
    np.testing.assert_allclose(asked[place], -slope, rtol=1e-5)


def test_pushes_by_region():
  asked = np.arange(8.0).reshape(2, 2, 2)
  first = np.zeros((2, 2, 2), bool)
  last, none = first.copy(), first.copy()
  first[:, 0, 0], last[:, 1, 1] = True, True
  masks = {"a": first, "b": last, "rest": ~(first | last), "none": none}
  expected = [(0 + 4) / 2, (3 + 7) / 2, (1 + 2 + 5 + 6) / 4, np.nan]
  np.testing.assert_allclose(_tool().by_region(asked, masks), expected)


def test_regions_of_labels():
  """Of boxes the pixels inside them, of masks those of each class but the background."""
  images = np.zeros((2, 4, 5, 1), np.float32)
  boxes = np.array([[[1, 0, 3, 2], [0, 0, 0, 0]], [[0, 1, 5, 4], [0, 0, 1, 1]]], np.float32)
  valid = np.array([[True, False], [True, True]])
  target = DetTarget(boxes, np.array([[1, 0], [0, 1]]), valid)

  class Labelled:
    classes = ("person", "car")

  found = _tool().masks_of(Labelled(), 0, Pair(images, images, target))
  assert {name: int(mask.sum()) for name, mask in found.items()} == {
    "person": 15,
    "car": 4 + 1,
    "elsewhere": 40 - 15 - 5,
  }
  assert found["car"][0, :2, 1:3].all()
  labels = np.zeros((2, 4, 5), np.int32)
  labels[0, 0], labels[1, 3, :2] = 1, 255
  found = _tool().masks_of(Labelled(), 0, Pair(images, images, SegTarget(labels)))
  assert {name: int(mask.sum()) for name, mask in found.items()} == {"car": 5, "elsewhere": 35}
