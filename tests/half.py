"""Networks that are nothing like F and G: two convolutions at half the resolution, no attention."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from tdfusion_jax import fusers


class Half(nn.Module):
  """Convolves at half resolution and repeats each result over two by two pixels."""

  width: int
  features: int

  @nn.compact
  def __call__(self, ir, vi):
    images = jnp.concatenate([ir, vi], axis=-1)
    x = nn.relu(nn.Conv(self.width, (3, 3), strides=2, name="down")(images))
    x = nn.Conv(self.features, (3, 3), name="mix")(x)
    x = jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
    return x[:, : ir.shape[1], : ir.shape[2]]


def fuser(width: int = 4) -> fusers.Fuser:
  """What they add to the brighter image."""
  net = Half(width, 1)

  def fuse(params, ir, vi):
    return jnp.clip(jnp.maximum(ir, vi) + 0.1 * net.apply({"params": params}, ir, vi), 0, 1)

  return fusers.Fuser("half", net, fuse)


def weigher(width: int = 4) -> fusers.Weigher:
  net = Half(width, 2)

  def weigh(params, ir, vi):
    return jax.nn.softmax(net.apply({"params": params}, ir, vi), axis=-1)

  return fusers.Weigher("half", net, weigh)


def unannotated(width=4):
  return fuser(width)


def another(width: int = 4) -> fusers.Fuser:
  return weigher(width)  # pyright: ignore


def with_statistics() -> fusers.Fuser:
  class Normed(nn.Module):
    @nn.compact
    def __call__(self, ir, vi):
      return nn.BatchNorm(use_running_average=False)(ir + vi)

  return fusers.from_module("normed", Normed())


def with_two_channels() -> fusers.Fuser:
  return fusers.from_module("two", Half(4, 2))


def with_a_name_of_ours() -> fusers.Fuser:
  return fusers.from_module("average", Half(4, 1))
