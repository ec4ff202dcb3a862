"""Depthwise 3x3 convolution that stays fast under every derivative.

A 3x3 depthwise convolution is bilinear in (image, kernel), and so is the correlation of two images
that yields its kernel gradient. The two are each other's transposes, so as JAX primitives they form
a closed pair: forward mode, reverse mode and any nesting of them only ever evaluate these two
functions. XLA's own grouped convolution, and above all its gradients, is many times slower on CPU
and on GPU, and plain reverse mode through nine slices would write nine padded copies of the image.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float

_ROWS_PER_BLOCK = 8  # rows of the kernel gradient's partial sums: small enough to stay in cache


def depthwise3x3(
  x: Float[Array, "b h w c"], kernel: Float[Array, "3 3 c"], *, pad_rows: int = 1
) -> Float[Array, "b rows w c"]:
  """Convolves every channel with its own 3x3 kernel: stride 1, zero padding.

  Cross-correlation, as in PyTorch. A kernel that is one in the middle and zero elsewhere returns
  the image.

  Args:
    x: [B, H, W, C] image, any size.
    kernel: [3, 3, C], row, column, channel.
    pad_rows: rows of zeros above and below. 1 keeps the height; 0 is for strips that bring their
      neighbouring rows with them; columns are always padded by 1.

  Returns:
    [B, H + 2 * pad_rows - 2, W, C], the promoted dtype of both.

  Raises:
    ValueError: other shapes.
  """
  _check(x, kernel)
  dtype = jnp.promote_types(x.dtype, kernel.dtype)
  return _conv_p.bind(x.astype(dtype), kernel.astype(dtype), pad_rows=pad_rows)


def _check(x, kernel):
  if x.ndim != 4 or kernel.shape != (3, 3, x.shape[-1]):
    raise ValueError(
      f"depthwise3x3 needs x [B, H, W, C] and kernel [3, 3, C], not {x.shape} and {kernel.shape}."
    )


def _shifted(padded, height, width):
  """The nine windows of a zero-padded image, in kernel order."""
  return [((i, j), padded[:, i : i + height, j : j + width]) for i in range(3) for j in range(3)]


def _pad(x, rows):
  # Without the barrier XLA fuses whatever made x into all nine windows, and computes it nine times
  # over.
  return jax.lax.optimization_barrier(jnp.pad(x, ((0, 0), (rows, rows), (1, 1), (0, 0))))


def _conv(x, kernel, *, pad_rows):
  _, height, width, channels = x.shape
  height += 2 * pad_rows - 2
  padded = _pad(x, pad_rows)
  taps = kernel.reshape(3, 3, 1, 1, 1, channels)
  out = sum(taps[i, j] * window for (i, j), window in _shifted(padded, height, width))
  # Fully padded is the way back, whose result two products read: write it once instead of fusing it
  # into both.
  return jax.lax.optimization_barrier(out) if pad_rows == 2 else out


def _correlate_whole(x, y, *, pad_rows):
  """`_correlate` at once: a GPU would start each turn of a loop for a few rows only."""
  return _correlate_rows(_pad(x, pad_rows), jax.lax.optimization_barrier(y)).astype(x.dtype)


def _correlate(x, y, *, pad_rows):
  """Sum over b, h, w of x[b, h + i - pad_rows, w + j - 1, c] * y[b, h, w, c] -> [3, 3, c]."""
  _, height, width, channels = y.shape
  padded, y = _pad(x, pad_rows), jax.lax.optimization_barrier(y)
  if not isinstance(height, int) or height <= _ROWS_PER_BLOCK:
    return _correlate_rows(padded, y).astype(x.dtype)
  blocks, rest = divmod(height, _ROWS_PER_BLOCK)
  total = jnp.zeros((3, 3, channels), _sum_dtype(x))

  def add_block(total, start):
    rows = jax.lax.dynamic_slice_in_dim(padded, start, _ROWS_PER_BLOCK + 2, axis=1)
    y_rows = jax.lax.dynamic_slice_in_dim(y, start, _ROWS_PER_BLOCK, axis=1)
    return total + _correlate_rows(rows, y_rows), None

  total, _ = jax.lax.scan(add_block, total, jnp.arange(blocks) * _ROWS_PER_BLOCK)
  if rest:
    total += _correlate_rows(padded[:, height - rest :], y[:, height - rest :])
  return total.astype(x.dtype)


def _sum_dtype(x):
  """What sums of x are added up in: bfloat16 would lose most of them."""
  return jnp.promote_types(x.dtype, jnp.float32)


def _correlate_rows(padded, y):
  _, height, width, channels = y.shape
  dtype = _sum_dtype(y)
  sums = [
    jnp.sum(window * y, axis=(0, 1, 2), dtype=dtype)
    for _, window in _shifted(padded, height, width)
  ]
  return jnp.stack(sums).reshape(3, 3, channels)


def _flip(kernel):
  return kernel[::-1, ::-1]


_conv_p = Primitive("depthwise3x3")
_correlate_p = Primitive("depthwise3x3_correlate")


@_conv_p.def_abstract_eval
def _(x, kernel, *, pad_rows):
  batch, height, width, channels = x.shape
  return ShapedArray((batch, height + 2 * pad_rows - 2, width, channels), x.dtype)


@_correlate_p.def_abstract_eval
def _(x, y, *, pad_rows):
  if x.ndim != 4 or y.shape != (x.shape[0], x.shape[1] + 2 * pad_rows - 2, *x.shape[2:]):
    raise ValueError(
      f"the kernel gradient needs two images of fitting shapes, not {x.shape} and {y.shape}."
    )
  return ShapedArray((3, 3, x.shape[-1]), x.dtype)


def _lower(primitive: Primitive, function: Callable, platform: str | None = None) -> None:
  lowering = mlir.lower_fun(function, multiple_results=False)
  mlir.register_lowering(primitive, lowering, platform=platform)


_conv_p.def_impl(jax.jit(_conv_p.bind, static_argnames="pad_rows"))
_correlate_p.def_impl(jax.jit(_correlate_p.bind, static_argnames="pad_rows"))
_lower(_conv_p, _conv)
_lower(_correlate_p, _correlate_whole)
_lower(_correlate_p, _correlate, "cpu")

# With p rows of padding, the way back has 2 - p: no padding forward is full padding back.
ad.defbilinear(
  _conv_p,
  lambda ct, x, kernel, pad_rows: _conv_p.bind(ct, _flip(kernel), pad_rows=2 - pad_rows),
  lambda ct, x, kernel, pad_rows: _correlate_p.bind(x, ct, pad_rows=pad_rows),
)
ad.defbilinear(
  _correlate_p,
  lambda ct, x, y, pad_rows: _conv_p.bind(y, _flip(ct), pad_rows=2 - pad_rows),
  lambda ct, x, y, pad_rows: _conv_p.bind(x, ct, pad_rows=pad_rows),
)


def _channels_last(array, axis, size):
  """Moves a vmapped axis into the channels, where both operations treat every entry on its own."""
  if axis is None:
    array = jnp.broadcast_to(array, (size, *array.shape))
  else:
    array = jnp.moveaxis(array, axis, 0)
  moved = jnp.moveaxis(array, 0, -2)
  return moved.reshape(*moved.shape[:-2], -1)


def _batch_rule(primitive):
  def rule(args, axes, **settings):
    size = next(a.shape[d] for a, d in zip(args, axes, strict=True) if d is not None)
    moved = [_channels_last(a, d, size) for a, d in zip(args, axes, strict=True)]
    out = primitive.bind(*moved, **settings)
    return out.reshape(*out.shape[:-1], size, -1), out.ndim - 1

  return rule


batching.primitive_batchers[_conv_p] = _batch_rule(_conv_p)
batching.primitive_batchers[_correlate_p] = _batch_rule(_correlate_p)
