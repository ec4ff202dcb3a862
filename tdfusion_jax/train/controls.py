"""Stand-ins for F and G: the controls of an experiment, and what the task stage sees."""

import jax
import jax.numpy as jnp


def weigh_constant(g_params, ir: jax.Array, vi: jax.Array, *, w_a: float) -> jax.Array:
  """The same weights everywhere.

  Args:
    g_params: `{}`, in the place of G's.
    ir: [B, H, W, 1].
    vi: [B, H, W, 1].
    w_a: of infrared, in [0, 1].

  Returns:
    (w_a, 1 - w_a) [B, H, W, 2].
  """
  del g_params, vi
  return jnp.concatenate([jnp.full_like(ir, w_a), jnp.full_like(ir, 1 - w_a)], axis=-1)


def finished(f_params, ir: jax.Array, vi: jax.Array) -> jax.Array:
  """The task stage: images that are fused already come as `ir`."""
  del f_params, vi
  return ir


def two_channels(f_params, ir: jax.Array, vi: jax.Array) -> jax.Array:
  """The task stage without fusion: both images as channels, [B, H, W, 2]."""
  del f_params
  return jnp.concatenate([ir, vi], axis=-1)
