"""The fast network by machine code where that can be, under every derivative.

One primitive: on CPUs `native/fast.cc` computes the whole network, which XLA would do convolution
by convolution. Its derivatives, vmap over parameters, and other devices go by the network as JAX
knows it (`networks.fast.FastNet`); vmap over images is a larger batch.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from tdfusion_jax.networks import fast_layers
from tdfusion_jax.networks.fast import FastNet
from tdfusion_jax.ops import native, strips
from tdfusion_jax.ops.strips import Tiling

_TILING = Tiling()


def fuse(
  params: Mapping[str, Any], ir: jax.Array, vi: jax.Array, *, tiling: Tiling = _TILING
) -> Any:
  """The fast network: what `FastNet` returns, to rounding.

  Args:
    params: of `FastNet`.
    ir: infrared, [B, H, W, 1] in [0, 1].
    vi: visible luminance, [B, H, W, 1] in [0, 1].
    tiling: whether machine code may do it; in float32 alone.

  Returns:
    [B, H, W, 1] in [0, 1], not stretched.
  """
  if not strips.machine_code(ir, tiling) or ir.shape != vi.shape:
    return FastNet(tiling).apply({"params": params}, ir, vi)
  arguments = (ir, vi, *fast_layers.leaves(params))
  if any(x.dtype != jnp.float32 for x in arguments):
    return FastNet(tiling).apply({"params": params}, ir, vi)
  return _fuse_p.bind(*arguments)


def _in_jax(ir, vi, *leaves):
  return FastNet().apply({"params": fast_layers.tree(list(leaves))}, ir, vi)


def _by_machine(ir, vi, *leaves):
  weights = jnp.concatenate([leaf.ravel() for leaf in leaves])
  shape = jax.ShapeDtypeStruct(ir.shape, ir.dtype)
  return jax.ffi.ffi_call(native.FAST_TARGET, shape)(ir, vi, weights)


def _batched(arguments, axes):
  """Images of the same parameters are a larger batch."""
  if any(axis is not None for axis in axes[2:]):
    return jax.vmap(_in_jax, in_axes=tuple(axes))(*arguments), 0
  count = next(x.shape[axis] for x, axis in zip(arguments, axes, strict=True) if axis is not None)
  images = [
    jnp.broadcast_to(x, (count, *x.shape)) if axis is None else jnp.moveaxis(x, axis, 0)
    for x, axis in zip(arguments[:2], axes[:2], strict=True)
  ]
  flat = [x.reshape(-1, *x.shape[2:]) for x in images]
  return _fuse_p.bind(*flat, *arguments[2:]).reshape(images[0].shape), 0


def _jvp(primals, tangents):
  """That of the network in JAX, along what moves."""
  moving = [i for i, tangent in enumerate(tangents) if not isinstance(tangent, ad.Zero)]

  def moved(*values):
    arguments = list(primals)
    for i, value in zip(moving, values, strict=True):
      arguments[i] = value
    return _in_jax(*arguments)

  return jax.jvp(moved, [primals[i] for i in moving], [tangents[i] for i in moving])


_fuse_p = Primitive("fast_network")
_fuse_p.def_impl(jax.jit(_fuse_p.bind))
_fuse_p.def_abstract_eval(lambda ir, *_: ShapedArray(ir.shape, ir.dtype))
mlir.register_lowering(_fuse_p, mlir.lower_fun(_in_jax, multiple_results=False))
mlir.register_lowering(_fuse_p, mlir.lower_fun(_by_machine, multiple_results=False), platform="cpu")
batching.primitive_batchers[_fuse_p] = _batched
ad.primitive_jvps[_fuse_p] = _jvp
