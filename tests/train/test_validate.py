"""What validation shows of a pair."""

import jax.numpy as jnp
import numpy as np
import toy

from configs import load
from tdfusion_jax.batch import Pair
from tdfusion_jax.train import build
from tdfusion_jax.train.validate import _look


def average(params, ir, vi):
  return jnp.sum(
    toy.weigh(params, ir, vi) * jnp.concatenate([ir, vi], axis=-1), axis=-1, keepdims=True
  )


def seen(method, params):
  ir, vi = np.random.default_rng(0).random((2, 1, 6, 5, 1))
  pair = Pair(jnp.asarray(ir), jnp.asarray(vi), target=jnp.zeros(1))
  return _look(method, params, pair), ir, vi


def test_weights_and_fusion_loss_are_of_g(x64):
  params = toy.state(toy.adams()).params
  found, ir, vi = seen(toy.method(), params)
  np.testing.assert_allclose(found["weights"], toy.weigh(params.g, ir, vi), rtol=1e-12)
  assert set(found["losses"]) == {"fusion_loss", "task_loss"} and np.ptp(found["weights"]) > 0.05


def test_in_ablation_v_the_weights_are_those_of_f(x64):
  """Its fused image is `w_a a + w_b b`, by hand from the weights that are shown."""
  assert build.method(load("synthetic_seg", "ablation=V"), None).f_weighs
  assert not build.method(load("synthetic_seg", "ablation=IV"), None).f_weighs
  params = toy.state(toy.adams()).params
  params = params._replace(f=params.g, g={"p": 9.0, "q": 9.0, "r": 9.0})
  found, ir, vi = seen(toy.method(fuse=average, fusion_loss=None, f_weighs=True), params)
  w_a = np.asarray(found["weights"])[..., :1]
  np.testing.assert_allclose(found["fused"], w_a * ir + (1 - w_a) * vi, rtol=1e-12)
  assert set(found["losses"]) == {"task_loss"}
