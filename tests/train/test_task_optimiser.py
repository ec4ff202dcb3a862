"""T's steps by a recipe, values by hand; whole steps of real networks are in tests/with_torch."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import load
from tdfusion_jax.config import ConfigError
from tdfusion_jax.meta import Params
from tdfusion_jax.train import checks, optimisers, recipe
from tdfusion_jax.train.task_optimiser import (
  averaging,
  batches_per_step,
  chosen_by_ultralytics,
  clipped,
  rates,
  task_optimiser,
  weight_decay,
)


def made(name="synthetic_det", option="task,recipe=ultralytics", **of_t):
  """A recipe of eight batches an epoch, for ten epochs, its warm-up at least four batches long."""
  config = load(name, option)
  config.optim.t.update(of_t)
  config.optim.warmup_steps, config.train.epochs = 4, 10
  return recipe.recipe_of(config, 8, 128, 2)


PARAMS = {
  "decode_head": {"bn": {"scale": jnp.ones(2), "bias": jnp.ones(2)}, "kernel": jnp.ones((2, 2))},
  "norm1": {"scale": jnp.ones(2), "bias": jnp.ones(2)},
  "proj": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)},
}


def test_warm_up_and_fall_of_ultralytics():
  """Three epochs of eight batches; the rate falls once an epoch, by a tenth of 99 %."""
  how = made()
  for seen, weights, biases, momentum in (
    (0, 0.0, 0.1, 0.8),
    (12, 0.5 * 0.901e-2, 0.05 + 0.5 * 0.901e-2, 0.8685),
    (24, 0.703e-2, 0.703e-2, 0.937),
    (31, 0.703e-2, 0.703e-2, 0.937),
    (79, 0.109e-2, 0.109e-2, 0.937),
  ):
    now = rates(how, jnp.asarray(seen))
    np.testing.assert_allclose(now, (weights, biases, momentum), rtol=1e-5)
  short = made(warmup_epochs=0.25)  # two batches: fewer than optim.warmup_steps
  np.testing.assert_allclose(rates(short, jnp.asarray(2)).biases, 0.05 + 0.005, rtol=1e-6)


def test_warm_up_and_fall_of_mmseg():
  """The published product: a rise from 1e-6 of the rate, times what is left of all steps."""
  how = made("synthetic_seg", "task,recipe=mmseg")
  for seen, share in ((0, 1e-6), (1, 0.25 * 79 / 80), (4, 76 / 80), (40, 0.5), (80, 0)):
    np.testing.assert_allclose(rates(how, jnp.asarray(seen)).weights, 6e-5 * share, rtol=2e-5)
  squared = how._replace(poly_power=2.0)
  np.testing.assert_allclose(rates(squared, jnp.asarray(40)).weights, 6e-5 / 4, rtol=1e-5)


def test_as_long_as_no_part_is_set_the_rates_are_those_of_the_simple_recipe():
  how = made(option="task,recipe=simple")
  simple = optimisers.schedule(1e-2, 8, warmup_steps=4, final_rate=0.01, total_steps=80)
  for seen in (0, 2, 3, 4, 60):
    np.testing.assert_allclose(rates(how, jnp.asarray(seen)).weights, simple(seen), rtol=1e-6)
  assert weight_decay(how) == 5e-4


def test_sums_of_batches_grow_in_the_warm_up():
  """64 images are four batches of 16; halves are rounded to even, as NumPy does."""
  how = made(warmup_epochs=1.0)
  assert batches_per_step(how).tolist() == [1, 1, 2, 2, 2, 3, 3, 4, 4]
  assert weight_decay(how) == 5e-4
  assert batches_per_step(how._replace(batch_size=128)).max() == 1
  assert weight_decay(how._replace(batch_size=128)) == 1e-3
  assert weight_decay(how._replace(batch_size=24)) == pytest.approx(5e-4 * 72 / 64)


def test_a_step_is_the_sum_of_its_batches():
  """Four batches of gradient 1 each, times 16 images, clipped to a norm of 10, then the rate."""
  how = made(warmup_epochs=0.0, weight_decay=0.0, momentum=0.5)._replace(warmup_steps=0)
  rule = task_optimiser(how)
  params = {"kernel": jnp.zeros((2, 2))}
  state: Any = rule.init(params)
  for seen in range(8):
    step: Any
    step, state = rule.update({"kernel": jnp.ones((2, 2))}, state, params)
    clipped_entry = 5.0  # 64 each is a norm of 128
    expected = {3: 1.5 * clipped_entry, 7: (1 + 0.5 * 1.5) * clipped_entry}.get(seen, 0)
    np.testing.assert_allclose(step["kernel"], -0.01 * expected, rtol=1e-5)
    assert state.updates == (seen + 1) // 4
  np.testing.assert_array_equal(state.gradients["kernel"], 0)


def test_a_gradient_is_clipped_as_a_whole():
  grads = {"a": jnp.array([3.0]), "b": jnp.array([4.0])}
  np.testing.assert_allclose(clipped(grads, 1.0)["b"], 0.8, rtol=1e-5)
  assert clipped(grads, 6.0)["b"] == 4 and clipped(grads, 0.0)["b"] == 4


def test_which_parameters_decay_and_which_are_faster():
  """With gradients of zero a step of AdamW is its decay alone: rate x 0.01 x factor of the head."""
  how = made("synthetic_seg", "task,recipe=mmseg")._replace(warmup_from=1.0)
  nothing = jax.tree.map(jnp.zeros_like, PARAMS)
  rule = task_optimiser(how)
  step, _ = rule.update(nothing, rule.init(PARAMS), PARAMS)
  moved = jax.tree.map(lambda leaf: round(float(leaf.ravel()[0]) / -6e-7, 3), step)
  assert moved == {
    "decode_head": {"bn": {"scale": 10, "bias": 10}, "kernel": 10},
    "norm1": {"scale": 0, "bias": 0},
    "proj": {"kernel": 1, "bias": 1},
  }
  rule = task_optimiser(how._replace(no_decay="vectors", head_factor=1.0))
  step, _ = rule.update(nothing, rule.init(PARAMS), PARAMS)
  decays = jax.tree.map(lambda leaf: bool(leaf.ravel()[0] != 0), step)
  assert decays == jax.tree.map(lambda leaf: leaf.ndim == 2, PARAMS)


def test_the_average_moves_with_steps_only():
  """Decays 0.9 (1 - e^-1/2) and 0.9 (1 - e^-1) of the first two updates."""
  rule = averaging(0.9, 2.0)
  average = rule.init({"w": jnp.zeros(1)}, {"mean": jnp.ones(1)})
  state: Any = task_optimiser(made()).init({})
  expected_w, expected_mean = 0.0, 1.0
  for updates in (1, 1, 2):
    if updates > average.updates:
      kept = 0.9 * (1 - np.exp(-updates / 2))
      expected_w, expected_mean = kept * expected_w + (1 - kept) * 3, kept * expected_mean
    state = state._replace(updates=jnp.asarray(updates))
    now = Params({}, {}, {"w": jnp.full(1, 3.0)}, {"mean": jnp.zeros(1)})
    average = rule.update(average, now, state)
    np.testing.assert_allclose(average.params["w"], expected_w, rtol=1e-6)
    np.testing.assert_allclose(average.stats["mean"], expected_mean, rtol=1e-6)


@pytest.mark.parametrize(
  ("images", "rule", "rate"), [(64_000, "adamw", 0.001667), (64_064, "nesterov", 0.01)]
)
def test_auto_is_adamw_up_to_ten_thousand_steps(images, rule, rate):
  """Ten epochs of 1000 steps of 64 images; 0.002 * 5 / (4 + 2 classes), to six digits."""
  chosen = chosen_by_ultralytics(made()._replace(rule="auto"), images, 2)
  assert (chosen.rule, chosen.learning_rate, chosen.warmup_bias_rate) == (rule, rate, 0.0)
  assert chosen.weight_decay == 5e-4


@pytest.mark.parametrize(
  ("option", "changes", "message"),
  [
    ("", {"optim.t.ema": 0.9}, "optim.t.ema=0.9: is for stage='task'"),
    ("", {"optim.t.rule": "auto"}, "optim.t.rule='auto': one of adam"),
    ("task,recipe=ultralytics", {"optim.t.rule": "max_norm_sgd"}, "one of adam, adamw, sgd"),
    ("task,recipe=ultralytics", {"optim.decay_every": 3}, "optim.decay_every=3"),
    ("task", {"optim.t.momentum": 1.0}, "optim.t.momentum"),
    ("task", {"optim.t.momentum": 0.9, "optim.t.rule": "sgd"}, "momentum=0.9: is for .*'sgd'"),
    ("task", {"optim.t.ema_ramp": 9.0}, "optim.t.ema_ramp=9.0: needs optim.t.ema"),
    ("task", {"optim.t.no_decay": "all"}, "optim.t.no_decay='all': one of vectors, norms"),
    ("task", {"optim.t.falls_by": "hour"}, "optim.t.falls_by='hour': one of step, epoch"),
    ("task", {"optim.t.ema_ramp": 0.0}, "optim.t.ema_ramp"),
    ("task", {"optim.t.clip_norm": -1.0}, "optim.t.clip_norm"),
    ("task", {"optim.t.warmup_epochs": 1e9}, "optim.t.warmup_epochs=1000000000.0: at most 1000"),
  ],
)
def test_contradictions_name_the_field(option, changes, message):
  config = load("synthetic_det", option)
  config.update_from_flattened_dict(changes)
  with pytest.raises(ConfigError, match=message):
    checks.check(config)
