"""F for images of all sizes in one compiled program: the same function as `networks.fusion.FusionNet`.

XLA compiles for fixed shapes, and padding an image would change every pixel that F returns. Here an
image is laid out row after row in one long array with a zero behind each row, which serves as the
right neighbour of one row and the left neighbour of the next. In that layout the eight neighbours
of a pixel lie at fixed distances, given by the width, a number that may change without compiling;
so may the number of steps in which the pixels are worked through. The zeros between and behind the
rows are masked out of every convolution and of every sum over pixels, so the result is that of the
image alone.

Each step computes the wide channels of the next pixels once and keeps the last two rows of them for
the steps that follow. Inference only: the loops have no reverse mode.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from tdfusion_jax.networks.restormer import channel_attention
from tdfusion_jax.ops.parts import gelu, layer_norm

_STEP = {"cpu": 1 << 13}  # 2 MiB of 64 channels, which stay in cache
_STEP_ELSEWHERE = 1 << 18
_LEAST_CELLS, _LEAST_STRIDE = 1 << 16, 256


class Room(NamedTuple):
  """What a program has room for; each distinct one is compiled. Numbers, or symbols where a program is exported."""

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
  """The [H, W, C] image in a [length, C] array; a view."""
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
  """Where the pixels of a height x width image lie, int32 numbers that may be traced."""
  stride = width + 1
  index = jnp.arange(room.length, dtype=jnp.int32) - room.margin
  inside = (index >= 0) & (index < height * stride) & (index % stride < width)
  return Ground(room, stride, height * stride, inside[:, None].astype(dtype))


class Window:
  """The wide channels of a step's pixels and of their neighbours."""

  def __init__(self, ground: Ground, values: jax.Array, pixels: int):
    self._values, self._pixels, self._stride = values, pixels, ground.stride
    self._first = 2 * (ground.room.margin - ground.stride - 1)

  def shifted(self, row: int, column: int, start: int, channels: int) -> jax.Array:
    """Neighbour (row, column) of 0..2 each, (1, 1) the pixel itself, of `channels` from `start` on."""
    first = self._first + row * self._stride + column
    return jax.lax.dynamic_slice(
      self._values, (first, jnp.full_like(first, start)), (self._pixels, channels)
    )

  def depthwise(self, kernel: jax.Array, start: int = 0) -> jax.Array:
    """3x3 convolution of the channels from `start` on, each by its own kernel [3, 3, C]."""
    return sum(
      kernel[i, j][None, :] * self.shifted(i, j, start, kernel.shape[-1])
      for i in range(3)
      for j in range(3)
    )  # pyright: ignore


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
    widen: (pixels of each image [P, C], mask [P, 1]) -> [P, wide], zero where the mask is.
    settle: (window, pixels of each image, mask) -> new pixels of each image, of one new image, or
      amounts.
    images: replaced in place as the steps go, unless one of the following is given.
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
  part = lambda x, first: jax.lax.dynamic_slice_in_dim(x, first, pixels)  # noqa: E731

  def step(i, carry):
    tail, state = carry
    old = state if into is None and total is None else images
    first = room.margin + i * pixels
    values = jnp.concatenate([tail, widen([part(x, first) for x in old], part(ground.mask, first))])
    values = jax.lax.optimization_barrier(
      values
    )  # written once, not computed again for each neighbour
    lag = first - behind
    new = settle(
      Window(ground, values, pixels), [part(x, lag) for x in old], part(ground.mask, lag)
    )
    if total is not None:
      return values[pixels:], jax.tree.map(jnp.add, state, new)
    return values[pixels:], tuple(
      jax.lax.dynamic_update_slice_in_dim(x, y, lag, 0) for x, y in zip(state, new, strict=True)
    )

  steps = (ground.cells + behind + pixels - 1) // pixels
  tail = jnp.zeros((2 * room.margin, wide), dtype)
  return jax.lax.fori_loop(0, steps, step, (tail, start))[1]


def _no_sums(channels: int) -> tuple[jax.Array, ...]:
  return jnp.zeros((1, channels, channels)), jnp.zeros((1, channels)), jnp.zeros((1, channels))


def _sums(q: jax.Array, k: jax.Array) -> tuple[jax.Array, ...]:
  """`restormer.gram` of [P, C], in float32 at least."""
  q, k = jax.lax.optimization_barrier((q, k))
  ones, exact = jnp.ones((q.shape[0], 1), q.dtype), jnp.promote_types(q.dtype, jnp.float32)
  over_pixels = lambda a, b: jax.lax.dot_general(
    a, b, (((0,), (0,)), ((), ())), preferred_element_type=exact
  )  # noqa: E731
  return over_pixels(q, k)[None], over_pixels(ones, q * q), over_pixels(ones, k * k)


def _mixture(sums: tuple[jax.Array, ...], temperature: jax.Array, project: jax.Array) -> jax.Array:
  """Attention and the projection behind it as one matrix [C, C] for the values."""
  attention = channel_attention(sums, temperature.astype(sums[0].dtype))[0]  # pyright: ignore
  return (attention.T @ project.astype(attention.dtype)).astype(project.dtype)


def _normed(x: jax.Array, norm: Mapping[str, Any], mask: jax.Array) -> jax.Array:
  return layer_norm(x[None, None], (norm["scale"], norm["bias"]))[0, 0] * mask


def _block(ground: Ground, p: Mapping[str, Any], x: jax.Array) -> jax.Array:
  """`restormer.RestormerBlock`."""
  c, norm, attn = x.shape[1], p["norm1"], p["attn"]
  matrix, kernel = attn["qkv"]["kernel"], attn["qkv_dwconv"]["kernel"]

  def to_sums(window, here, mask):
    qk = window.depthwise(kernel[..., : 2 * c]) * mask
    return _sums(qk[:, :c], qk[:, c:])

  to_qk = lambda old, mask: _normed(old[0], norm, mask) @ matrix[:, : 2 * c]  # noqa: E731
  sums = _walk(ground, to_qk, to_sums, (x,), 2 * c, total=_no_sums(c))
  mixed = _mixture(sums, attn["temperature"], attn["project_out"])
  (x,) = _walk(
    ground,
    lambda old, mask: _normed(old[0], norm, mask) @ matrix[:, 2 * c :],
    lambda window, here, mask: (here[0] + window.depthwise(kernel[..., 2 * c :]) @ mixed,),
    (x,),
    c,
  )
  ffn, kernel = p["ffn"], p["ffn"]["dwconv"]["kernel"]

  def feed(window, here, mask):
    gate, value = (
      window.depthwise(kernel[..., : 2 * c]),
      window.depthwise(kernel[..., 2 * c :], 2 * c),
    )
    return (here[0] + (gelu(gate) * value) @ ffn["project_out"]["kernel"],)

  into = lambda old, mask: _normed(old[0], p["norm2"], mask) @ ffn["project_in"]["kernel"]  # noqa: E731
  return _walk(ground, into, feed, (x,), 4 * c)[0]


def _fusion_module(ground: Ground, p: Mapping[str, Any], x1: jax.Array, x2: jax.Array) -> jax.Array:
  """`fusion.FusionModule`."""
  c = x1.shape[1]
  matrices = [p[f"qkv{i}"]["kernel"] for i in (1, 2)]
  kernels = [p[f"qkv{i}_dwconv"]["kernel"] for i in (1, 2)]
  side_by_side = lambda arrays: jnp.concatenate(list(arrays), axis=-1)  # noqa: E731

  def widen(which):
    return lambda old, mask: side_by_side(
      (x * mask) @ m[:, which] for x, m in zip(old, matrices, strict=True)
    )

  def to_sums(window, here, mask):
    q1, k1, q2, k2 = jnp.split(window.depthwise(qk_kernel) * mask, 4, axis=1)
    return _sums(q2, k1), _sums(q1, k2)  # the queries of each modality ask the keys of the other

  def cross(window, here, mask):
    values = jnp.split(window.depthwise(v_kernel), 2, axis=1)
    return tuple(x + v @ m for x, v, m in zip(here, values, mixed, strict=True))

  def to_gates(old, mask):
    a, b = (x * mask for x in old)
    return side_by_side(
      [
        side_by_side([a, b]) @ p["project_E"]["kernel"],
        *(x @ p[f"project_E{i}"]["kernel"] for i, x in ((1, a), (2, b))),
      ]
    )

  def gate(window, here, mask):
    x = side_by_side(here)
    for i in (1, 2):
      opened = window.depthwise(
        p["project_E_d"]["kernel"][..., (i - 1) * 4 * c : i * 4 * c], (i - 1) * 4 * c
      )
      value = window.depthwise(p[f"project_E{i}_d"]["kernel"], (1 + i) * 4 * c)
      x = x + (gelu(opened) * value) @ p[f"project_out{i}"]["kernel"]
    return (x,)

  qk, v = slice(2 * c), slice(2 * c, None)
  qk_kernel, v_kernel = (side_by_side(k[..., which] for k in kernels) for which in (qk, v))
  sums = _walk(ground, widen(qk), to_sums, (x1, x2), 4 * c, total=(_no_sums(c), _no_sums(c)))
  mixed = [_mixture(s, p[f"temperature{i}"], p[f"project_mid{i}"]) for i, s in enumerate(sums, 1)]
  x1, x2 = _walk(ground, widen(v), cross, (x1, x2), 2 * c)
  return _walk(ground, to_gates, gate, (x1, x2), 16 * c, into=2 * c)[0]


def _conv3x3(
  ground: Ground, kernel: jax.Array, x: jax.Array, activation: Callable = lambda y: y
) -> jax.Array:
  """3x3 convolution [3, 3, C, O]: all nine products first, then their sums over the neighbours."""
  inner, outer = kernel.shape[2:]
  matrix = jnp.transpose(kernel, (2, 0, 1, 3)).reshape(inner, 9 * outer)

  def settle(window, here, mask):
    products = [
      window.shifted(i, j, (3 * i + j) * outer, outer) for i in range(3) for j in range(3)
    ]
    return (activation(sum(products)),)

  return _walk(
    ground, lambda old, mask: (old[0] * mask) @ matrix, settle, (x,), 9 * outer, into=outer
  )[0]


def fuse_flat(
  params: Mapping[str, Any], ir: Float[Array, "n 1"], vi: Float[Array, "n 1"], ground: Ground
) -> Float[Array, "n 1"]:
  """F of one pair of luminances in [0, 1], laid out as `lay_out` does.

  Args:
    params: of `networks.fusion.FusionNet`.
    ir, vi: [length, 1], all of one dtype with `params`.
    ground: where the pixels lie.

  Returns:
    [length, 1]: (0, 1) on pixels, anything finite elsewhere.
  """
  sides = []
  for i, image in ((1, ir), (2, vi)):
    x = _conv3x3(ground, params[f"project_in_{i}"]["kernel"], image)
    for j in range(2):
      x = _block(ground, params[f"encoder{i}_{j}"], x)
    sides.append(x)
  x = _fusion_module(ground, params["FM"], *sides)
  for j in range(2):
    x = _block(ground, params[f"decoder_{j}"], x)
  x = _conv3x3(ground, params["project_out_0"]["kernel"], x, lambda y: jax.nn.leaky_relu(y, 0.01))
  return _conv3x3(ground, params["project_out_1"]["kernel"], x, jax.nn.sigmoid)
