"""G's surroundings: the constant it begins at and the size it looks at. Expected values by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tdfusion_jax import fusers
from tdfusion_jax.config import ConfigError, base
from tdfusion_jax.train.checks import check
from tdfusion_jax.train.networks import networks


def by_brightness(params, ir, vi):
  """w_a is the infrared image itself: easy to follow by hand."""
  del params, vi
  return jnp.concatenate([ir, 1 - ir], axis=-1)


def weigher():
  return fusers.Weigher("by_brightness", None, by_brightness)


def images(rows):
  return jnp.asarray(rows, jnp.float32)[None, ..., None]


def test_an_undecided_network_gives_the_tone():
  ir = images([[0.5, 0.8]])
  weights = fusers.toned(weigher(), 0.7)({}, ir, ir)
  # Log-odds add up: 0.8 is odds of 4, 0.7 of 7/3.
  odds = 4 * 7 / 3
  np.testing.assert_allclose(weights[0, 0, :, 0], [0.7, odds / (1 + odds)], rtol=1e-6)
  np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-6)


def test_a_held_tone_is_every_images_mean():
  """Log-odds less their mean, moved to the tone: what all pixels share makes no difference."""
  ir = jnp.concatenate([images([[0.5, 0.8]]), images([[0.2, 0.2]])])
  weights = fusers.held(weigher(), 0.7)({}, ir, ir)
  # Odds of 1 and 4, divided by their geometric mean 2 and multiplied by 7/3.
  odds = np.array([0.5, 2.0]) * 7 / 3
  np.testing.assert_allclose(weights[0, 0, :, 0], odds / (1 + odds), rtol=1e-6)
  np.testing.assert_allclose(weights[1, 0, :, 0], 0.7, rtol=1e-6)
  np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-6)


def test_a_held_tone_stands_weights_of_nothing():
  """1 and 0 are taken for 1 and 1e-30: odds of 1e30 and 1, about their mean 1e15."""
  ir = images([[1.0, 0.5]])
  weights = fusers.held(weigher(), 0.5)({}, ir, ir)
  odds = np.array([1e15, 1e-15])
  np.testing.assert_allclose(weights[0, 0, :, 0], odds / (1 + odds), rtol=1e-4)


def test_a_tone_that_has_run_off_still_has_a_slope():
  """Logits about -40, where w_a is 4e-18: by hand, d w_a / d logit is w_a w_b less the mean's."""
  logits = images([[-40.0, -41.0]])

  def by_logits(params, ir, vi):
    del params, vi
    return jax.nn.softmax(jnp.concatenate([ir, jnp.zeros_like(ir)], axis=-1))

  held = fusers.held(fusers.Weigher("", None, by_logits), 0.5)
  slope = jax.grad(lambda logits: held({}, logits, logits)[0, 0, 0, 0])(logits)
  # Half a unit above the mean; the other pixel moves the mean as much as this one.
  w_a = 1 / (1 + np.exp(-0.5))
  expected = w_a * (1 - w_a) / 2
  np.testing.assert_allclose(slope[0, 0, :, 0], [expected, -expected], rtol=1e-4)


def test_no_tone_leaves_weights_as_they_are():
  ir = images([[0.25, 0.75]])
  np.testing.assert_allclose(fusers.toned(weigher(), 0.5)({}, ir, ir), by_brightness({}, ir, ir))


def test_the_network_sees_means_of_squares():
  seen = []

  def weigh(params, ir, vi):
    seen.append((ir[0, ..., 0], vi[0, ..., 0]))
    return by_brightness(params, ir, vi)

  ir = images([[0.0, 0.4, 0.8], [0.4, 0.8, 0.0], [0.2, 0.6, 1.0]])
  fusers.strided(fusers.Weigher("", None, weigh), 2)({}, ir, 1 - ir)
  # The last row and column are repeated: (0.8 + 0.8 + 0 + 0) / 4, and so on.
  expected = np.array([[0.4, 0.4], [0.4, 1.0]])
  # And the border around all of it.
  expected = np.pad(expected, 4, "edge")
  np.testing.assert_allclose(seen[0][0], expected, atol=1e-6)
  np.testing.assert_allclose(seen[0][1], 1 - expected, atol=1e-6)


def test_the_border_of_the_images_leaves_no_frame_in_the_weights():
  """Flat images have flat weights; a convolution alone has others beside the zeros around it."""
  network = fusers.loss_network()
  params = fusers.init_variables(network.network, jax.random.key(0))["params"]
  ir, vi = jnp.full((1, 64, 80, 1), 0.8), jnp.full((1, 64, 80, 1), 0.3)
  reduced = fusers.strided(network, 4)(params, ir, vi)[0, ..., 0]
  whole = network(params, ir, vi)[0, ..., 0]
  # Zeros reach further than the room, but what is left of them is small.
  assert np.ptp(reduced) < 0.1 * np.ptp(whole) and np.ptp(whole) > 0.01


def test_weights_are_interpolated_between_the_centres_of_squares():
  ir = images([[0.0, 0.0, 1.0, 1.0]] * 2)
  weights = fusers.strided(weigher(), 2)({}, ir, ir)
  # Centres lie at 1 and 3, pixels at .5, 1.5, 2.5, 3.5: a quarter and three quarters between.
  np.testing.assert_allclose(weights[0, 0, :, 0], [0, 0.25, 0.75, 1], atol=1e-6)
  np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-6)


@pytest.mark.parametrize("shape", [(7, 9), (8, 8), (1, 1)])
def test_weights_have_the_size_of_the_images(shape):
  ir = jnp.full((2, *shape, 1), 0.3)
  weights = fusers.strided(weigher(), 4)({}, ir, ir)
  assert weights.shape == (2, *shape, 2)
  np.testing.assert_allclose(weights[..., 0], 0.3, rtol=1e-6)


def test_both_are_fields_of_a_config():
  config = base()
  config.loss.tone, config.loss.stride = 0.7, 2
  made, plain = networks(config).weigher, networks(base()).weigher
  params = fusers.init_variables(made.network, jax.random.key(0))["params"]
  ir, vi = (jax.random.uniform(jax.random.key(k), (1, 8, 12, 1)) for k in (1, 2))
  expected = fusers.toned(fusers.strided(plain, 2), 0.7)(params, ir, vi)
  np.testing.assert_array_equal(made(params, ir, vi), expected)
  assert np.abs(made(params, ir, vi) - plain(params, ir, vi)).max() > 0.05


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"loss.tone": 1.0}, "between 0 and 1"),
    ({"loss.tone": 0.7, "data.swap": "half"}, "data.swap='none'"),
    ({"loss.tone_held": True, "loss.weights": "fixed", "meta.steps": 0}, "loss.weights='learned'"),
    ({"loss.stride": 0}, "loss.stride"),
    ({"loss.stride": 2, "loss.weights": "fixed", "meta.steps": 0}, "loss.weights='learned'"),
  ],
)
def test_contradictions_name_the_field(changes, message):
  config = base()
  config.data.name = "synthetic_det"
  config.update_from_flattened_dict(changes)
  with pytest.raises(ConfigError, match=message):
    check(config)
