"""F with random weights, made without compiling its initialisation."""

import jax
import numpy as np

from tdfusion_jax.networks.fusion import FusionNet


def random_params(dtype=np.float32):
  """Kernels as wide as fresh ones, norms away from ones and zeros, so that nothing that is left out
  goes unseen."""
  rng, image = np.random.default_rng(0), np.zeros((1, 8, 8, 1), np.float32)
  shapes = jax.eval_shape(FusionNet().init, jax.random.key(0), image, image)["params"]

  def draw(path, leaf):
    name = path[-1].key
    if name in ("scale", "bias") or name.startswith("temperature"):
      return (float(name != "bias") + 0.1 * rng.standard_normal(leaf.shape)).astype(dtype)
    fan_in = 9 if len(leaf.shape) == 3 else np.prod(leaf.shape[:-1])
    return (rng.standard_normal(leaf.shape) / np.sqrt(fan_in)).astype(dtype)

  return jax.tree_util.tree_map_with_path(draw, shapes)
