"""Matrix products over channels that stay fast under every derivative.

A 1x1 convolution is bilinear in (image, matrix), and so is the sum over pixels of outer products
that yields its matrix gradient. As with the depthwise convolution (`ops.depthwise`) the two are
each other's transposes and form a closed pair of primitives. Left to the transpose rule of a
general product, the matrix gradient arrives with its operands the other way round, and XLA on CPU
then rewrites the whole image in another order first, four times the cost of the product itself.
"""

import jax
import jax.numpy as jnp
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float

# This many images get a product each: XLA on CPU is slower at one product of many small ones.
_UNROLL = 8


def pointwise(
  x: Float[Array, "b h w c"], matrix: Float[Array, "c o"] | Float[Array, "b c o"]
) -> jax.Array:
  """1x1 convolution: every pixel's channels times a matrix, one for all or one per image.

  The identity matrix returns the image.

  Args:
    x: [B, H, W, C].
    matrix: [C, O], or [B, C, O].

  Returns:
    [B, H, W, O].

  Raises:
    TypeError: other shapes.
  """
  batch, height, width, channels = x.shape
  groups = 1 if matrix.ndim == 2 else batch
  flat = x.reshape(groups, -1, channels)
  out = _multiply_p.bind(flat, matrix.reshape(groups, *matrix.shape[-2:]))
  return out.reshape(batch, height, width, matrix.shape[-1])


def outer_sum(x: Float[Array, "b h w c"], y: Float[Array, "b h w o"]) -> Float[Array, "b c o"]:
  """Per image, the sum over its pixels of the outer products of their channels."""
  batch = x.shape[0]
  return _outer_p.bind(x.reshape(batch, -1, x.shape[-1]), y.reshape(batch, -1, y.shape[-1]))


def _each(product, x, y, contracted):
  """`product` of the matrices of each group, over the axes `contracted` of x and of y."""
  groups = x.shape[0]
  if groups == 1:
    return product(x[0], y[0])[None]
  if isinstance(groups, int) and groups <= _UNROLL:
    return jnp.stack([product(a, b) for a, b in zip(x, y, strict=True)])
  return jax.lax.dot_general(x, y, (contracted, ((0,), (0,))))


def _multiply(x, matrix):
  return _each(jnp.matmul, x, matrix, ((2,), (1,)))


def _outer(x, y):
  # Operands that are written down first are read as they lie, not computed again in another order.
  x, y = jax.lax.optimization_barrier((x, y))

  def product(a, b):
    return jax.lax.dot_general(a, b, (((0,), (0,)), ((), ())))

  return _each(product, x, y, ((1,), (1,)))


_multiply_p = Primitive("pointwise")
_outer_p = Primitive("pointwise_outer")


@_multiply_p.def_abstract_eval
def _(x, matrix):
  if x.ndim != 3 or matrix.shape[:2] != (x.shape[0], x.shape[2]):
    raise TypeError(f"pointwise: channels of {x.shape} do not fit the matrix {matrix.shape}.")
  return ShapedArray((*x.shape[:2], matrix.shape[2]), x.dtype)


@_outer_p.def_abstract_eval
def _(x, y):
  if x.ndim != 3 or x.shape[:2] != y.shape[:2]:
    raise TypeError(f"outer_sum: pixels of {x.shape} and {y.shape} do not fit.")
  return ShapedArray((x.shape[0], x.shape[2], y.shape[2]), x.dtype)


for _primitive, _function in ((_multiply_p, _multiply), (_outer_p, _outer)):
  _primitive.def_impl(jax.jit(_function))
  mlir.register_lowering(_primitive, mlir.lower_fun(_function, multiple_results=False))


def _transposed(matrix):
  return jnp.swapaxes(matrix, 1, 2)


ad.defbilinear(
  _multiply_p,
  lambda ct, x, matrix: _multiply_p.bind(ct, _transposed(matrix)),
  lambda ct, x, matrix: _outer_p.bind(x, ct),
)
ad.defbilinear(
  _outer_p,
  lambda ct, x, y: _multiply_p.bind(y, _transposed(ct)),
  lambda ct, x, y: _multiply_p.bind(x, ct),
)


def _batch_rule(primitive):
  def rule(args, axes):
    """A mapped axis is more groups."""
    size = next(a.shape[d] for a, d in zip(args, axes, strict=True) if d is not None)
    front = [
      jnp.broadcast_to(a, (size, *a.shape)) if d is None else jnp.moveaxis(a, d, 0)
      for a, d in zip(args, axes, strict=True)
    ]
    out = primitive.bind(*(a.reshape(-1, *a.shape[2:]) for a in front))
    return out.reshape(size, -1, *out.shape[1:]), 0

  return rule


batching.primitive_batchers[_multiply_p] = _batch_rule(_multiply_p)
batching.primitive_batchers[_outer_p] = _batch_rule(_outer_p)
