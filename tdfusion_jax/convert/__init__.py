"""PyTorch weights in and out: state_dicts of NumPy arrays against Linen variables. Imports no PyTorch."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from tdfusion_jax.convert import restormer, rules, segformer, yolov8
from tdfusion_jax.networks.fusion import FusionNet
from tdfusion_jax.networks.lossgen import LossNet

ARCHITECTURES = ("fusion", "lossgen", "segformer", "yolov8")
_TASK_NETWORKS: dict[str, Any] = {"segformer": segformer, "yolov8": yolov8}
_FUSION_NETWORKS: dict[str, type[nn.Module]] = {"fusion": FusionNet, "lossgen": LossNet}


def from_torch(state_dict: Mapping[str, np.ndarray], arch: str, **options) -> dict:
  """Linen variables from a PyTorch state_dict in upstream's key names.

  Args:
    state_dict: {key: array}; a `module.` prefix of DataParallel is dropped.
    arch: "fusion" (F), "lossgen" (G), "segformer" or "yolov8".
    **options: of the task network; what names and shapes reveal (variant, channels, classes) need not be given.

  Returns:
    {"params": ...} and, for task networks, {"batch_stats": ...}: NumPy arrays of the state_dict's dtypes.

  Raises:
    ValueError: unknown arch, or keys and shapes that do not fit, all of them listed.
  """
  _check(arch)
  state_dict = {key.removeprefix("module."): np.asarray(value) for key, value in state_dict.items()}
  if arch in _FUSION_NETWORKS:
    shapes = _shapes(_FUSION_NETWORKS[arch](), restormer.sample_inputs())
    return rules.unflatten(rules.to_ours(restormer.untie(state_dict), shapes, restormer.torch_key))
  network = _TASK_NETWORKS[arch]
  fixed = network.fixed(state_dict)
  for key in fixed:
    state_dict.pop(key, None)
  options = {**network.options_from(state_dict), **options}
  shapes = _shapes(network.build(**options), network.sample_inputs(**options))
  return rules.unflatten(rules.to_ours(state_dict, shapes, network.torch_key))


def to_torch(variables: Mapping, arch: str, style: str = "upstream") -> dict[str, np.ndarray]:
  """The inverse of `from_torch`: a state_dict of NumPy arrays, ready for `load_state_dict(strict=True)`."""
  _check(arch)
  if style != "upstream":
    raise ValueError(f"style {style!r} is not known; there is: upstream.")
  flat = rules.flatten(variables)
  if arch in _FUSION_NETWORKS:
    return restormer.tie(rules.to_theirs(flat, restormer.torch_key))
  network = _TASK_NETWORKS[arch]
  state_dict = rules.to_theirs(flat, network.torch_key)
  return {**state_dict, **network.fixed(state_dict)}


def _check(arch: str) -> None:
  if arch not in ARCHITECTURES:
    raise ValueError(f"architecture {arch!r} is not known; there are: {', '.join(ARCHITECTURES)}.")


def _shapes(network: nn.Module, inputs: tuple) -> dict[rules.Path, tuple[int, ...]]:
  variables = jax.eval_shape(lambda *args: network.init(jax.random.key(0), *args), *inputs)
  return {path: leaf.shape for path, leaf in rules.flatten(variables).items()}
