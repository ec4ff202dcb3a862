"""Upstream's names for SegFormer.

Such as `backbone.block1.0.attn.q.weight` and `decode_head.linear_c4.proj.weight`.
"""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from tdfusion_jax.convert.rules import Path
from tdfusion_jax.networks.segformer import VARIANTS, SegFormer

_LEAVES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
_MODULES = {"dwconv": "dwconv.dwconv", "bn": "linear_fuse.bn"}
_MODULES |= {f"linear_c{level}": f"linear_c{level}.proj" for level in (1, 2, 3, 4)}


def options_from(state_dict: Mapping[str, np.ndarray]) -> dict:
  """What names and shapes reveal: `variant`, `in_channels` and `num_classes`.

  A backbone alone has no `num_classes`.

  Raises:
    ValueError: not a SegFormer in upstream's naming, or sizes that are no variant's.
  """
  first, last = "backbone.patch_embed1.proj.weight", "decode_head.linear_pred.weight"
  whole = any(key.startswith("decode_head.") for key in state_dict)
  wanted = {first: 4, **({last: 4} if whole else {})}
  for key, axes in wanted.items():
    if key not in state_dict or state_dict[key].ndim != axes:
      raise ValueError(f"not a SegFormer: {key} is missing or has not {axes} axes.")
  # (stage, index) of every transformer block
  blocks = {tuple(key.split(".")[1:3]) for key in state_dict if key.startswith("backbone.block")}
  depths = tuple(sum(name == f"block{stage}" for name, _ in blocks) for stage in (1, 2, 3, 4))
  width = state_dict[first].shape[0]
  fitting = [
    name for name, sizes in VARIANTS.items() if sizes.widths[0] == width and sizes.depths == depths
  ]
  if not fitting:
    raise ValueError(f"no SegFormer variant starts with width {width} and has {depths} blocks.")
  options = {"variant": fitting[0], "in_channels": state_dict[first].shape[1]}
  if whole:
    options["num_classes"] = state_dict[last].shape[0]
  return options


def is_classifier(path: Path) -> bool:
  """Whether `path` belongs to the layer that tells classes apart."""
  return "linear_pred" in path


def head_options(flat: Mapping[Path, np.ndarray], num_classes: int) -> dict[str, int]:
  """Options that the number of kept classes does not reveal: none."""
  del flat, num_classes
  return {}


def build(num_classes: int, variant: str = "b0", in_channels: int = 1, **options) -> SegFormer:
  """The network; `in_channels` is not one of its attributes, it follows from the images."""
  del in_channels
  return SegFormer(num_classes, variant, **options)


def sample_inputs(in_channels: int = 1, **_) -> tuple:
  """An image for the network, to find the shapes of its variables."""
  return (jnp.zeros((1, 32, 32, in_channels)),)


def torch_key(path: Path) -> tuple[str, str]:
  """PyTorch's name and the kind of layout of a variable.

  ("params", "decode_head", "bn", "scale") -> ("decode_head.linear_fuse.bn.weight", "same").
  """
  *modules, leaf = path[1:]
  if modules[1:] and modules[1].startswith(("convs_", "fusion_conv")):  # OpenMMLab's head
    inner = [*modules[1].split("_"), *modules[2:]] if modules[1] != "fusion_conv" else modules[1:]
    if leaf == "kernel":
      return ".".join(["decode_head", *inner, "conv.weight"]), "pointwise"
    return ".".join(["decode_head", *inner, _LEAVES.get(leaf, leaf)]), "same"
  if leaf == "linear_fuse":  # a plain parameter here
    return "decode_head.linear_fuse.conv.weight", "pointwise"
  key = ".".join([*map(_module, modules), _LEAVES.get(leaf, leaf)])
  if leaf != "kernel":
    return key, "same"
  parent, layer = modules[-2:]
  if layer == "sr" or parent.startswith("patch_embed"):
    return key, "conv"
  return key, {"dwconv": "depthwise", "linear_pred": "pointwise"}.get(layer, "dense")


def _module(name: str) -> str:
  return name.replace("_", ".") if name.startswith("block") else _MODULES.get(name, name)


def fixed(state_dict: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """PyTorch's batch counters, which momentum-based statistics never read."""
  suffix = ".running_mean"
  means = [key.removesuffix(suffix) for key in state_dict if key.endswith(suffix)]
  return {f"{name}.num_batches_tracked": np.zeros((), np.int64) for name in means}
