"""The parts of a Restormer block, by machine code where that can be, under every derivative.

Each part (`ops.parts` has them in JAX) is `z = depthwise3x3(LN(x) w)` and a head that makes
something of z:

  sums    z = q | k: per image q^T k, and the sums over pixels of q^2 and of k^2
  attend  x + z mixed, a matrix for each image
  feed    x + (GELU(first half of z) * second half) out

A part is three primitives: the part itself, its derivative along given directions (linear in them),
and the transpose of that. So forward mode and reverse mode of first order, all that the cheap form
of Eq. 7 needs, run machine code (`native/block.h`). So does vmap over images, as a larger batch.
What goes further, vmap over weights, and other devices take the part written in JAX.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from tdfusion_jax.ops import native, parts
from tdfusion_jax.ops.strips import Tiling, machine_code

_HEADS = ("sums", "attend", "feed")
_WAYS = ("apply", "along", "back")


class Kind(NamedTuple):
  """Which part; how it is cut where JAX computes it."""

  head: str
  """One of `_HEADS`."""
  norm: bool
  """Whether a layer norm comes first."""
  tiling: Tiling

  @property
  def outputs(self) -> int:
    """How many arrays it makes."""
    return 3 if self.head == "sums" else 1


def usable(x: jax.Array, tiling: Tiling) -> bool:
  """Whether machine code can take [B, H, W, C]: 16 or 32 channels, and what `machine_code` says."""
  return x.shape[-1] in (16, 32) and machine_code(x, tiling)


def sums(tiling: Tiling, weights, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
  """What channel attention needs to know of images.

  Args:
    tiling: how to cut where JAX computes.
    weights: a `parts.Widening` from C to 2 D channels, q beside k.
    x: images [B, H, W, C].

  Returns:
    Sums over pixels of q k^T [B, D, D], q^2 and k^2 [B, D].
  """
  if usable(x, tiling):
    return tuple(_bind("sums", tiling, weights, (), x))
  return parts.sums(tiling, weights, x)


def attend(tiling: Tiling, weights, mixed: jax.Array, x: jax.Array) -> jax.Array:
  """`x + z mixed`: values, mixed by attention and projected, added to the images.

  Args:
    tiling: how to cut where JAX computes.
    weights: a `parts.Widening` from C to D channels.
    mixed: attention and projection as one matrix, [B, D, C].
    x: images [B, H, W, C].

  Returns:
    [B, H, W, C].
  """
  if usable(x, tiling):
    return _bind("attend", tiling, weights, (mixed,), x)[0]
  return parts.attend(tiling, weights, mixed, x)


def feed(tiling: Tiling, weights, out: jax.Array, x: jax.Array) -> jax.Array:
  """`x + (GELU(z[:D]) * z[D:]) out`: the gated feed-forward part.

  Args:
    tiling: how to cut where JAX computes.
    weights: a `parts.Widening` from C to 2 D channels, gate beside value.
    out: [D, C].
    x: images [B, H, W, C].

  Returns:
    [B, H, W, C].
  """
  if usable(x, tiling):
    return _bind("feed", tiling, weights, (out,), x)[0]
  return parts.feed(tiling, weights, out, x)


def _bind(head, tiling, weights, more, x):
  norm, *linear = weights
  arguments = (x, *(norm or ()), *linear, *more)
  dtype = jnp.result_type(*arguments)
  part = Kind(head, norm is not None, tiling)
  return _apply_p.bind(*(a.astype(dtype) for a in arguments), part=part)


def _apply(part: Kind, x, *weights) -> list[Any]:
  """The part in JAX; weights: [scale, bias,] [C, N], [3, 3, N][, mixed or out]."""
  norm, rest = (weights[:2], weights[2:]) if part.norm else (None, weights)
  outs = getattr(parts, part.head)(part.tiling, (norm, *rest[:2]), *rest[2:], x)
  return list(outs) if part.head == "sums" else [outs]


def _along(part: Kind, *arguments) -> list[Any]:
  """The tangents of the outputs; the second half of the arguments are directions."""
  half = len(arguments) // 2
  return jax.jvp(partial(_apply, part), arguments[:half], arguments[half:])[1]


def _back(part: Kind, *arguments) -> list[Any]:
  """The cotangents of the arguments, behind which come those of the outputs."""
  inputs, cotangents = arguments[: -part.outputs], arguments[-part.outputs :]
  return list(jax.vjp(partial(_apply, part), *inputs)[1](list(cotangents)))


def _shapes(function, *arguments, part):
  if function is _back:  # no need to trace: like the arguments
    return [ShapedArray(a.shape, a.dtype) for a in arguments[: -part.outputs]]
  if function is _along:
    arguments = arguments[: len(arguments) // 2]
  x, dtype = arguments[0], arguments[0].dtype
  if part.head != "sums":
    return [ShapedArray(x.shape, dtype)]
  batch, half = x.shape[0], arguments[-1].shape[-1] // 2
  return [
    ShapedArray((batch, half, half), dtype),
    ShapedArray((batch, half), dtype),
    ShapedArray((batch, half), dtype),
  ]


def _machine_code(way, function, *arguments, part):
  abstract = _shapes(function, *arguments, part=part)
  shapes = [jax.ShapeDtypeStruct(s.shape, s.dtype) for s in abstract]
  call = jax.ffi.ffi_call(native.TARGET, shapes)
  return call(*arguments, head=np.int64(_HEADS.index(part.head)), way=np.int64(way), norm=part.norm)


def _define(way, function):
  """The primitive for one of `_WAYS`: `function(part, *arguments)` in JAX, on CPU machine code."""
  primitive = Primitive(f"restormer_{_WAYS[way]}")
  primitive.multiple_results = True

  def bind(*arguments, part):
    return primitive.bind(*arguments, part=part)

  def in_jax(*arguments, part):
    return function(part, *arguments)

  # Outside of jit a primitive runs as a program of its own.
  primitive.def_impl(jax.jit(bind, static_argnames="part"))
  primitive.def_abstract_eval(partial(_shapes, function))
  mlir.register_lowering(primitive, mlir.lower_fun(in_jax, multiple_results=True))
  machine_code = mlir.lower_fun(partial(_machine_code, way, function), multiple_results=True)
  mlir.register_lowering(primitive, machine_code, platform="cpu")

  def batched(arguments, axes, *, part):
    if function is not _back and _mapped(axes) <= _per_image(part, len(axes)):
      return _as_one_batch(primitive, arguments, axes, part)
    outs = jax.vmap(partial(function, part), in_axes=tuple(axes))(*arguments)
    return outs, [0] * len(outs)

  batching.primitive_batchers[primitive] = batched
  return primitive


def _mapped(axes):
  return {i for i, axis in enumerate(axes) if axis is not None}


def _per_image(part, count):
  """Which of `count` arguments, those of a part or they and their directions, have a batch axis."""
  whole = 1 + 2 * part.norm + 2 + (part.head != "sums")
  own = (0, whole - 1) if part.head == "attend" else (0,)
  return {start + i for start in range(0, count, whole) for i in own}


def _as_one_batch(primitive, arguments, axes, part):
  """The mapped axis as more images of the batch: the same machine code."""
  size = next(a.shape[axis] for a, axis in zip(arguments, axes, strict=True) if axis is not None)
  folded = list(arguments)
  for i in _per_image(part, len(axes)):
    x, axis = arguments[i], axes[i]
    x = jnp.broadcast_to(x, (size, *x.shape)) if axis is None else jnp.moveaxis(x, axis, 0)
    folded[i] = x.reshape(-1, *x.shape[2:])
  outs = primitive.bind(*folded, part=part)
  return [out.reshape(size, -1, *out.shape[1:]) for out in outs], [0] * len(outs)


_apply_p, _along_p, _back_p = (
  _define(way, function) for way, function in enumerate((_apply, _along, _back))
)


def _apply_jvp(primals, tangents, *, part):
  along = [ad.instantiate_zeros(t) for t in tangents]
  return _apply_p.bind(*primals, part=part), _along_p.bind(*primals, *along, part=part)


def _along_transpose(cotangents, *arguments, part):
  half = len(arguments) // 2
  filled = [ad.instantiate_zeros(ct) for ct in cotangents]
  return [None] * half + _back_p.bind(*arguments[:half], *filled, part=part)


def _further(function):
  """Derivatives of derivatives, in JAX."""

  def rule(primals, tangents, *, part):
    along = tuple(ad.instantiate_zeros(t) for t in tangents)
    return jax.jvp(partial(function, part), tuple(primals), along)

  return rule


ad.primitive_jvps[_apply_p] = _apply_jvp
ad.primitive_jvps[_along_p] = _further(_along)
ad.primitive_jvps[_back_p] = _further(_back)
ad.primitive_transposes[_along_p] = _along_transpose
