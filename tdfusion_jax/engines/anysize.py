"""F for images of all sizes in one compiled program.

The same function as `networks.fusion.FusionNet`. XLA compiles for fixed shapes, and padding an
image would change every pixel that F returns. Here an image is laid out row after row in one long
array with a zero behind each row, which serves as the right neighbour of one row and the left
neighbour of the next. In that layout the eight neighbours of a pixel lie at fixed distances, given
by the width, a number that may change without compiling; so may the number of steps in which the
pixels are worked through. The zeros between and behind the rows are masked out of every convolution
and of every sum over pixels, so the result is that of the image alone.

Each step computes the wide channels of the next pixels once and keeps the last two rows of them for
the steps that follow. Inference only: the loops have no reverse mode.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from tdfusion_jax.engines.weights import weights_of
from tdfusion_jax.networks.restormer import channel_attention
from tdfusion_jax.networks.weights import BlockWeights, CrossWeights, Widening
from tdfusion_jax.ops.parts import gelu, layer_norm

_STEP = {"cpu": 1 << 13}  # 2 MiB of 64 channels, which stay in cache
_STEP_ELSEWHERE = 1 << 18
_LEAST_CELLS, _LEAST_STRIDE = 1 << 16, 256


class Room(NamedTuple):
  """What a program has room for; each distinct one is compiled.

  Numbers, or symbols where a program is exported.
  """

  cells: int
  """Height times (width + 1)."""
  stride: int
  """Width + 1."""
  step: int = 1 << 13
  """Pixels of a step with up to 64 channels; fewer with more."""

  def fits(self, height: int, width: int) -> bool:
    """Whether an image of this size can be laid out."""
    return height * (width + 1) <= self.cells and width + 1 <= self.stride

  @property
  def margin(self) -> Any:
    """Zeros in front of the first pixel: a row and a pixel."""
    return self.stride + 1

  @property
  def length(self) -> Any:
    """Of the arrays."""
    return self.cells + 2 * self.margin + self.step


def room_for(height: int, width: int) -> Room:
  """The smallest of the usual rooms (powers of two and their one-and-a-half times) for an image."""
  step = _STEP.get(jax.default_backend(), _STEP_ELSEWHERE)
  return Room(_usual(height * (width + 1), _LEAST_CELLS), _usual(width + 1, _LEAST_STRIDE), step)


def _usual(number: int, least: int) -> int:
  while least < number:
    least = least * 3 // 2 if least & (least - 1) == 0 else least * 4 // 3
  return least


def lay_out(image: np.ndarray, room: Room) -> np.ndarray:
  """[H, W, C] as [length, C], zeros around."""
  height, width, channels = image.shape
  if not room.fits(height, width):
    raise ValueError(f"{width}x{height} pixels do not fit {room}.")
  flat = np.zeros((room.length, channels), image.dtype)
  _rows(flat, room, height, width)[:, :width] = image
  return flat


def take_up(flat: np.ndarray, room: Room, height: int, width: int) -> np.ndarray:
  """The image in an array that is laid out; a view.

  Args:
    flat: [length, C].
    room: that it was laid out in.
    height: of the image, H.
    width: of the image, W.

  Returns:
    [H, W, C].
  """
  return _rows(flat, room, height, width)[:, :width]


def _rows(flat, room, height, width):
  cells = height * (width + 1)
  return flat[room.margin : room.margin + cells].reshape(height, width + 1, -1)


class Ground(NamedTuple):
  """Where the pixels lie."""

  room: Room
  stride: Int[Array, ""]
  """Width + 1 of the image."""
  cells: Int[Array, ""]
  """Height times stride."""
  mask: Float[Array, "n 1"]
  """1 on pixels, 0 elsewhere."""


def ground_of(
  room: Room, height: Int[Array, ""], width: Int[Array, ""], dtype: Any = jnp.float32
) -> Ground:
  """Where the pixels of an image lie.

  Args:
    room: that the image is laid out in.
    height: of the image, int32 that may be traced.
    width: of the image, likewise.
    dtype: of the mask.
  """
  stride = width + 1
  index = jnp.arange(room.length, dtype=jnp.int32) - room.margin
  inside = (index >= 0) & (index < height * stride) & (index % stride < width)
  return Ground(room, stride, height * stride, inside[:, None].astype(dtype))


class Neighbours:
  """The wide channels of a step's pixels and of their neighbours."""

  def __init__(self, ground: Ground, values: jax.Array, pixels: int):
    self._values, self._pixels, self._stride = values, pixels, ground.stride
    self._first = 2 * (ground.room.margin - ground.stride - 1)

  def shifted(self, row: int, column: int, start: int, channels: int) -> jax.Array:
    """One neighbour of every pixel of the step, [P, channels].

    Args:
      row: 0, 1, 2 for above, beside, below.
      column: 0, 1, 2 for left, itself, right.
      start: the first of its channels that are asked for.
      channels: how many.
    """
    first = self._first + row * self._stride + column
    corner = (first, jnp.full_like(first, start))
    return jax.lax.dynamic_slice(self._values, corner, (self._pixels, channels))

  def depthwise(self, kernel: jax.Array, start: int = 0) -> jax.Array:
    """3x3 convolution of the channels from `start` on, each by its own kernel [3, 3, C]."""
    channels = kernel.shape[-1]
    products = [
      kernel[i, j][None, :] * self.shifted(i, j, start, channels)
      for i in range(3)
      for j in range(3)
    ]
    return sum(products[1:], products[0])


def _walk(
  ground: Ground,
  widen: Callable,
  settle: Callable,
  images: tuple[jax.Array, ...],
  wide: int,
  *,
  into: int | None = None,
  total: Any = None,
) -> Any:
  """Works through all pixels, a step at a time.

  Args:
    ground: where the pixels lie.
    widen: (pixels of each image [P, C], mask [P, 1]) -> [P, wide], zero where the mask is.
    settle: (neighbours, pixels of each image, mask) -> new pixels of each image, of one new image,
      or amounts.
    images: replaced in place as the steps go, unless one of the last two is given.
    wide: channels that `widen` makes.
    into: channels of one new image to be made instead.
    total: tree of zeros, to which the amounts are added instead.

  Returns:
    The new images, or the total.
  """
  room, dtype = ground.room, images[0].dtype
  pixels = min(room.step, room.step * 64 // wide)
  behind = ground.stride + 1  # a pixel is settled when its last neighbour is there
  start: Any = images if total is None else total
  if into is not None:
    start = (jnp.zeros((room.length, into), dtype),)

  def part(x, first):
    return jax.lax.dynamic_slice_in_dim(x, first, pixels)

  def step(i, carry):
    tail, state = carry
    old = state if into is None and total is None else images
    first = room.margin + i * pixels
    widened = widen([part(x, first) for x in old], part(ground.mask, first))
    # With the barrier written once, without it computed again for each neighbour.
    values = jax.lax.optimization_barrier(jnp.concatenate([tail, widened]))
    lag = first - behind
    neighbours = Neighbours(ground, values, pixels)
    new = settle(neighbours, [part(x, lag) for x in old], part(ground.mask, lag))
    if total is not None:
      return values[pixels:], jax.tree.map(jnp.add, state, new)
    changed = [
      jax.lax.dynamic_update_slice_in_dim(x, y, lag, 0) for x, y in zip(state, new, strict=True)
    ]
    return values[pixels:], tuple(changed)

  steps = (ground.cells + behind + pixels - 1) // pixels
  tail = jnp.zeros((2 * room.margin, wide), dtype)
  return jax.lax.fori_loop(0, steps, step, (tail, start))[1]


_Sums = tuple[jax.Array, jax.Array, jax.Array]


def _no_sums(channels: int) -> _Sums:
  return jnp.zeros((1, channels, channels)), jnp.zeros((1, channels)), jnp.zeros((1, channels))


def _sums(q: jax.Array, k: jax.Array) -> _Sums:
  """`ops.parts.gram` of [P, C], in float32 at least."""
  q, k = jax.lax.optimization_barrier((q, k))
  ones, exact = jnp.ones((q.shape[0], 1), q.dtype), jnp.promote_types(q.dtype, jnp.float32)

  def over_pixels(a, b):
    contracted = (((0,), (0,)), ((), ()))
    return jax.lax.dot_general(a, b, contracted, preferred_element_type=exact)

  return over_pixels(q, k)[None], over_pixels(ones, q * q), over_pixels(ones, k * k)


def _mixture(sums: _Sums, temperature: jax.Array, project: jax.Array) -> jax.Array:
  """Attention and the projection behind it as one matrix [C, C] for the values."""
  attention = channel_attention(sums, temperature.astype(sums[0].dtype))[0]
  return (attention.T @ project.astype(attention.dtype)).astype(project.dtype)


def _normed(x: jax.Array, norm: Any, mask: jax.Array) -> jax.Array:
  return layer_norm(x[None, None], norm)[0, 0] * mask


def _widen(weights: Widening) -> Callable:
  """What `_walk` calls: layer norm and matrix of one image."""

  def widen(old, mask):
    return _normed(old[0], weights.norm, mask) @ weights.matrix

  return widen


def _block(ground: Ground, block: BlockWeights, x: jax.Array) -> jax.Array:
  """`restormer.RestormerBlock`."""
  c = x.shape[1]

  def to_sums(neighbours, here, mask):
    qk = neighbours.depthwise(block.qk.kernel) * mask
    return _sums(qk[:, :c], qk[:, c:])

  sums = _walk(ground, _widen(block.qk), to_sums, (x,), 2 * c, total=_no_sums(c))
  mixed = _mixture(sums, block.temperature, block.project)

  def attend(neighbours, here, mask):
    return (here[0] + neighbours.depthwise(block.v.kernel) @ mixed,)

  (x,) = _walk(ground, _widen(block.v), attend, (x,), c)
  kernel = block.feed.kernel

  def feed(neighbours, here, mask):
    gate = neighbours.depthwise(kernel[..., : 2 * c])
    value = neighbours.depthwise(kernel[..., 2 * c :], 2 * c)
    return (here[0] + (gelu(gate) * value) @ block.out,)

  return _walk(ground, _widen(block.feed), feed, (x,), 4 * c)[0]


def _side_by_side(arrays: Iterable[jax.Array]) -> jax.Array:
  return jnp.concatenate(list(arrays), axis=-1)


def _fusion_module(
  ground: Ground, weights: CrossWeights, x1: jax.Array, x2: jax.Array
) -> jax.Array:
  """`fusion.FusionModule`."""
  c = x1.shape[1]
  qk_kernel = _side_by_side(qk.kernel for qk in weights.qk)
  v_kernel = _side_by_side(v.kernel for v in weights.v)

  def widen(parts):
    def of_both(old, mask):
      return _side_by_side((x * mask) @ part.matrix for x, part in zip(old, parts, strict=True))

    return of_both

  def to_sums(neighbours, here, mask):
    q1, k1, q2, k2 = jnp.split(neighbours.depthwise(qk_kernel) * mask, 4, axis=1)
    return _sums(q2, k1), _sums(q1, k2)  # the queries of each modality ask the keys of the other

  none = (_no_sums(c), _no_sums(c))
  sums = _walk(ground, widen(weights.qk), to_sums, (x1, x2), 4 * c, total=none)
  sides = zip(sums, weights.temperature, weights.project, strict=True)
  mixed = [_mixture(*side) for side in sides]

  def cross(neighbours, here, mask):
    values = jnp.split(neighbours.depthwise(v_kernel), 2, axis=1)
    return tuple(x + v @ m for x, v, m in zip(here, values, mixed, strict=True))

  x1, x2 = _walk(ground, widen(weights.v), cross, (x1, x2), 2 * c)

  def to_gates(old, mask):
    sides = [x * mask for x in old]
    gates = _side_by_side(sides) @ weights.gates.matrix
    values = [x @ own.matrix for x, own in zip(sides, weights.filtered, strict=True)]
    return _side_by_side([gates, *values])

  def gate(neighbours, here, mask):
    x = _side_by_side(here)
    for i, (own, out) in enumerate(zip(weights.filtered, weights.out, strict=True)):
      first = i * 4 * c  # gates lie before the values, in the same order
      opened = neighbours.depthwise(weights.gates.kernel[..., first : first + 4 * c], first)
      value = neighbours.depthwise(own.kernel, 8 * c + first)
      x = x + (gelu(opened) * value) @ out
    return (x,)

  return _walk(ground, to_gates, gate, (x1, x2), 16 * c, into=2 * c)[0]


def _conv3x3(
  ground: Ground, kernel: jax.Array, x: jax.Array, activation: Callable = lambda y: y
) -> jax.Array:
  """3x3 convolution [3, 3, C, O]: all nine products first, then their sums over the neighbours."""
  inner, outer = kernel.shape[2:]
  matrix = jnp.transpose(kernel, (2, 0, 1, 3)).reshape(inner, 9 * outer)

  def widen(old, mask):
    return (old[0] * mask) @ matrix

  def settle(neighbours, here, mask):
    products = [
      neighbours.shifted(i, j, (3 * i + j) * outer, outer) for i in range(3) for j in range(3)
    ]
    return (activation(sum(products)),)

  return _walk(ground, widen, settle, (x,), 9 * outer, into=outer)[0]


def fuse_flat(
  params: Mapping[str, Any], ir: Float[Array, "n 1"], vi: Float[Array, "n 1"], ground: Ground
) -> Float[Array, "n 1"]:
  """F of one pair of luminances in [0, 1], laid out as `lay_out` does.

  Args:
    params: of `networks.fusion.FusionNet`.
    ir: infrared, [length, 1], of one dtype with `params`.
    vi: visible, likewise.
    ground: where the pixels lie.

  Returns:
    [length, 1]: (0, 1) on pixels, anything finite elsewhere.
  """
  weights = weights_of(params)
  sides = []
  for image, kernel, encoder in zip((ir, vi), weights.start, weights.encoders, strict=True):
    x = _conv3x3(ground, kernel, image)
    for block in encoder:
      x = _block(ground, block, x)
    sides.append(x)
  x = _fusion_module(ground, weights.fusion, *sides)
  for block in weights.decoders:
    x = _block(ground, block, x)
  x = _conv3x3(ground, weights.end[0], x, lambda y: jax.nn.leaky_relu(y, 0.01))
  return _conv3x3(ground, weights.end[1], x, jax.nn.sigmoid)
