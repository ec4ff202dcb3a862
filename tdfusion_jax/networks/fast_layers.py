"""The parameters of the fast network (`networks.fast`), for what computes it without Linen."""

from collections.abc import Mapping
from typing import Any

LAYERS: dict[str, tuple[int, int, int]] = {
  "half_in": (3, 8, 24),
  "quarter_in": (2, 24, 32),
  "quarter_0": (3, 32, 32),
  "eighth_in": (2, 32, 32),
  "whole_in": (1, 64, 32),
  "whole_scale_0": (1, 32, 32),
  "whole_shift_0": (1, 32, 32),
  "whole_scale_1": (1, 32, 32),
  "whole_shift_1": (1, 32, 32),
  "eighth_0": (3, 32, 32),
  "eighth_1": (3, 32, 32),
  "eighth_out": (1, 32, 128),
  "quarter_1": (3, 32, 32),
  "quarter_out": (1, 32, 96),
  "half_0": (3, 24, 24),
  "half_out": (3, 24, 16),
  "whole_out": (1, 32, 4),
}
"""{name: side, channels in and out} of each convolution, in the order of `ops/native/fast.cc`."""


def shapes() -> dict[str, Any]:
  """The shapes of the parameters, in the structure of `networks.fast.FastNet`."""
  return {
    name: {"kernel": (side, side, inner, outer), "bias": (outer,)}
    for name, (side, inner, outer) in sorted(LAYERS.items())
  }


def leaves(params: Mapping[str, Any]) -> list[Any]:
  """The parameters in the order of `LAYERS`, each kernel before its bias."""
  return [params[name][kind] for name in LAYERS for kind in ("kernel", "bias")]


def tree(leaves: list[Any]) -> dict[str, Any]:
  """Undoes `leaves`."""
  pairs = zip(leaves[::2], leaves[1::2], strict=True)
  both = zip(LAYERS, pairs, strict=True)
  return {name: {"kernel": kernel, "bias": bias} for name, (kernel, bias) in both}
