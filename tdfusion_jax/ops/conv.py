"""3x3 convolution, by machine code where that can be, under every derivative.

Bilinear in (image, kernel), as is the correlation of two images that yields its kernel gradient; as
with the depthwise convolution (`ops.depthwise`) the two are each other's transposes and form a
closed pair of primitives.

Machine code takes channels by whole vectors. Where they do not fill them, XLA is as fast at the
convolution; at the correlation it is two to fourteen times slower, so there they are filled up.
"""

import jax
import jax.numpy as jnp
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from tdfusion_jax.ops import native, strips
from tdfusion_jax.ops.strips import Tiling


def conv3x3(x: jax.Array, kernel: jax.Array, tiling: Tiling) -> jax.Array:
  """3x3 convolution: stride 1, zero padding 1, no bias, cross-correlation as in PyTorch.

  Args:
    x: [B, H, W, C].
    kernel: [3, 3, C, O].
    tiling: whether machine code may do it.

  Returns:
    [B, H, W, O], the promoted dtype of both.
  """
  dtype = jnp.promote_types(x.dtype, kernel.dtype)
  x, kernel = x.astype(dtype), kernel.astype(dtype)
  if strips.machine_code(x, tiling):
    return _conv_p.bind(x, kernel)
  return _conv(x, kernel)


def _conv(x, kernel):
  return jax.lax.conv_general_dilated(
    x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
  )


def _correlate(x, y):
  """Sum over b, h, w of x[b, h + i - 1, w + j - 1, c] * y[b, h, w, o] -> [3, 3, c, o]."""
  like = jax.ShapeDtypeStruct((3, 3, x.shape[-1], y.shape[-1]), x.dtype)
  return jax.linear_transpose(lambda kernel: _conv(x, kernel), like)(y)[0]


def _fits(*channels: int) -> bool:
  """What `native/conv.h` is written for: a single channel, or whole vectors of 16."""
  return all(n == 1 or n % 16 == 0 for n in channels) and channels != (1, 1)


def _in_whole_vectors(x):
  """[..., C] with zeros behind, up to a multiple of 16."""
  return jnp.pad(x, (*[(0, 0)] * (x.ndim - 1), (0, -x.shape[-1] % 16)))


def _turned(kernel):
  """What leads back from outputs to inputs."""
  return jnp.swapaxes(kernel[::-1, ::-1], 2, 3)


_conv_p, _correlate_p = Primitive("conv3x3"), Primitive("conv3x3_correlate")
_conv_p.def_abstract_eval(lambda x, kernel: ShapedArray((*x.shape[:3], kernel.shape[3]), x.dtype))
_correlate_p.def_abstract_eval(lambda x, y: ShapedArray((3, 3, x.shape[3], y.shape[3]), x.dtype))


def _define(primitive, function, correlate):
  """`function(x, y)` in JAX, on CPU machine code; `correlate`: which of the two it is."""
  primitive.def_impl(jax.jit(primitive.bind))

  def by_machine(x, y):
    channels = (x.shape[-1], y.shape[-1])
    if not _fits(*channels):
      if not correlate:
        return function(x, y)
      return by_machine(_in_whole_vectors(x), _in_whole_vectors(y))[
        ..., : channels[0], : channels[1]
      ]
    out = primitive.abstract_eval(x, y)[0]
    shape = jax.ShapeDtypeStruct(out.shape, out.dtype)
    return jax.ffi.ffi_call(native.CONV_TARGET, shape)(x, y, correlate=correlate)

  def batched(arguments, axes):
    if not correlate and axes[1] is None:  # images of one kernel: a larger batch
      x = jax.numpy.moveaxis(arguments[0], axes[0], 0)
      out = primitive.bind(x.reshape(-1, *x.shape[2:]), arguments[1])
      return out.reshape(*x.shape[:2], *out.shape[1:]), 0
    return jax.vmap(function, in_axes=tuple(axes))(*arguments), 0

  mlir.register_lowering(primitive, mlir.lower_fun(function, multiple_results=False))
  machine_code = mlir.lower_fun(by_machine, multiple_results=False)
  mlir.register_lowering(primitive, machine_code, platform="cpu")
  batching.primitive_batchers[primitive] = batched


_define(_conv_p, _conv, False)
_define(_correlate_p, _correlate, True)
ad.defbilinear(
  _conv_p,
  lambda ct, x, kernel: _conv_p.bind(ct, _turned(kernel)),
  lambda ct, x, kernel: _correlate_p.bind(x, ct),
)
ad.defbilinear(
  _correlate_p,
  lambda ct, x, y: _conv_p.bind(y, _turned(ct)),
  lambda ct, x, y: _conv_p.bind(x, ct),
)
