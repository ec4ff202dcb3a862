"""The smallest F, G and T with every property that the learning steps rely on.

T is neither of the built-in tasks.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tdfusion_jax.batch import Pair, Views
from tdfusion_jax.losses.fusion import fusion_loss
from tdfusion_jax.meta import Method, Optimisers, Params, TrainState, init_state
from tdfusion_jax.tasks import Task


def fuse(params, ir, vi):
  """A nonlinear per-pixel mixture with a trace of its neighbours."""
  blurred = 0.5 * (ir + jnp.roll(vi, 1, axis=1))
  logit = params["a"] * ir + params["b"] * vi + params["c"] * blurred * ir + params["d"]
  return jax.nn.sigmoid(logit)


def weigh(params, ir, vi):
  logit = params["p"] * ir - params["q"] * vi * vi + params["r"]
  return jax.nn.softmax(jnp.concatenate([logit, jnp.zeros_like(logit)], axis=-1), axis=-1)


def mean_brightness_task() -> Task:
  """A third party's own task: regress a number per image from two pooled features."""

  def init(key, images):
    del images
    return {"w": jax.random.normal(key, (2,)), "o": jnp.zeros(())}, {"seen": jnp.zeros(())}

  def apply(params, stats, images, *, train, key=None):
    del key
    features = jnp.stack([images.mean((1, 2, 3)), (images**2).mean((1, 2, 3))], axis=-1)
    moved = {"seen": stats["seen"] + images.mean()} if train else stats
    return jnp.tanh(features @ params["w"] + params["o"]), moved

  def loss(outputs, target):
    error = jnp.mean((outputs - target) ** 2)
    return error, {"squared_error": error}

  def predict(params, stats, images):
    return apply(params, stats, images, train=False)[0]

  return Task(init, apply, loss, predict)


def method(**changes) -> Method:
  return Method(
    fuse=fuse, weigh=weigh, fusion_loss=fusion_loss, task=mean_brightness_task()
  )._replace(**changes)


def views(seed: int, dtype=np.float64) -> Views:
  rng = np.random.default_rng(seed)
  images = [rng.random((2, 6, 5, 1)).astype(dtype) for _ in range(4)]
  crop, whole = Pair(*images[:2]), Pair(*images[2:], target=rng.random(2).astype(dtype))
  return Views(jax.tree.map(jnp.asarray, crop), jax.tree.map(jnp.asarray, whole))


def state(optimisers: Optimisers, dtype=np.float64, task: Task | None = None) -> TrainState:
  f_params = {
    k: jnp.asarray(v, dtype) for k, v in {"a": 0.8, "b": -0.4, "c": 0.3, "d": 0.1}.items()
  }
  g_params = {k: jnp.asarray(v, dtype) for k, v in {"p": 0.7, "q": 0.5, "r": -0.2}.items()}
  t_params, t_stats = (task or mean_brightness_task()).init(jax.random.key(3), None)
  t_params, t_stats = jax.tree.map(lambda x: x.astype(dtype), (t_params, t_stats))
  return init_state(Params(f_params, g_params, t_params, t_stats), optimisers, jax.random.key(0))


def adams() -> Optimisers:
  return Optimisers(optax.adam(1e-2), optax.adam(1e-2, eps=1e-12), optax.adam(1e-2))


def all_by(optimiser) -> Optimisers:
  """F, G and T by the same rule."""
  return Optimisers(optimiser, optimiser, optimiser)
