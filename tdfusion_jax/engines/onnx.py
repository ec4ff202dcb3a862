"""F as an ONNX graph, node by node from its weights: no tracing, no converter, no other framework.

NCHW inside, batch, height and width free. Layer norms are folded where that is exact: subtracting
the mean over channels is a 1x1 convolution, and scale and shift move into the 1x1 convolution that
follows.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tdfusion_jax.files import UsageError

OPSET = 20  # the first with Gelu
IR_VERSION = 9
_LN_EPS = 1e-5
_HEADS = 8
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

  def __call__(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
    names = [
      f"{op.lower()}_{len(self.nodes)}" + (f"_{i}" if outputs > 1 else "") for i in range(outputs)
    ]
    self.nodes.append(self._helper.make_node(op, list(inputs), names, **attributes))
    return names[0] if outputs == 1 else names

  def constant(self, array: np.ndarray | list | float, dtype: type = np.float32) -> str:
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

  def conv3x3(self, x: str, kernel: np.ndarray) -> str:
    """[3, 3, I, O]."""
    weight = self.constant(np.transpose(kernel, (3, 2, 0, 1)))
    return self("Conv", x, weight, kernel_shape=[3, 3], pads=[1, 1, 1, 1])

  def normalised(self, x: str, channels: int) -> str:
    """Layer norm over channels without scale and shift."""
    centring = np.eye(channels) - 1 / channels
    x = self.pointwise(x, centring)
    variance = self.pointwise(
      self("Mul", x, x), np.full((channels, 1), 1 / channels), np.array([_LN_EPS])
    )
    return self("Div", x, self("Sqrt", variance))

  def pixels(self, x: str, channels: int) -> str:
    """[B, C, H, W] -> [B, C, pixels]."""
    return self("Reshape", x, self.constant([0, channels, -1], np.int64))

  def attention(self, q: str, k: str, channels: int, temperature: np.ndarray) -> str:
    """Channel attention [B, C, C] of [B, C, pixels], block-diagonal by heads."""
    axes = self.constant([2], np.int64)
    norms = [self("Max", self("ReduceL2", x, axes), self.constant(1e-12)) for x in (q, k)]
    products = self("MatMul", q, self("Transpose", k, perm=[0, 2, 1]))
    cosine = self(
      "Div", products, self("Mul", norms[0], self("Transpose", norms[1], perm=[0, 2, 1]))
    )
    head = np.arange(channels) * _HEADS // channels
    other_heads = np.where(head[:, None] == head[None, :], 0.0, _NEVER)
    scaled = self("Mul", cosine, self.constant(np.asarray(temperature)[head][:, None]))
    return self("Softmax", self("Add", scaled, self.constant(other_heads)), axis=-1)

  def attend(self, attention: str, project: np.ndarray, v: str, like: str) -> str:
    """`project` of the attention's mixture of v [B, C, pixels], in the shape of the image `like`."""
    mixed = self("MatMul", self.constant(project.T[None]), attention)
    return self("Reshape", self("MatMul", mixed, v), self("Shape", like))

  def gate(self, gate: str, value: str) -> str:
    return self("Mul", self("Gelu", gate), value)


def _block(b: Builder, p: Mapping[str, Any], x: str, channels: int) -> str:
  """`networks.restormer.RestormerBlock`."""
  attn, ffn = p["attn"], p["ffn"]
  q, k, v = (
    b.pixels(y, channels) for y in _parts(b, x, attn["qkv"], attn["qkv_dwconv"], 3, p["norm1"])
  )
  attention = b.attention(q, k, channels, attn["temperature"])
  x = b("Add", x, b.attend(attention, attn["project_out"], v, x))
  gate, value = _parts(b, x, ffn["project_in"], ffn["dwconv"], 2, p["norm2"])
  return b("Add", x, b.pointwise(b.gate(gate, value), ffn["project_out"]["kernel"]))


def _parts(b: Builder, x: str, wide: Any, kernel: Any, parts: int, norm: Any = None) -> list[str]:
  """Depthwise 3x3 of 1x1 of the layer norm, in equal parts; each by its own convolutions, which spares the split."""
  matrix, kernel, bias = np.asarray(wide["kernel"]), np.asarray(kernel["kernel"]), None
  if norm is not None:
    scale = np.asarray(norm["scale"])
    x, bias, matrix = (
      b.normalised(x, len(scale)),
      np.asarray(norm["bias"]) @ matrix,
      scale[:, None] * matrix,
    )
  biases = [None] * parts if bias is None else np.split(bias, parts)
  pieces = zip(
    np.split(matrix, parts, axis=1), np.split(kernel, parts, axis=-1), biases, strict=True
  )
  return [b.depthwise(b.pointwise(x, m, c), k) for m, k, c in pieces]


def _fusion_module(b: Builder, p: Mapping[str, Any], sides: list[str], channels: int) -> str:
  """`networks.fusion.FusionModule`."""
  split = [_parts(b, x, p[f"qkv{i}"], p[f"qkv{i}_dwconv"], 3) for i, x in enumerate(sides, 1)]
  q, k, v = zip(*([b.pixels(part, channels) for part in parts] for parts in split), strict=True)
  mixed = []
  for i, side in enumerate(sides, 1):  # the queries of each modality ask the keys of the other
    attention = b.attention(q[2 - i], k[i - 1], channels, p[f"temperature{i}"])
    mixed.append(b("Add", side, b.attend(attention, p[f"project_mid{i}"], v[i - 1], side)))
  x = b("Concat", *mixed, axis=1)
  gates = _parts(b, x, p["project_E"], p["project_E_d"], 2)
  for i, (side, gate) in enumerate(zip(mixed, gates, strict=True), 1):
    (value,) = _parts(b, side, p[f"project_E{i}"], p[f"project_E{i}_d"], 1)
    x = b("Add", x, b.pointwise(b.gate(gate, value), p[f"project_out{i}"]["kernel"]))
  return x


def fusion_model(params: Mapping[str, Any]) -> Any:
  """F as an `onnx.ModelProto`: `ir`, `vi` [batch, height, width, 1] in [0, 1] -> `fused`, equally shaped.

  Args:
    params: of `networks.fusion.FusionNet`, NumPy or JAX arrays.

  Raises:
    ImportError: the `onnx` package is missing.
  """
  from onnx import TensorProto, checker, helper

  b = Builder()
  shape = ["batch", "height", "width", 1]
  ends = {
    name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    for name in ("ir", "vi", "fused")
  }
  sides = []
  for i, name in enumerate(("ir", "vi"), 1):
    x = b.conv3x3(b("Transpose", name, perm=[0, 3, 1, 2]), params[f"project_in_{i}"]["kernel"])
    for j in range(2):
      x = _block(b, params[f"encoder{i}_{j}"], x, 16)
    sides.append(x)
  x = _fusion_module(b, params["FM"], sides, 16)
  for j in range(2):
    x = _block(b, params[f"decoder_{j}"], x, 32)
  x = b("LeakyRelu", b.conv3x3(x, params["project_out_0"]["kernel"]), alpha=0.01)
  x = b("Sigmoid", b.conv3x3(x, params["project_out_1"]["kernel"]))
  b.nodes.append(helper.make_node("Transpose", [x], ["fused"], perm=[0, 2, 3, 1]))
  graph = helper.make_graph(
    b.nodes, "TDFusion F", [ends["ir"], ends["vi"]], [ends["fused"]], b.constants
  )
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
