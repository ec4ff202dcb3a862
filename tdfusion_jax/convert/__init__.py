"""PyTorch weights in and out: state_dicts of NumPy arrays, and Linen variables. No PyTorch."""

from collections.abc import Mapping

import numpy as np

from tdfusion_jax.convert.naming import STYLES

ARCHITECTURES = tuple(STYLES)


def from_torch(state_dict: Mapping[str, np.ndarray], arch: str, **options) -> dict:
  """Linen variables from a PyTorch state_dict.

  Args:
    state_dict: {key: array} in the names of upstream, of the original SegFormer, of Hugging Face or
      of Ultralytics; a `module.` prefix of DataParallel is dropped.
    arch: "fusion" (F), "lossgen" (G), "segformer" or "yolov8".
    **options: of the task network; what names and shapes reveal (variant, channels, classes) need
      not be given.

  Returns:
    {"params": ...} and, for task networks, {"batch_stats": ...}: NumPy arrays of the state_dict's
    dtypes.

  Raises:
    ValueError: unknown arch, or keys and shapes that do not fit, all of them listed.
  """
  from tdfusion_jax.convert.adopt import port  # JAX is loaded on first use, not on import

  _check(arch)
  return port(state_dict, arch=arch, options=options).variables


def to_torch(variables: Mapping, arch: str, style: str = "upstream") -> dict[str, np.ndarray]:
  """The inverse of `from_torch`.

  Args:
    variables: as `from_torch` gives them.
    arch: as there.
    style: whose names: "upstream", for SegFormer also "original", "huggingface" or
      "transformers5", for YOLOv8 "ultralytics".

  Returns:
    A state_dict of NumPy arrays, ready for `load_state_dict(strict=True)`.

  Raises:
    ValueError: unknown arch or style.
  """
  from tdfusion_jax.convert.adopt import unport

  _check(arch)
  return unport(variables, arch, style, {})


def _check(arch: str) -> None:
  if arch not in ARCHITECTURES:
    raise ValueError(f"architecture {arch!r} is not known; there are: {', '.join(ARCHITECTURES)}.")
