"""Upstream's names for F and G.

Every convolution is stored twice, as `x.weight` and as `x.conv.weight`.
"""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from tdfusion_jax.convert.rules import Path

# Layers of whole kernels; the other convolutions are pointwise or depthwise.
_SPATIAL = {
  "out1",
  "out3",
  "project_in_1",
  "project_in_2",
  "patch_embed1",
  "patch_embed2",
  "project_out_0",
  "project_out_1",
}


def sample_inputs(**_) -> tuple:
  """Two images for F or G, to find the shapes of their parameters."""
  return jnp.zeros((1, 8, 8, 1)), jnp.zeros((1, 8, 8, 1))


def torch_key(path: Path) -> tuple[str, str]:
  """PyTorch's name and the kind of layout of a parameter.

  ("params", "encoder1_0", "attn", "qkv", "kernel") -> ("encoder1.0.attn.qkv.weight", "pointwise").
  """
  names = list(path[1:])
  head, _, index = names[0].rpartition("_")
  if head.startswith(("encoder", "decoder")):
    names[:1] = [head, index]
  leaf = names[-1]
  if leaf in ("scale", "bias"):  # LayerNorm
    return ".".join([*names[:-1], "body", "weight" if leaf == "scale" else "bias"]), "same"
  if leaf.startswith("temperature"):
    return ".".join(names), "heads"
  if leaf == "out2":
    return "out2.weight", "same"
  if leaf != "kernel":  # projections that are plain parameters here: project_out, project_mid
    return ".".join([*names, "weight"]), "pointwise"
  layer = names[-2]
  if layer in _SPATIAL and len(names) == 2:
    kind = "conv"
  else:
    kind = "depthwise" if layer.endswith(("dwconv", "_d")) else "pointwise"
  return ".".join([*names[:-1], "weight"]), kind


def untie(state_dict: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Drops the second copy of each convolution.

  Raises:
    ValueError: the two copies differ.
  """
  single = {}
  for key, value in state_dict.items():
    if not key.endswith(".conv.weight"):
      single[key] = value
      continue
    twin = key.removesuffix(".conv.weight") + ".weight"
    if twin in state_dict and not np.array_equal(state_dict[twin], value):
      raise ValueError(f"{key} and {twin} are two copies of one convolution, but they differ.")
    single[twin] = value
  return single


def tie(state_dict: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Adds the second copies again, as upstream saves them."""
  tied = {}
  for key, value in state_dict.items():
    tied[key] = value
    if value.ndim == 4:
      tied[key.removesuffix(".weight") + ".conv.weight"] = value
  return tied
