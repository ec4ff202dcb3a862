"""F as an ONNX graph, node by node from its weights: no tracing, no converter, no other framework.

NCHW inside, batch, height and width free. Layer norms are folded where that is exact: subtracting
the mean over channels is a 1x1 convolution, and scale and shift move into the 1x1 convolution that
follows.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tdfusion_jax.engines.weights import each, weights_of
from tdfusion_jax.files import UsageError
from tdfusion_jax.networks.weights import BlockWeights, CrossWeights, Widening

OPSET = 20  # the first with Gelu
IR_VERSION = 9
_LN_EPS = 1e-5
_NEVER = -1e30  # a logit whose softmax is zero


class EngineError(UsageError):
  """F cannot be computed or exported in this way, and why."""


class Builder:
  """Collects nodes and constants; calling it adds a node and gives back the name of its output."""

  def __init__(self):
    from onnx import helper, numpy_helper

    self._helper, self._numpy = helper, numpy_helper
    self.nodes: list[Any] = []
    self.constants: list[Any] = []

  def __call__(self, op: str, *inputs: str, **attributes: Any) -> str:
    """Adds the node `op`; returns the name of its only output."""
    name = f"{op.lower()}_{len(self.nodes)}"
    self.nodes.append(self.node(op, inputs, [name], **attributes))
    return name

  def node(self, op: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> Any:
    """A node by itself, such as one with several outputs."""
    return self._helper.make_node(op, list(inputs), list(outputs), **attributes)

  def constant(self, array: np.ndarray | list | float, dtype: type = np.float32) -> str:
    """Adds a constant; returns its name."""
    name = f"constant_{len(self.constants)}"
    self.constants.append(self._numpy.from_array(np.ascontiguousarray(array, dtype), name))
    return name

  def pointwise(self, x: str, matrix: np.ndarray, bias: np.ndarray | None = None) -> str:
    """1x1 convolution by [C, O]."""
    more = [] if bias is None else [self.constant(bias)]
    return self("Conv", x, self.constant(matrix.T[:, :, None, None]), *more, kernel_shape=[1, 1])

  def depthwise(self, x: str, kernel: np.ndarray) -> str:
    """3x3, [3, 3, C]."""
    weight = self.constant(np.moveaxis(kernel, -1, 0)[:, None])
    return self("Conv", x, weight, kernel_shape=[3, 3], pads=[1, 1, 1, 1], group=kernel.shape[-1])

  def conv3x3(self, x: str, kernel: np.ndarray, bias: np.ndarray | None = None) -> str:
    """[3, 3, I, O]."""
    weight = self.constant(np.transpose(kernel, (3, 2, 0, 1)))
    more = [] if bias is None else [self.constant(bias)]
    return self("Conv", x, weight, *more, kernel_shape=[3, 3], pads=[1, 1, 1, 1])

  def normalised(self, x: str, channels: int) -> str:
    """Layer norm over channels without scale and shift."""
    centring = np.eye(channels) - 1 / channels
    x = self.pointwise(x, centring)
    mean = np.full((channels, 1), 1 / channels)
    variance = self.pointwise(self("Mul", x, x), mean, np.array([_LN_EPS]))
    return self("Div", x, self("Sqrt", variance))

  def pixels(self, x: str, channels: int) -> str:
    """[B, C, H, W] -> [B, C, pixels]."""
    return self("Reshape", x, self.constant([0, channels, -1], np.int64))

  def length(self, x: str) -> str:
    """Of each channel, [B, C, H, W] -> [B, C, 1].

    Row by row first: an engine that adds up a million squares one by one loses three digits.
    """
    rows = self("ReduceL2", x, self.constant([3], np.int64), keepdims=0)
    return self("ReduceL2", rows, self.constant([2], np.int64))

  def attention(self, q: str, k: str, channels: int, temperature: np.ndarray) -> str:
    """Channel attention, block-diagonal by heads (`restormer.channel_attention`).

    Args:
      q: name of the queries [B, C, H, W].
      k: name of the keys, equally shaped.
      channels: C.
      temperature: [heads].

    Returns:
      The name of [B, C, C].
    """
    norms = [self("Max", self.length(x), self.constant(1e-12)) for x in (q, k)]
    q, k = (self.pixels(x, channels) for x in (q, k))
    products = self("MatMul", q, self("Transpose", k, perm=[0, 2, 1]))
    both_norms = self("Mul", norms[0], self("Transpose", norms[1], perm=[0, 2, 1]))
    cosine = self("Div", products, both_norms)
    head = np.arange(channels) * len(temperature) // channels
    other_heads = np.where(head[:, None] == head[None, :], 0.0, _NEVER)
    scaled = self("Mul", cosine, self.constant(np.asarray(temperature)[head][:, None]))
    return self("Softmax", self("Add", scaled, self.constant(other_heads)), axis=-1)

  def attend(self, attention: str, project: np.ndarray, v: str, image: str) -> str:
    """Adds the mixture of the values to an image.

    Args:
      attention: name of [B, C, C].
      project: [C, C], behind the attention.
      v: name of the values [B, C, pixels].
      image: name of [B, C, H, W].

    Returns:
      The name of the image.
    """
    mixed = self("MatMul", self.constant(project.T[None]), attention)
    values = self("Reshape", self("MatMul", mixed, v), self("Shape", image))
    return self("Add", image, values)

  def gate(self, gate: str, value: str) -> str:
    """GELU(gate) * value."""
    return self("Mul", self("Gelu", gate), value)


def _block(b: Builder, block: BlockWeights, x: str) -> str:
  """`networks.restormer.RestormerBlock`."""
  channels = block.qk.matrix.shape[0]
  normed = b.normalised(x, channels)
  q, k = _widened(b, block.qk, normed, 2)
  (v,) = _widened(b, block.v, normed, 1)
  attention = b.attention(q, k, channels, block.temperature)
  x = b.attend(attention, block.project, b.pixels(v, channels), x)
  gate, value = _widened(b, block.feed, b.normalised(x, channels), 2)
  return b("Add", x, b.pointwise(b.gate(gate, value), block.out))


def _widened(b: Builder, weights: Widening, x: str, parts: int) -> list[str]:
  """`Widening` in equal parts of its channels; x has been normalised if there is a norm.

  Each part by convolutions of its own, which spares the split.
  """
  matrix, biases = weights.matrix, [None] * parts
  if weights.norm is not None:
    scale, bias = weights.norm
    biases = np.split(bias @ matrix, parts)
    matrix = scale[:, None] * matrix
  matrices = np.split(matrix, parts, axis=1)
  kernels = np.split(weights.kernel, parts, axis=-1)
  return [
    b.depthwise(b.pointwise(x, matrix, bias), kernel)
    for matrix, bias, kernel in zip(matrices, biases, kernels, strict=True)
  ]


def _fusion_module(b: Builder, weights: CrossWeights, sides: list[str]) -> str:
  """`networks.fusion.FusionModule`."""
  channels = weights.qk[0].matrix.shape[0]
  queries, keys, values = [], [], []
  for x, qk, v in zip(sides, weights.qk, weights.v, strict=True):
    parts = [*_widened(b, qk, x, 2), *_widened(b, v, x, 1)]
    for collected, part in zip((queries, keys, values), parts, strict=True):
      collected.append(part)
  queries.reverse()  # the queries of each modality ask the keys of the other
  mixed = []
  for i, side in enumerate(sides):
    attention = b.attention(queries[i], keys[i], channels, weights.temperature[i])
    mixed.append(b.attend(attention, weights.project[i], b.pixels(values[i], channels), side))
  x = b("Concat", *mixed, axis=1)
  gates = _widened(b, weights.gates, x, 2)
  for i, side in enumerate(mixed):
    (value,) = _widened(b, weights.filtered[i], side, 1)
    x = b("Add", x, b.pointwise(b.gate(gates[i], value), weights.out[i]))
  return x


def fusion_model(params: Mapping[str, Any]) -> Any:
  """F as an `onnx.ModelProto`: `ir` and `vi` in [0, 1] -> `fused`, [batch, height, width, 1] each.

  Args:
    params: of `networks.fusion.FusionNet`, NumPy or JAX arrays.

  Raises:
    ImportError: the `onnx` package is missing.
  """
  weights = weights_of(each(np.asarray, params))
  b = Builder()
  sides = []
  for name, kernel, encoder in zip(("ir", "vi"), weights.start, weights.encoders, strict=True):
    x = b.conv3x3(b("Transpose", name, perm=[0, 3, 1, 2]), kernel)
    for block in encoder:
      x = _block(b, block, x)
    sides.append(x)
  x = _fusion_module(b, weights.fusion, sides)
  for block in weights.decoders:
    x = _block(b, block, x)
  x = b("LeakyRelu", b.conv3x3(x, weights.end[0]), alpha=0.01)
  return model_of(b, b("Sigmoid", b.conv3x3(x, weights.end[1])), "TDFusion F")


def model_of(b: Builder, fused: str, title: str) -> Any:
  """The finished `onnx.ModelProto` of a graph that reads `ir` and `vi`, checked.

  Args:
    b: its nodes.
    fused: name of the fused image [B, 1, H, W].
    title: of the graph.
  """
  from onnx import TensorProto, checker, helper

  shape = ["batch", "height", "width", 1]
  ends = {
    name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    for name in ("ir", "vi", "fused")
  }
  b.nodes.append(helper.make_node("Transpose", [fused], ["fused"], perm=[0, 2, 3, 1]))
  graph = helper.make_graph(b.nodes, title, [ends["ir"], ends["vi"]], [ends["fused"]], b.constants)
  model = helper.make_model(
    graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
  )
  checker.check_model(model, full_check=True)
  return model


def onnx_session(data: bytes) -> Any:
  """An ONNX Runtime session on the CPU.

  Raises:
    EngineError: ONNX Runtime is missing.
  """
  try:
    import onnxruntime
  except ImportError:
    raise EngineError("running ONNX needs ONNX Runtime: pip install 'tdfusion-jax[onnx]'") from None
  return onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
