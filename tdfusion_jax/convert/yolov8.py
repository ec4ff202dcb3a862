"""Upstream's names for YOLOv8: `backbone.dark2.1.m.0.cv1.conv.weight`, `cv2.0.2.bias`."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from tdfusion_jax.convert.rules import Path
from tdfusion_jax.networks.yolov8 import BINS, VARIANTS, YOLOv8

_LEAVES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
DFL = "dfl.conv.weight"


def options_from(state_dict: Mapping[str, np.ndarray]) -> dict:
  """What names and shapes reveal: `variant`, `in_channels` and `num_classes`.

  A backbone alone has no `num_classes`. `class_width` is there if it does not follow from them.

  Raises:
    ValueError: not a YOLOv8 in upstream's naming, or sizes that are no variant's.
  """
  stem, last = "backbone.stem.conv.weight", "cv3.0.2.weight"
  whole = any(not key.startswith("backbone.") for key in state_dict)
  wanted = {stem: 4, **({last: 4} if whole else {})}
  for key, axes in wanted.items():
    if key not in state_dict or state_dict[key].ndim != axes:
      raise ValueError(f"not a YOLOv8: {key} is missing or has not {axes} axes.")
  width, channels = state_dict[stem].shape[:2]
  fitting = [name for name, (_, factor, _) in VARIANTS.items() if int(64 * factor) == width]
  if not fitting:
    raise ValueError(f"no YOLOv8 variant starts with width {width}.")
  options = {"variant": fitting[0], "in_channels": channels}
  if whole:
    options["num_classes"] = state_dict[last].shape[0]
    first = state_dict.get("cv3.0.0.conv.weight", np.zeros((0, 0)))
    options |= class_width(options["num_classes"], *first.shape[:2])
  return options


def class_width(num_classes: int, width: int, inputs: int) -> dict[str, int]:
  """The option that a head of this hidden width needs; none if the width is the usual one.

  Args:
    num_classes: of the head.
    width: of its first layer's result at the first level.
    inputs: of that layer.
  """
  return {} if width == max(inputs, num_classes) or not width else {"class_width": width}


def head_options(flat: Mapping[Path, np.ndarray], num_classes: int) -> dict[str, int]:
  """Options of a network with these variables, of which `num_classes` rows were kept."""
  *_, inputs, width = flat["params", "cv3_0_0", "conv", "kernel"].shape
  return class_width(num_classes, width, inputs)


def is_classifier(path: Path) -> bool:
  """Whether `path` belongs to the layers that tell classes apart."""
  return path[1].startswith("cv3_") and path[1].endswith("_2")


def build(
  num_classes: int, variant: str = "n", in_channels: int = 1, class_width: int = 0
) -> YOLOv8:
  """The network; `in_channels` is not one of its attributes, it follows from the images."""
  del in_channels
  return YOLOv8(num_classes, variant, class_width)


def sample_inputs(in_channels: int = 1, **_) -> tuple:
  """An image for the network, to find the shapes of its variables."""
  return (jnp.zeros((1, 32, 32, in_channels)),)


def torch_key(path: Path) -> tuple[str, str]:
  """PyTorch's name and the kind of layout of a variable.

  ("params", "backbone", "dark2_1", "m_0", "cv1", "conv", "kernel") -> its dotted name, "conv".
  """
  *modules, leaf = path[1:]
  names = []
  for name in modules:
    # down_sample1 and conv3_for_upsample1 keep their underscores; an index behind one is a list's
    # in PyTorch.
    head, *indices = name.split("_")
    names += [head, *indices] if indices and all(i.isdigit() for i in indices) else [name]
  if leaf == "kernel" and names[-1] != "conv" and path[-2].count("_") != 2:
    # A strided convolution holds its kernel itself; cv2_0_2 is a head's last layer.
    names.append("conv")
  key = ".".join([*names, _LEAVES.get(leaf, leaf)])
  if leaf != "kernel":
    return key, "same"
  return key, "conv" if names[-1] == "conv" else "pointwise"


def fixed(state_dict: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """The fixed distance kernel and PyTorch's batch counters, none of which is learned."""
  suffix = ".running_mean"
  means = [key.removesuffix(suffix) for key in state_dict if key.endswith(suffix)]
  counters = {f"{name}.num_batches_tracked": np.zeros((), np.int64) for name in means}
  if not any(key.startswith("cv2.") for key in state_dict):  # a backbone alone
    return counters
  # A half-precision file holds this kernel in half precision too.
  last = state_dict.get("cv2.0.2.weight")
  kind = np.float32 if last is None else last.dtype
  return {**counters, DFL: np.arange(BINS, dtype=np.float32).astype(kind).reshape(1, BINS, 1, 1)}
