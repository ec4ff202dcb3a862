"""F's parameters unpacked once, for everything that computes F by other means than Linen.

The names of F's parameters, and which slice of a kernel serves what, are known to
`networks.fusion.FusionNet`, whose layout they are, and to this file.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tdfusion_jax.networks.weights import HEADS, BlockWeights, CrossWeights, Widening

BLOCKS: tuple[str, ...] = (
  "encoder1_0",
  "encoder1_1",
  "encoder2_0",
  "encoder2_1",
  "decoder_0",
  "decoder_1",
)
"""F's Restormer blocks, by the names of their parameters."""


class Weights(NamedTuple):
  """F's, in the order of the computation; arrays of the kind that the parameters are."""

  start: tuple[Any, Any]
  """[3, 3, 1, 16] of each modality."""
  encoders: tuple[tuple[BlockWeights, BlockWeights], tuple[BlockWeights, BlockWeights]]
  """Two blocks of 16 channels for each modality."""
  fusion: Any
  """`CrossWeights` of 16 channels a modality, or `BlockWeights` where an engine works that way."""
  decoders: tuple[BlockWeights, BlockWeights]
  """Of 32 channels."""
  end: tuple[Any, Any]
  """[3, 3, 32, 16], followed by a leaky ReLU of slope 0.01, and [3, 3, 16, 1], by a sigmoid."""

  def block(self, name: str) -> BlockWeights:
    """The Restormer block of one of the names in `BLOCKS`."""
    by_name = dict(zip(BLOCKS, (*self.encoders[0], *self.encoders[1], *self.decoders), strict=True))
    return by_name[name]


def each(function: Callable[[Any], Any], tree: Any) -> Any:
  """`jax.tree.map` for mappings, tuples and None, without JAX: not every engine needs it."""
  if tree is None:
    return None
  if isinstance(tree, Mapping):
    return {key: each(function, part) for key, part in tree.items()}
  if isinstance(tree, tuple):
    parts = [each(function, part) for part in tree]
    return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)
  return function(tree)


def shapes() -> dict[str, Any]:
  """The shapes of F's parameters, in the structure and order of `networks.fusion.FusionNet`."""
  blocks = {name: _block_shapes(16 if "encoder" in name else 32) for name in sorted(BLOCKS)}
  ends = {
    "project_in_1": (3, 3, 1, 16),
    "project_in_2": (3, 3, 1, 16),
    "project_out_0": (3, 3, 32, 16),
    "project_out_1": (3, 3, 16, 1),
  }
  return {"FM": _cross_shapes(16), **blocks, **{name: _kernel(*ends[name]) for name in ends}}


def _kernel(*shape: int) -> dict[str, tuple[int, ...]]:
  return {"kernel": shape}


def _block_shapes(c: int) -> dict[str, Any]:
  attn = {
    "project_out": (c, c),
    "qkv": _kernel(c, 3 * c),
    "qkv_dwconv": _kernel(3, 3, 3 * c),
    "temperature": (HEADS,),
  }
  ffn = {
    "dwconv": _kernel(3, 3, 4 * c),
    "project_in": _kernel(c, 4 * c),
    "project_out": _kernel(2 * c, c),
  }
  norm = {"bias": (c,), "scale": (c,)}
  return {"attn": attn, "ffn": ffn, "norm1": norm, "norm2": norm}


def _cross_shapes(c: int) -> dict[str, Any]:
  gates = {"project_E": _kernel(2 * c, 8 * c), "project_E_d": _kernel(3, 3, 8 * c)}
  sides: dict[str, Any] = {}
  for i in (1, 2):
    sides |= {
      f"project_E{i}": _kernel(c, 4 * c),
      f"project_E{i}_d": _kernel(3, 3, 4 * c),
      f"project_mid{i}": (c, c),
      f"project_out{i}": _kernel(4 * c, 2 * c),
      f"qkv{i}": _kernel(c, 3 * c),
      f"qkv{i}_dwconv": _kernel(3, 3, 3 * c),
      f"temperature{i}": (HEADS,),
    }
  return dict(sorted((gates | sides).items()))


def weights_of(params: Mapping[str, Any]) -> Weights:
  """Unpacks F's parameters, {"project_in_1": {"kernel": ...}, ...}, NumPy or JAX arrays."""
  first, second, third, fourth, *decoders = (_block(params[name]) for name in BLOCKS)
  return Weights(
    start=(params["project_in_1"]["kernel"], params["project_in_2"]["kernel"]),
    encoders=((first, second), (third, fourth)),
    fusion=_cross(params["FM"]),
    decoders=(decoders[0], decoders[1]),
    end=(params["project_out_0"]["kernel"], params["project_out_1"]["kernel"]),
  )


def _block(p: Mapping[str, Any]) -> BlockWeights:
  attn, ffn = p["attn"], p["ffn"]
  matrix, kernel = attn["qkv"]["kernel"], attn["qkv_dwconv"]["kernel"]
  norm1, norm2 = ((p[name]["scale"], p[name]["bias"]) for name in ("norm1", "norm2"))
  c = matrix.shape[0]
  return BlockWeights(
    qk=Widening(norm1, matrix[:, : 2 * c], kernel[..., : 2 * c]),
    v=Widening(norm1, matrix[:, 2 * c :], kernel[..., 2 * c :]),
    temperature=attn["temperature"],
    project=attn["project_out"],
    feed=Widening(norm2, ffn["project_in"]["kernel"], ffn["dwconv"]["kernel"]),
    out=ffn["project_out"]["kernel"],
  )


def _cross(p: Mapping[str, Any]) -> CrossWeights:
  matrices = [p[f"qkv{i}"]["kernel"] for i in (1, 2)]
  kernels = [p[f"qkv{i}_dwconv"]["kernel"] for i in (1, 2)]
  c = matrices[0].shape[0]
  both = list(zip(matrices, kernels, strict=True))
  qk = [Widening(None, matrix[:, : 2 * c], kernel[..., : 2 * c]) for matrix, kernel in both]
  v = [Widening(None, matrix[:, 2 * c :], kernel[..., 2 * c :]) for matrix, kernel in both]
  filtered = [
    Widening(None, p[f"project_E{i}"]["kernel"], p[f"project_E{i}_d"]["kernel"]) for i in (1, 2)
  ]
  return CrossWeights(
    qk=(qk[0], qk[1]),
    v=(v[0], v[1]),
    temperature=(p["temperature1"], p["temperature2"]),
    project=(p["project_mid1"], p["project_mid2"]),
    gates=Widening(None, p["project_E"]["kernel"], p["project_E_d"]["kernel"]),
    filtered=(filtered[0], filtered[1]),
    out=(p["project_out1"]["kernel"], p["project_out2"]["kernel"]),
  )
