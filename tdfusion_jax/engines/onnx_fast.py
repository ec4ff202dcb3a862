"""The fast network (`networks.fast`) as an ONNX graph, node by node from its weights."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from tdfusion_jax.engines.onnx import Builder, model_of
from tdfusion_jax.networks.fast import COARSEST, SHARPNESS


def fast_model(params: Mapping[str, Any]) -> Any:
  """The fast network as an `onnx.ModelProto`, with the ends of `engines.onnx.fusion_model`.

  Args:
    params: of `networks.fast.FastNet`, NumPy or JAX arrays.

  Raises:
    ImportError: the `onnx` package is missing.
  """
  weights = jax.tree.map(np.asarray, params)
  b = Builder()
  images = [b("Transpose", name, perm=[0, 3, 1, 2]) for name in ("ir", "vi")]
  squares = [b("SpaceToDepth", _filled_up(b, image), blocksize=2) for image in images]
  w_a, w_b, w_max, rest = _numbers(b, weights, b("Concat", *squares, axis=1))
  half = b.constant(0.5)
  parts = [
    b("Mul", b("Add", w_a, half), squares[0]),
    b("Mul", b("Add", w_b, half), squares[1]),
    b("Mul", w_max, b("Max", *squares)),
    rest,
  ]
  fused = b("DepthToSpace", _soft_clip(b, b("Sum", *parts)), blocksize=2, mode="DCR")
  sizes = b("Shape", images[0], start=2, end=4)
  return model_of(b, _cut(b, fused, sizes), "TDFusion fast")


def _numbers(b: Builder, weights: Mapping[str, Any], squares: str) -> list[str]:
  """The four numbers for each pixel, by squares of four pixels."""

  def conv(name: str, x: str) -> str:
    kernel, bias = weights[name]["kernel"], weights[name]["bias"]
    if kernel.shape[0] == 1:
      return b.pointwise(x, kernel[0, 0], bias)
    if kernel.shape[0] == 3:
      return b.conv3x3(x, kernel, bias)
    weight = b.constant(np.transpose(kernel, (3, 2, 0, 1)))
    return b("Conv", x, weight, b.constant(bias), kernel_shape=[2, 2], strides=[2, 2])

  def up(name: str, x: str) -> str:
    return b("DepthToSpace", conv(name, x), blocksize=2, mode="DCR")

  half = b("Relu", conv("half_in", squares))
  quarter = b("Relu", conv("quarter_in", half))
  quarter = b("Relu", conv("quarter_0", quarter))
  eighth = b("Relu", conv("eighth_in", quarter))
  means = [b("GlobalAveragePool", features) for features in (quarter, eighth)]
  whole = b("Relu", conv("whole_in", b("Concat", *means, axis=1)))
  for i in range(2):
    scale = b("Add", conv(f"whole_scale_{i}", whole), b.constant(1.0))
    seen = b("Mul", conv(f"eighth_{i}", eighth), scale)
    seen = b("Relu", b("Add", seen, conv(f"whole_shift_{i}", whole)))
    eighth = b("Add", eighth, seen)
  quarter = b("Add", quarter, up("eighth_out", eighth))
  quarter = b("Add", quarter, b("Relu", conv("quarter_1", quarter)))
  half = b("Add", half, up("quarter_out", quarter))
  half = b("Add", half, b("Relu", conv("half_0", half)))
  names = [f"number_{i}" for i in range(4)]
  b.nodes.append(b.node("Split", [conv("half_out", half)], names, axis=1, num_outputs=4))
  shared = [f"shared_{i}" for i in range(4)]
  b.nodes.append(b.node("Split", [conv("whole_out", whole)], shared, axis=1, num_outputs=4))
  return [b("Add", number, of_all) for number, of_all in zip(names, shared, strict=True)]


def _filled_up(b: Builder, image: str) -> str:
  """`networks.fast.filled_up` of [B, 1, H, W]."""
  more, unit = COARSEST - 1, b.constant([COARSEST] * 2, np.int64)
  pads = b.constant([0, 0, 0, 0, 0, 0, more, more], np.int64)
  padded = b("Pad", image, pads, mode="edge")
  sizes = b("Shape", padded, start=2, end=4)
  return _cut(b, padded, b("Mul", b("Div", sizes, unit), unit))


def _cut(b: Builder, image: str, sizes: str) -> str:
  """The first rows and columns of [B, C, H, W]; sizes: name of [rows, columns]."""
  start, axes = b.constant([0, 0], np.int64), b.constant([2, 3], np.int64)
  return b("Slice", image, start, sizes, axes)


def _soft_clip(b: Builder, x: str) -> str:
  """`networks.fast.soft_clip`."""
  sharpness = b.constant(SHARPNESS)
  above = [x, b("Sub", x, b.constant(1.0))]
  low, high = (b("Softplus", b("Mul", part, sharpness)) for part in above)
  within = b("Div", b("Sub", low, high), sharpness)
  return b("Clip", within, b.constant(0.0), b.constant(1.0))
